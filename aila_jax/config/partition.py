"""Settings of the blocks, and of their anchors."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from aila_jax.config.checks import Rule, check_fields, check_rules, one_of, positive, require, whole
from aila_jax.config.choices import Choice, Estimator, PartitionKind


@dataclass(frozen=True)
class PartitionConfig:
    """Which tokens count as one block (docs/method.md, section 1).

    Attributes:
      kind: `windows` (position // size), `given` (ids that come with the data: lines, fields, your own
        `block_ids`), `segments` (text up to a punctuation mark or line end), `learned_segments` (text up to a
        token type after which the next token is hard to predict), `pos` (the type's part of speech, by rule,
        for English), `class_file` (the type's class in a file of yours), `induced_classes` (so many classes
        of types with like neighbours), `recruited` (as many such classes as pay for themselves).
      size: windows only: tokens a block, from 1 to the window length.
      unit: segments only: they end with every `clause` (, ; : – and brackets too) or with a `sentence` (. !
        ?).
      mean_length: learned_segments only: tokens a segment on the training split, finite and at least 2.
      class_file: class_file only: path of the file, a token and its class a line (docs/data.md). The
        checkpoint keeps the classes.
      unnamed: class_file only: class of the types that the file does not name, one of the file's own or
        another; empty refuses such types.
      classes: induced_classes only: how many, at least 2.
      start: recruited only: classes at the start, at least 1.
      max_classes: recruited only: no more than so many, at least 2 and `start`; 0 is as many as pay for
        themselves.
      global_first: put the first token of each window, and of each document in it, into every block (an
        attention sink).
    """

    kind: PartitionKind = PartitionKind.WINDOWS
    size: int = 5
    unit: str = "clause"
    mean_length: float = 10.0
    class_file: str = ""
    unnamed: str = "other"
    classes: int = 50
    start: int = 2
    max_classes: int = 0
    global_first: bool = False

    def __post_init__(self) -> None:
        one_of("partition.unit", self.unit, ("clause", "sentence"))
        size, classes = "set --config.partition.size=5", "set --config.partition.classes=50"
        types: tuple[Rule, ...] = (
            ("size", whole(self.size), "a whole number", size),
            ("classes", whole(self.classes), "a whole number", classes),
            ("start", whole(self.start), "a whole number", "set --config.partition.start=2"),
            ("max_classes", whole(self.max_classes), "a whole number", "0 is as many as pay for themselves"),
        )
        check_rules("partition.", self, types)
        check_fields(self, "partition.")
        long_enough = 2.0 <= self.mean_length < math.inf
        limits: tuple[Rule, ...] = (
            ("size", self.size >= 1, "at least 1", size),
            ("mean_length", long_enough, "finite and at least 2", "set --config.partition.mean_length=10"),
            ("classes", self.classes >= 2, "at least 2", classes),
        )
        check_rules("partition.", self, limits)
        check_recruitment(self.start, self.max_classes, "partition.")
        named = self.kind != PartitionKind.CLASS_FILE or bool(self.class_file)
        fix = "set --config.partition.class_file=my.classes"
        alone = f"left alone when partition.kind is {self.kind!r}"
        read = PARTITION_SETTINGS[self.kind]
        # Runs with `given` are older than this check, and some of their configurations hold a size.
        free = {*read, "size"} if self.kind == PartitionKind.GIVEN else set(read)
        unread: tuple[Rule, ...] = (
            ("class_file", named, "the path of a file", fix),
            *(
                (name, name in free or getattr(self, name) == default, alone,
                 f"leave it out, or set --config.partition.kind={_reader(name)}")
                for name, default in _free_settings()
            ),
        )  # fmt: skip
        check_rules("partition.", self, unread)

    @property
    def fitted(self) -> bool:
        """Whether the kind has a table over token types, which is made from the training split and kept in
        the checkpoint.
        """
        return self.kind not in ("windows", "given")

    @property
    def makes_segments(self) -> bool:
        """Whether that table says which types close a segment; else it gives each type's class."""
        return self.kind in ("segments", "learned_segments")

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that this kind reads, by name, `kind` first, as JSON has them."""
        names = ("kind", *PARTITION_SETTINGS[self.kind], "global_first")
        values = {name: getattr(self, name) for name in names}
        return {name: value.value if isinstance(value, Choice) else value for name, value in values.items()}


# What each kind reads beside `global_first`.
PARTITION_SETTINGS: dict[PartitionKind, tuple[str, ...]] = {
    PartitionKind.WINDOWS: ("size",),
    PartitionKind.GIVEN: (),
    PartitionKind.SEGMENTS: ("unit",),
    PartitionKind.LEARNED_SEGMENTS: ("mean_length",),
    PartitionKind.POS: (),
    PartitionKind.CLASS_FILE: ("class_file", "unnamed"),
    PartitionKind.INDUCED_CLASSES: ("classes",),
    PartitionKind.RECRUITED: ("start", "max_classes"),
}


def check_recruitment(start: int, max_classes: int, where: str = "") -> None:
    """Raises ValueError where the limits of a recruitment contradict each other; `where` goes before their
    names.
    """
    for name, value in (("start", start), ("max_classes", max_classes)):
        require(
            whole(value),
            f"{where}{name}",
            value,
            "a whole number",
            "start=2 and max_classes=0 recruit from 2 on, as many as pay",
        )
    require(start >= 1, f"{where}start", start, "at least 1", f"set {where}start=2")
    least = max(start, 2)
    require(
        max_classes == 0 or max_classes >= least,
        f"{where}max_classes",
        max_classes,
        f"0 (as many as pay for themselves) or at least {least}, since recruitment starts with {start} and"
        " one class is no partition",
        f"raise {where}max_classes to {least}, or lower {where}start",
    )


def _reader(name: str) -> PartitionKind:
    """The first kind that reads a setting."""
    return next(kind for kind, names in PARTITION_SETTINGS.items() if name in names)


def _free_settings() -> list[tuple[str, Any]]:
    """The settings that only some kinds read, with their defaults."""
    return [
        (one.name, one.default)
        for one in dataclasses.fields(PartitionConfig)
        if one.name not in ("kind", "global_first")
    ]


@dataclass(frozen=True)
class AnchorConfig:
    """Anchor tokens: those of a block with the lowest local entropy (docs/method.md, section 4).

    Made at the end of warm-up, after `train.warmup_steps`, and kept in the checkpoint.

    Attributes:
      estimator: of a type's local entropy: `none` (no anchors), `corpus` (next token given the type) or
        `attention` (the type's own attention inside its block, over the batches of the warm-up steps).
      k: anchors of a block, 1 to 5; with windows, at most one less than their size.
      prior: corpus only: strength of the smoothing towards the unigram distribution, in counts, above 0.
      max_batches: at most so many of the warm-up steps' batches are read again for the attention and for the
        groups' importance; 0 is all of them.
    """

    estimator: Estimator = Estimator.NONE
    k: int = 3
    prior: float = 100.0
    max_batches: int = 50

    def __post_init__(self) -> None:
        check_fields(self, "anchors.")
        rules: tuple[Rule, ...] = (
            ("k", 1 <= self.k <= 5, "from 1 to 5", "set --config.anchors.k=3"),
            ("prior", positive(self.prior), "finite and above 0", "set --config.anchors.prior=100"),
            ("max_batches", self.max_batches >= 0, "at least 0", "0 is all"),
        )
        check_rules("anchors.", self, rules)

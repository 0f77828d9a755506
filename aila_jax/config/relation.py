"""Settings of what is inside beyond a query's own block, layer by layer."""

from dataclasses import dataclass, fields
from typing import Any

from aila_jax.config.checks import Rule, check_fields, check_rules, require
from aila_jax.config.choices import Choice, LayerBlocks, PointerKind

ALL_BLOCKS = 2**20  # more than a text of any length has


@dataclass(frozen=True)
class RelationConfig:
    """What is inside beyond the query's own block (docs/method.md, section 11).

    The guarantee of λ = 1 is over all that is inside.

    Attributes:
      sink: the first token of each window, and of each document in it, is inside for every query; its own
        query has itself alone inside.
      shift: 0 for none. With windows tokens by which they move from one layer to the next, from 1 to their
        size less 1; with segments and given ids 1: two neighbours are one block, in every second layer with
        the other neighbour.
      pointers: tokens of a finished block that later blocks find inside: `none`, `ends` (its last token),
        `anchors` (its tokens of lowest local entropy by the training split's bigrams) or `random` (one of
        them, a control).
      anchors: pointers `anchors` only: how many of a block, from 1 to 5; one less than it has where it has no
        more.
      horizon: with pointers: later blocks that find them inside, at least 1; 1,048,576, the default, is all.
      seed: pointers `random` only: of the choice, from 0.
      layers: empty, or what the blocks of each layer are, the first layer's first: `own` (the partition's),
        `windows:SIZE`, `clauses`, `sentences` or `all` (every key is inside: a global layer).
    """

    sink: bool = False
    shift: int = 0
    pointers: PointerKind = PointerKind.NONE
    anchors: int = 1
    horizon: int = ALL_BLOCKS
    seed: int = 0
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self, "relation.")
        for word in self.layers:
            layer_blocks(word)
        limits: tuple[Rule, ...] = (
            ("shift", self.shift >= 0, "at least 0", "0 is none"),
            ("anchors", 1 <= self.anchors <= 5, "from 1 to 5", "set --config.relation.anchors=1"),
            ("horizon", 1 <= self.horizon <= ALL_BLOCKS, f"from 1 to {ALL_BLOCKS:,}, which is all blocks",
             "set --config.relation.horizon=4"),
            ("seed", 0 <= self.seed < 2**32, "in [0, 2**32)", "set --config.relation.seed=0"),
            ("shift", not (self.shift and self.layers),
             "0 with relation.layers, where each layer has blocks of its own",
             "set --config.relation.shift=0"),
        )  # fmt: skip
        check_rules("relation.", self, limits)

    @property
    def plain(self) -> bool:
        """Whether inside is what shares a block, the same in all layers."""
        return self == RelationConfig()

    @property
    def points(self) -> bool:
        """Whether there are pointers."""
        return self.pointers != PointerKind.NONE

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that differ from those of plain blocks, by name, as JSON has them."""
        plain = RelationConfig()
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        if self.pointers == PointerKind.ANCHORS:
            plain = RelationConfig(anchors=5 if self.anchors == 1 else 1)  # how many is said
        return {
            name: value.value if isinstance(value, Choice) else value
            for name, value in values.items()
            if value != getattr(plain, name)
        }

    @property
    def layer_blocks(self) -> tuple[tuple[LayerBlocks, int], ...]:
        """The blocks of each layer and, for windows, their size; empty where all have the partition's."""
        return tuple(layer_blocks(word) for word in self.layers)

    @property
    def makes_segments(self) -> bool:
        """Whether a layer has clauses or sentences, whose boundaries are the tokenizer's."""
        return any(blocks in (LayerBlocks.CLAUSES, LayerBlocks.SENTENCES) for blocks, _ in self.layer_blocks)


def layer_blocks(word: str) -> tuple[LayerBlocks, int]:
    """A word of `relation.layers` as the kind of blocks and, for windows, their size (else 0).

    Raises:
      ValueError: no such kind, or windows without a size of at least 1.
    """
    name, colon, size = str(word).partition(":")
    known = [kind.value for kind in LayerBlocks if kind != LayerBlocks.WINDOWS]
    limit = f"one of {', '.join(known)}, windows:SIZE"
    fix = "windows:16, say"
    windows = name == LayerBlocks.WINDOWS
    right = size.isdecimal() and int(size) >= 1 if windows else not colon and name in known
    require(right, "relation.layers", word, limit, fix)
    return LayerBlocks(name), int(size) if windows else 0


def relation_of(text: str) -> RelationConfig:
    """The relation of a line such as `pointers=ends,horizon=4,sink`: settings with commas between them, a
    flag by its name alone, layers with + between them (`layers=windows:16+all`); `plain` is none of them.

    Raises:
      ValueError: a setting that there is not, or one outside its limits.
    """
    known = {one.name: one for one in fields(RelationConfig)}
    fix = "relation=pointers=ends,sink, say, or relation=plain"
    values: dict[str, Any] = {}
    for part in () if text.strip() == "plain" else text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        limit = f"settings ({', '.join(known)}) with commas between them, or plain"
        require(
            name in known and name not in values and bool(value) == bool(equals), "relation", text, limit, fix
        )
        values[name] = _value(name, value, type(known[name].default), text)
    return RelationConfig(**values)


def _value(name: str, value: str, kind: type, text: str) -> Any:
    """A value of `relation_of`, of the kind that its setting has."""
    if kind is bool:
        right = value in ("", "true", "false")
        require(right, "relation", text, f"{name}, {name}=true or {name}=false", f"relation={name}, say")
        return value != "false"
    require(bool(value), "relation", text, f"{name}=VALUE", f"give {name} a value")
    if kind is int:
        require(value.isdecimal(), "relation", text, f"{name}= a whole number, at least 0", f"{name}=2, say")
        return int(value)
    return tuple(value.split("+")) if kind is tuple else value


def relation_line(config: RelationConfig) -> str:
    """The line that `relation_of` reads back."""
    parts = []
    for name, value in config.settings.items():
        if isinstance(value, bool):
            parts.append(name)
        else:
            parts.append(f"{name}={'+'.join(value) if isinstance(value, tuple) else value}")
    return ",".join(parts) or "plain"

"""Recruitment: word classes whose number the text decides, by description length."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jaxtyping import Int

from aila_jax import formats
from aila_jax.cards import Card, Shown
from aila_jax.columns import Column
from aila_jax.config import check_recruitment, require
from aila_jax.partition.classes.bigrams import Bigrams, count_bigrams
from aila_jax.partition.classes.class_counts import ClassCounts
from aila_jax.partition.classes.class_table import ClassTable
from aila_jax.partition.classes.context_split import context_columns, propose_split
from aila_jax.partition.classes.description_length import model_bits, most_classes, rounding
from aila_jax.partition.classes.exchange import by_frequency, canonical, class_table, deal, exchange


@dataclass(frozen=True)
class RecruitmentStep:
    """One accepted change, and the bits after it (docs/method.md, section 9).

    Attributes:
      step: 0 for the start.
      kind: `start`, `recruit` (a class split in two), `move` (a sweep over all types) or `merge`.
      classes: G.
      types: how many types changed class.
      data_bits: of the training split.
      model_bits: of the classes.
      total_bits: both.
      same_share: probability that two tokens drawn from it are of one class, in (0, 1]. Were neighbours
        independent, a query in causal windows of L tokens would have 1 + same_share · (L − 1)/2 keys in its
        block on average; in real text it has more.
    """

    step: int
    kind: str
    classes: int
    types: int
    data_bits: Annotated[float, Column("data bits", formats.whole_bits, unit="bits")]
    model_bits: Annotated[float, Column("model bits", formats.whole_bits, unit="bits")]
    total_bits: Annotated[float, Column("total bits", formats.whole_bits, unit="bits")]
    same_share: float


@dataclass(frozen=True, eq=False, repr=False)
class Recruitment(Shown):
    """What recruitment found, and how.

    Attributes:
      table: class of each of V types, 0 … G − 1, the class with most tokens first; types that never occur are
        in the class of most types.
      steps: from the start to the end, total bits falling strictly.
      pairs: N.
      types_seen: types that occur.
      most_classes: beyond so many classes the model bits exceed whatever classes could save on this text.
      finished: no split, move or merge tried at the end lowered the bits; False where `max_rounds` ended it.
    """

    table: Int[np.ndarray, "V"]
    steps: tuple[RecruitmentStep, ...]
    pairs: int
    types_seen: int
    most_classes: int
    finished: bool

    @property
    def classes(self) -> int:
        """G."""
        return self.steps[-1].classes

    def class_table(self) -> ClassTable:
        """The classes as a partition's table.

        Raises:
          ValueError: no two classes pay for themselves on this text.
        """
        require(
            self.classes >= 2,
            "the number of classes recruited",
            self.classes,
            "at least 2, or every token is in one block: no two classes save more bits than they take on this"
            " text",
            "train on more text, or use --config.partition.kind=induced_classes, whose number of classes is"
            " given",
        )
        note = (
            f"{self.classes} classes recruited by description length from the bigrams of the training split"
        )
        return class_table(self.table, note)

    def card(self) -> Card:
        first, last = self.steps[0], self.steps[-1]
        bits = (f"{step.total_bits / max(self.pairs, 1):.4f}" for step in (first, last))
        facts = {
            "bits a pair": f"{' → '.join(bits)}, in {len(self.steps) - 1} steps",
            "read": f"{self.pairs:,} pairs, {self.types_seen:,} types",
            "ended": "nothing tried lowers the bits" if self.finished else "at a limit",
        }
        return Card(f"Recruitment: {self.classes} classes from {first.classes}", facts)


def recruit(
    tokens: Int[np.ndarray, "T"],
    vocab_size: int,
    *,
    start: int = 2,
    max_classes: int = 0,
    max_rounds: int = 100,
    on_step: Callable[[RecruitmentStep], None] | None = None,
) -> Recruitment:
    """Few classes at first; then splits, moves and merges, each accepted only where it lowers the bits
    strictly.

    A round proposes to split every class (`propose_split`), the largest saving first, and checks each
    proposal again with the counts as they are by then; moves types one after another (`exchange`), over and
    over where no class was split; and merges the best pair of classes for as long as one pays. It ends when a
    whole round lowers nothing. Every step lowers the total bits and there are finitely many partitions, so it
    terminates. Equal gains go to the lowest index; nothing is random. Memory: 8 bytes a token and what the
    different pairs and G² take.

    Args:
      tokens: those of the training split, in order.
      vocab_size: V.
      start: classes at the start, at least 1: the types dealt out in turn, most frequent first.
      max_classes: no split beyond so many, at least `start` and 2; 0 is as many as pay.
      max_rounds: at least 1.
      on_step: told every step as it is made.

    Raises:
      ValueError: limits that contradict each other or the text, or tokens outside the vocabulary.
    Source: description length of docs/method.md, section 9; the search ours.
    """
    check_recruitment(start, max_classes)
    require(max_rounds >= 1, "max_rounds", max_rounds, "at least 1", "100 is more than most texts need")
    bigrams = count_bigrams(tokens, vocab_size)
    seen = len(bigrams.seen)
    require(
        start <= seen,
        "start",
        start,
        f"at most the {seen} types that occur in the training split",
        "lower start to 2",
    )
    search = _Search(bigrams, start, max_classes, on_step or (lambda step: None))
    finished = False
    for _ in range(max_rounds):
        recruited = search.split_all()
        changed = search.move_all(until_still=not recruited)
        merged = search.merge_all()
        if not (recruited or changed or merged):
            finished = True
            break
    table = canonical(bigrams, search.state.of)
    return Recruitment(table, tuple(search.steps), bigrams.pairs, seen, search.bound, finished)


class _Search:
    """The classes as they are, and the steps that led to them."""

    def __init__(
        self, bigrams: Bigrams, start: int, max_classes: int, on_step: Callable[[RecruitmentStep], None]
    ):
        self.bigrams, self.on_step = bigrams, on_step
        self.state = ClassCounts(bigrams, deal(bigrams, start))
        self.steps: list[RecruitmentStep] = []
        self.order, self.columns = by_frequency(bigrams), context_columns(bigrams)
        self.least = rounding(bigrams.pairs)
        self.record("start", 0)
        self.bound = max(start, most_classes(bigrams, self.steps[0].total_bits))
        self.limit = min(self.bound, max_classes or self.bound)

    def split_all(self) -> int:
        """Splits the classes for which that pays, the largest saving first; returns how many."""
        if self.state.size >= self.limit:
            return 0
        found = [(which, propose_split(self.state, which, self.columns)) for which in range(self.state.size)]
        splits = [(which, split) for which, split in found if split is not None]
        splits.sort(key=lambda pair: -pair[1].gain)  # stable: of equals the lowest class
        before = self.state.size
        for which, split in splits:
            if self.state.size == self.limit:
                break
            # Earlier splits changed the contexts that this one was proposed in.
            if self.state.split_gain(which, split.upper) - self.cost(self.state.size + 1) > self.least:
                self.state.split(which, split.upper)
                self.record("recruit", int(np.sum(self.state.of == self.state.size - 1)))
        return self.state.size - before

    def move_all(self, until_still: bool) -> int:
        """One sweep over all types, or sweeps until no type moves; returns how many moves there were."""
        total = 0
        while moved := exchange(self.state, self.order, self.least):
            total += moved
            self.record("move", moved)
            if not until_still:
                break
        return total

    def merge_all(self) -> int:
        """Merges the pair of classes that saves most, as long as one does; returns how many were merged."""
        merged = 0
        while self.state.size > 1:
            gains = self.state.merge_gains()
            a, b = divmod(int(np.argmax(gains)), self.state.size)
            if gains[a, b] + self.cost(self.state.size) <= self.least:
                break
            types = int(np.sum(self.state.of == b))
            self.state.merge(a, b)
            self.record("merge", types)
            merged += 1
        return merged

    def cost(self, classes: int) -> float:
        """Model bits of the last of so many classes."""
        vocab_size, pairs = self.bigrams.vocab_size, self.bigrams.pairs
        return float(model_bits(vocab_size, classes, pairs) - model_bits(vocab_size, classes - 1, pairs))

    def record(self, kind: str, types: int) -> None:
        state = self.state
        data, model = (
            state.data_bits(),
            float(model_bits(self.bigrams.vocab_size, state.size, self.bigrams.pairs)),
        )
        share = state.token_shares()
        step = RecruitmentStep(
            len(self.steps), kind, state.size, types, data, model, data + model, float(share @ share)
        )
        self.steps.append(step)
        self.on_step(step)

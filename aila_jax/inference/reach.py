"""Reach: for every prediction of a text the tokens and blocks that can have influenced it."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from jaxtyping import Bool, Int

from aila_jax import formats
from aila_jax.cards import Card, Shown, count
from aila_jax.columns import Column, to_pandas
from aila_jax.config import require
from aila_jax.config.checks import plain, whole
from aila_jax.guarantees.flow import Condition
from aila_jax.model.arguments import any_array, is_traced

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class ReachRow:
    """What can have influenced one prediction.

    Attributes:
      position: of the token that the prediction follows, from 0.
      token: its text.
      block: its block.
      tokens: how many tokens.
      blocks: in how many blocks.
      first: the earliest of them.
    """

    position: int
    token: str
    block: int
    tokens: Annotated[int, Column("tokens", formats.count, unit="tokens", help="that can have influenced it")]
    blocks: Annotated[int, Column("blocks", formats.count, unit="blocks", help="that these tokens are of")]
    first: Annotated[int, Column("from", help="position of the earliest of them")]


@dataclass(frozen=True)
class ReachSummary:
    """Sizes of reach over predictions.

    Attributes:
      unit: what is counted: `tokens` or `blocks`.
      predictions: how many there are.
      mean: mean size.
      lower: the first quartile.
      median: the second.
      upper: the third.
      largest: the largest size.
    """

    unit: Annotated[str, Column("reach in")]
    predictions: Annotated[int, Column("predictions", formats.count)]
    mean: Annotated[float, Column("mean", formats.three)]
    lower: Annotated[float, Column("quartile", formats.short)]
    median: Annotated[float, Column("median", formats.short)]
    upper: Annotated[float, Column("quartile", formats.short)]
    largest: Annotated[int, Column("largest", formats.count)]


def summary_of(unit: str, sizes: Int[np.ndarray, "P"]) -> ReachSummary:
    """Mean, quartiles and largest of `sizes`."""
    lower, median, upper = (float(one) for one in np.quantile(sizes, (0.25, 0.5, 0.75)))
    return ReachSummary(unit, len(sizes), float(sizes.mean()), lower, median, upper, int(sizes.max()))


@dataclass(frozen=True, eq=False, repr=False)
class Reach(Shown):
    """For every prediction of a text the tokens that can have influenced it: no other one can, whatever it
    is.

    Exactly, through all layers, under the condition that `condition` says. It says what *can* have influenced
    a prediction, not how much; attention masses bound nothing of this.

    Attributes:
      pieces: the text of each of the L tokens alone.
      block_ids: block of each; −2 is a token of every block.
      positions: of the P predictions, in order: each is of the token after this position.
      can: whether each token can have influenced each prediction.
      generated: tokens that the model itself had drawn: what had influenced them counts too.
      condition: of which texts this holds.
      why_hard: what makes attention outside exactly 0.
      lam: λ.
      tau: τ.
      source: the model in words, run and step.
      below: with a global layer, which is the last: the reach below it, so what each of the states holds that
        it sums; None without one.
    """

    pieces: tuple[str, ...]
    block_ids: Int[np.ndarray, "L"]
    positions: Int[np.ndarray, "P"]
    can: Bool[np.ndarray, "P L"]
    generated: Bool[np.ndarray, "L"]
    condition: Condition
    why_hard: str
    lam: float
    tau: float
    source: str = ""
    below: "Reach | None" = None

    def __post_init__(self) -> None:
        length, fix = len(self.pieces), "take the reach of model.reach"
        shapes = {"block_ids": (length,), "generated": (length,), "can": (len(self.positions), length)}
        for name, shape in shapes.items():
            found = getattr(self, name).shape
            require(found == shape, f"Reach.{name}.shape", found, f"{shape} for {length} tokens", fix)

    def tokens(self, position: int) -> Int[np.ndarray, "K"]:
        """Positions of the tokens that can have influenced the prediction at `position`, rising.

        Raises:
          ValueError: a position without a prediction.
        """
        return np.flatnonzero(self.can[self._row(position)])

    def blocks(self, position: int) -> Int[np.ndarray, "K"]:
        """Ids of the blocks that these tokens are of, in the order of the text."""
        ids = self.block_ids[self.tokens(position)]
        _, first = np.unique(ids, return_index=True)
        return ids[np.sort(first)]

    @cached_property
    def token_sizes(self) -> Int[np.ndarray, "P"]:
        """|R[t]|: how many tokens."""
        return self.can.sum(axis=1)

    @cached_property
    def block_sizes(self) -> Int[np.ndarray, "P"]:
        """In how many blocks they are."""
        return blocks_reached(self.can, self.block_ids)

    @property
    def summary(self) -> tuple[ReachSummary, ReachSummary]:
        """Mean, quartiles and largest over all predictions, in tokens and in blocks."""
        return summary_of("tokens", self.token_sizes), summary_of("blocks", self.block_sizes)

    @property
    def answer(self) -> Int[np.ndarray, "K"]:
        """Positions of all tokens that can have influenced the generated ones: the union of their reach.

        Raises:
          ValueError: no token was generated.
        """
        fix = "pass generated, or the continuation that model.continuations returns"
        require(bool(self.generated.any()), "generated", (), "at least one token", fix)
        drawn = self.generated[np.minimum(self.positions + 1, len(self.generated) - 1)]
        drawn &= self.positions + 1 < len(self.generated)
        return np.flatnonzero(self.can[drawn].any(axis=0))

    def rows(self) -> list[ReachRow]:
        """A row for every prediction."""
        first = self.can.argmax(axis=1)
        return [
            ReachRow(
                position=int(at),
                token=self.pieces[at],
                block=int(self.block_ids[at]),
                tokens=int(self.token_sizes[row]),
                blocks=int(self.block_sizes[row]),
                first=int(first[row]),
            )
            for row, at in enumerate(self.positions)
        ]

    def to_pandas(self) -> "DataFrame":
        """The rows as a data frame."""
        return to_pandas(ReachRow, self.rows())

    def _row(self, position: int) -> int:
        at = plain(position)
        found = np.flatnonzero(self.positions == at)
        first, last = int(self.positions[0]), int(self.positions[-1])
        limit = f"a position with a prediction, from {first} to {last}"
        require(whole(at) and len(found) == 1, "position", position, limit, f"position={last}, the last one")
        return int(found[0])

    def card(self) -> Card:
        facts = {
            "holds": self.condition.text,
            "by": self.why_hard,
            "predictions": count(len(self.positions), "prediction"),
            "generated": count(int(self.generated.sum()), "token"),
        }
        if self.below is not None:
            facts["below the global layer"] = f"largest {count(int(self.below.token_sizes.max()), 'token')}"
        for one in self.summary:
            facts[one.unit] = (
                f"{one.mean:.1f} on average, quartiles {one.lower:g}, {one.median:g}, {one.upper:g}, largest"
                f" {one.largest}"
            )
        of = f" by {self.source}" if self.source else ""
        title = f"Reach of {count(len(self.pieces), 'token')}{of}, λ = {self.lam:g}, τ = {self.tau:g}"
        return Card(title, facts)


def blocks_reached(can: Bool[np.ndarray, "P L"], block_ids: Int[np.ndarray, "L"]) -> Int[np.ndarray, "P"]:
    """How many blocks the tokens of each row are of."""
    _, numbers = np.unique(block_ids, return_inverse=True)
    by_block = np.argsort(numbers.reshape(-1), kind="stable")
    starts = np.flatnonzero(np.diff(numbers.reshape(-1)[by_block], prepend=-1))
    return np.logical_or.reduceat(can[:, by_block], starts, axis=1).sum(axis=1)


def check_positions(name: str, values: Any, length: int) -> Bool[np.ndarray, "L"]:
    """Positions as a row of truths; ValueError for what is none, or one that the text does not have."""
    found, row, right = np.zeros(length, bool), any_array(values), False
    if row is not None and not is_traced(row) and row.ndim == 1:
        inside = np.issubdtype(row.dtype, np.integer) and bool(np.all((row >= 0) & (row < length)))
        right = row.size == 0 or inside
    require(right, name, values, f"positions from 0 to {length - 1}", "range(first, end), say")
    found[np.asarray(row, np.int64)] = True
    return found

"""The table that a population ends in: a row for each member, at each λ that its training was watched at."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from aila_jax import formats
from aila_jax.cards import Card, Shown
from aila_jax.columns import Column, to_pandas
from aila_jax.config import Config

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True)
class MemberRow:
    """One member at one λ, after its last step, on the validation split.

    Attributes:
      run: name of its run directory.
      seed: of the run.
      learning_rate: its highest.
      lam: λ that it was read at: its own, or an end of the dial where λ was drawn.
      step: steps done.
      loss: mean cross-entropy, nats; None where it was not measured or not finite, and so are the rest.
      perplexity: exp of it.
      accuracy: share of targets ranked first.
      entropy_bits: mean attention entropy.
      block_mass: mean attention inside the block.
      note: why it ended before its last step; empty where it did not.
    """

    run: str
    seed: int
    learning_rate: Annotated[float, Column("learning rate", formats.short, help="the highest")]
    lam: Annotated[float, Column("λ", formats.short, help="locality")]
    step: Annotated[int, Column(format=formats.count, help="steps done")]
    loss: Annotated[float | None, Column(format=formats.four, unit="nats", help="mean cross-entropy")]
    perplexity: Annotated[float | None, Column(format=formats.perplexity, help="exp of the loss")]
    accuracy: Annotated[float | None, Column(format=formats.percent, help="share of targets ranked first")]
    entropy_bits: Annotated[
        float | None, Column("entropy (bits)", formats.fixed, unit="bits", help="mean attention entropy")
    ]
    block_mass: Annotated[
        float | None, Column("block mass", formats.fixed, help="mean attention inside the block")
    ]
    note: Annotated[str, Column(help="why it ended before its last step")] = ""


@dataclass(frozen=True)
class Made:
    """How the members were trained, in one call.

    Attributes:
      form: `loop` or `vmap`; empty where all of them were finished before.
      together: members of one device side by side.
      devices: that shared them.
      compilations: of the training step, all members together.
      seconds_loop: of one step of one member in the loop, where both forms were tried; None elsewhere.
      seconds_vmap: likewise, under vmap.
    """

    form: str = ""
    together: int = 1
    devices: int = 1
    compilations: int = 0
    seconds_loop: float | None = None
    seconds_vmap: float | None = None


@dataclass(frozen=True, repr=False)
class Population(Shown):
    """Trained members that differ in seed, learning rate and λ, each a run of its own.

    Attributes:
      workdir: the folder that their run directories are in.
      config: what they have in common; its seed, learning rate and λ are those of no member in particular.
      rows: a row for each member and λ.
      made: how they were trained.
    """

    workdir: Path
    config: Config
    rows: tuple[MemberRow, ...]
    made: Made

    @property
    def runs(self) -> tuple[Path, ...]:
        """The run directories, which `load`, `sweep` and `train` take like any other."""
        return tuple(self.workdir / name for name in dict.fromkeys(row.run for row in self.rows))

    @property
    def failed(self) -> tuple[MemberRow, ...]:
        """Rows of members that ended because too many updates were not finite."""
        return tuple(row for row in self.rows if row.loss is None)

    def to_pandas(self) -> "DataFrame":
        """The rows as a data frame."""
        return to_pandas(MemberRow, self.rows)

    def card(self) -> Card:
        header = ("member", "λ", "perplexity", "block mass")
        facts = {"members": len(self.runs), "form": self.made.form or "finished before"}
        return Card(f"Population {self.workdir}", facts, [header, *map(_shown, self.rows)])


def _shown(row: MemberRow) -> tuple[str, ...]:
    return (
        row.run,
        formats.short(row.lam),
        formats.perplexity(row.perplexity),
        formats.fixed(row.block_mass),
    )


def sorted_rows(rows: Iterable[MemberRow]) -> tuple[MemberRow, ...]:
    """By learning rate, λ and seed: seeds of one setting stand together."""
    return tuple(sorted(rows, key=lambda row: (row.learning_rate, row.lam, row.seed)))

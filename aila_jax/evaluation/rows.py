"""The tidy rows that a sweep ends in: one per (λ, τ) cell, and one per cell, layer and head."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from aila_jax import formats
from aila_jax.columns import Column, to_pandas
from aila_jax.config import Config
from aila_jax.evaluation.origin import SweepMeta

if TYPE_CHECKING:
    from pandas import DataFrame

from aila_jax.cards import Card, Shown


@dataclass(frozen=True)
class RowLabel:
    """What every row of one cell says of itself; the names mean what they mean in `AttentionRow`."""

    run: str
    seed: int
    commit: str
    split: str
    lam: float
    tau: float


@dataclass(frozen=True, kw_only=True)
class AttentionRow:
    """What a cell and a head have in common. Means over layers and heads where a cell is meant.

    Attributes:
      run: name of the run directory.
      seed: of the run.
      commit: the git commit that trained it.
      split: which split was scored.
      lam: locality λ.
      tau: temperature τ.
      entropy_bits: mean attention entropy.
      entropy_fraction: the same as a share of log2 |A_t|, over queries with |A_t| >= 2.
      block_mass: mean attention inside the query's block, global keys included.
      block_mass_uniform: what uniform attention would have.
      block_mass_lift: their ratio.
      block_mass_local: block mass without the mass on global keys, over queries that are not global
        themselves.
      delta_imposed: nats of the margin that λ imposes, mean over layers and heads (fixed margin), or None
        (self-scaling margin, hard attention).
      delta_measured: mean of min in-block minus max out-of-block score, over queries with keys outside their
        block; None unless asked for.
      delta_share: share of these queries where it is positive; None unless asked for.
      pointer_fidelity: mean attention of a query on what it is pointed at: the anchors of its block, the
        known answer, or the relation's pointers; None where it was not measured, and so is the rest.
      pointer_uniform: what uniform attention would have.
      pointer_lift: their ratio.
      pointer_block_ratio: pointed-at attention inside the block ÷ attention inside the block.
      pointer_key_share: the same for keys, which is what the ratio would be if attention inside the block
        were uniform.
      guaranteed_block_mass: what block mass the margin guarantees for these queries, whatever the tokens'
        scores (docs/certificates.md), mean over layers, heads and queries; None where no head is guaranteed
        more than uniform attention has.
      guaranteed_entropy_bits: the same for the largest entropy.
      n_in: with a relation beyond plain blocks, mean keys inside of a query; with plain blocks None, and so
        is the rest, which splits block mass into `block_mass_local`, pointers and sink.
      block_mass_local_uniform: what uniform attention would have on the query's own block.
      pointer_mass: mean attention on pointers of other blocks, over all queries; None without pointers.
      pointer_mass_uniform: what uniform attention would have.
      sink_mass: mean attention on the sink, over all queries; None without a sink.
      sink_mass_uniform: what uniform attention would have.
    """

    run: str
    seed: int
    commit: str
    split: str
    lam: Annotated[float, Column("λ", formats.short, help="locality")]
    tau: Annotated[float, Column("τ", formats.short, help="temperature")]
    entropy_bits: Annotated[
        float,
        Column("entropy (bits)", formats.fixed, unit="bits", page_format=formats.four,
               help="mean attention entropy"),
    ]  # fmt: skip
    entropy_fraction: Annotated[
        float,
        Column("entropy share", formats.four, help="entropy as a share of its largest possible value"),
    ]
    block_mass: Annotated[
        float,
        Column("block mass", formats.fixed, page_format=formats.four,
               help="attention inside: the query's block, global keys, and with a relation its pointers and"
               " sink"),
    ]  # fmt: skip
    block_mass_uniform: Annotated[
        float, Column("uniform mass", formats.four, help="block mass of uniform attention")
    ]
    block_mass_lift: Annotated[
        float, Column("lift", formats.lift, help="block mass over that of uniform attention")
    ]
    block_mass_local: Annotated[
        float,
        Column(
            "local mass",
            formats.four,
            help="block mass on the query's own block alone, without global keys, pointers and sink",
        ),
    ]
    delta_imposed: Annotated[
        float | None,
        Column("δ imposed", formats.four, unit="nats",
               help="margin λm that the dial imposes, in nats, mean over layers and heads"),
    ]  # fmt: skip
    delta_measured: Annotated[
        float | None,
        Column("δ measured", formats.four, unit="nats",
               help="lowest score inside the block minus highest outside, in nats, mean over queries"),
    ]  # fmt: skip
    delta_share: Annotated[
        float | None,
        Column("δ > 0", formats.percent, help="share of queries where the measured margin is positive"),
    ]
    pointer_fidelity: Annotated[
        float | None,
        Column("fidelity", formats.fixed, page_title="pointer fidelity", page_format=formats.four,
               help="attention on what the query is pointed at: its block's anchors, the known answer, or the"
               " relation's pointers, over the queries that have any"),
    ] = None  # fmt: skip
    pointer_uniform: Annotated[
        float | None,
        Column("uniform fidelity", formats.four, help="pointer fidelity of uniform attention"),
    ] = None
    pointer_lift: Annotated[
        float | None,
        Column("fidelity lift", formats.lift, page_title="pointer lift",
               help="pointer fidelity over that of uniform attention"),
    ] = None  # fmt: skip
    pointer_block_ratio: Annotated[
        float | None,
        Column("÷ block mass", formats.fixed, page_title="fidelity / block mass", page_format=formats.four,
               help="share of the attention inside the block that is on what is pointed at there"),
    ] = None  # fmt: skip
    pointer_key_share: Annotated[
        float | None,
        Column("key share", formats.fixed, page_format=formats.four,
               help="share of the keys inside the block that are pointed at"),
    ] = None  # fmt: skip
    guaranteed_block_mass: Annotated[
        float | None,
        Column("guaranteed mass", formats.at_least, page_format=formats.at_least_four,
               help="block mass that the margin guarantees, whatever the scores; empty where that is nothing"),
    ] = None  # fmt: skip
    guaranteed_entropy_bits: Annotated[
        float | None,
        Column("guaranteed bits", formats.at_most, unit="bits",
               page_title="guaranteed entropy (bits)", page_format=formats.at_most_four,
               help="largest entropy that the margin allows"),
    ] = None  # fmt: skip
    n_in: Annotated[
        float | None,
        Column("keys inside", formats.fixed, help="mean number of keys inside of a query", optional=True),
    ] = None
    block_mass_local_uniform: Annotated[
        float | None,
        Column("uniform local", formats.four, help="local mass of uniform attention", optional=True),
    ] = None
    pointer_mass: Annotated[
        float | None,
        Column("on pointers", formats.fixed, page_format=formats.four, optional=True,
               help="attention on pointers of other blocks, over all queries"),
    ] = None  # fmt: skip
    pointer_mass_uniform: Annotated[
        float | None,
        Column("uniform on pointers", formats.four, help="the same of uniform attention", optional=True),
    ] = None
    sink_mass: Annotated[
        float | None,
        Column("on sink", formats.fixed, page_format=formats.four, optional=True,
               help="attention on the sink, over all queries"),
    ] = None  # fmt: skip
    sink_mass_uniform: Annotated[
        float | None,
        Column("uniform on sink", formats.four, help="the same of uniform attention", optional=True),
    ] = None


@dataclass(frozen=True, kw_only=True)
class CellRow(AttentionRow):
    """One cell of the dial's grid, over a whole split.

    Attributes:
      targets: how many targets were scored.
      hard: block attention with nothing outside the block.
      loss: mean token cross-entropy, nats.
      perplexity_token: exp of the summed loss per token.
      perplexity_word: the same per word (line ends count); None where the split has no text of its own, is
        scored in part, or under a document mask, or where it is beyond float64.
      perplexity_byte: the same per byte; None as for words.
      accuracy: share of targets ranked first, in [0, 1].
      pointers: `anchors`, `answers` or `relation`, what pointer fidelity was measured on, or None where it
        was not.
      pointer_queries: queries counted.
      determined: on rule corpora, targets that the rule determines.
      accuracy_determined: the share of them ranked first.
    """

    targets: Annotated[int, Column(format=formats.count, help="targets scored", after="split")]
    hard: Annotated[
        bool, Column("hard blocks", formats.yes_no, help="nothing outside the block", after="tau")
    ]
    loss: Annotated[
        float, Column("loss (nats)", formats.four, unit="nats", help="mean cross-entropy per token")
    ]
    perplexity_token: Annotated[
        float,
        Column("perplexity/token", formats.perplexity, page_title="perplexity / token",
               help="exp of the summed loss per token"),
    ]  # fmt: skip
    perplexity_word: Annotated[
        float | None,
        Column("perplexity/word", formats.perplexity, page_title="perplexity / word",
               help="exp of the summed loss per word, line ends counted"),
    ]  # fmt: skip
    perplexity_byte: Annotated[
        float | None,
        Column("perplexity/byte", formats.perplexity, page_title="perplexity / byte",
               help="exp of the summed loss per byte"),
    ]  # fmt: skip
    accuracy: Annotated[float, Column(format=formats.percent, help="share of targets ranked first")]
    pointers: Annotated[
        str | None, Column(help="what pointer fidelity is measured on", after="delta_share")
    ] = None
    pointer_queries: Annotated[
        int | None, Column(format=formats.count, help="queries counted", after="pointer_key_share")
    ] = None
    determined: Annotated[
        int | None, Column(format=formats.count, help="targets that the rule determines")
    ] = None
    accuracy_determined: Annotated[
        float | None,
        Column("accuracy, determined", formats.percent,
               help="share of the targets that the rule determines ranked first"),
    ] = None  # fmt: skip

    def to_pandas(self) -> "DataFrame":
        """A data frame of this one line."""
        return to_pandas(CellRow, [self])


@dataclass(frozen=True, kw_only=True)
class HeadRow(AttentionRow):
    """One layer and head of one cell.

    Attributes:
      layer: counted from 0.
      head: counted from 0.
    """

    layer: Annotated[int, Column(help="counted from 0", after="tau")]
    head: Annotated[int, Column(help="counted from 0")]


@dataclass(frozen=True, repr=False)
class SweepResult(Shown):
    """All rows of one sweep and what made them.

    Attributes:
      cells: one row per (λ, τ), λ varying slowest.
      heads: one row per cell, layer and head.
      config: the run's full configuration.
      meta: versions, git commit, device, data fingerprint, checkpoint step, baselines where known.
      recorded: the configuration is the run's; false where a file does not say how the model was built, and
        `config` holds defaults.
    """

    cells: tuple[CellRow, ...]
    heads: tuple[HeadRow, ...]
    config: Config
    meta: SweepMeta
    recorded: bool = True

    def to_pandas(self, heads: bool = False) -> "DataFrame":
        """The cells as a data frame, or, with `heads`, the rows of layers and heads."""
        return to_pandas(HeadRow, self.heads) if heads else to_pandas(CellRow, self.cells)

    def card(self) -> Card:
        cells = self.cells
        taus = sorted({cell.tau for cell in cells}, key=lambda tau: abs(math.log(tau)))
        shown = [cell for cell in cells if cell.tau == taus[0]] if taus else []
        header = ("λ", "perplexity", "accuracy", "entropy (bits)", "block mass")
        rows = [
            (
                f"{cell.lam:g}",
                f"{cell.perplexity_token:.4g}",
                f"{cell.accuracy:.1%}",
                f"{cell.entropy_bits:.2f}",
                f"{cell.block_mass:.3f}",
            )
            for cell in shown
        ]
        if not cells:
            return Card("SweepResult without cells", {})
        facts = {
            "cells": f"{len(cells)}: {len({cell.lam for cell in cells})} λ × {len(taus)} τ; below, τ = {taus[0]:g}",
            "read": f"{cells[0].split}, {cells[0].targets:,} targets",
        }
        step = "unknown" if self.meta.checkpoint_step is None else self.meta.checkpoint_step
        return Card(f"SweepResult of {cells[0].run}, step {step}", facts, [header, *rows])

"""Influence as tidy rows: one for each λ, and one for each λ, layer and head with the bound on what that head
can carry.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np

from aila_jax import formats
from aila_jax.cards import Card, Shown
from aila_jax.columns import Column, to_pandas
from aila_jax.config import Config
from aila_jax.data.dataset import Dataset
from aila_jax.evaluation.certify import certify
from aila_jax.evaluation.influence import InfluenceCell
from aila_jax.evaluation.meta import origin_of
from aila_jax.evaluation.origin import InfluenceMeta
from aila_jax.evaluation.rows import RowLabel
from aila_jax.guarantees.influence import contribution_bounds, value_bounds
from aila_jax.inference.language_model import LanguageModel

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class InfluenceRow:
    """One λ. KL divergences are means in nats of KL(next token in the text as it is ‖ with tokens resampled).

    Attributes:
      run: as in `CellRow`, and so are seed, commit, split, lam, tau and hard.
      draws: of the resampled tokens.
      positions: queries measured, all with a key outside their block.
      block_mass: their attention inside it, mean over layers and heads.
      tokens_outside: mean number of keys outside.
      kl_outside: these resampled.
      kl_outside_error: its standard error over queries.
      kl_outside_spread: standard deviation over draws of the mean over queries.
      positions_inside: those of the queries with a key in their block besides themselves.
      tokens_inside: the mean number of such keys.
      kl_inside: these resampled; None where fewer than two queries have any, and so are the next two.
      kl_inside_error: as outside.
      kl_inside_spread: as outside.
      kl_outside_paired: kl_outside over the queries of kl_inside.
      positions_beyond: with a relation whose reach is more than what is inside in a layer, those of the
        queries with a key that no path through the layers leads from; None elsewhere, and so is the rest.
      tokens_beyond: the mean number of such keys.
      kl_beyond: these resampled; None where fewer than two queries have any, and so are the next two.
      kl_beyond_error: as outside.
      kl_beyond_spread: as outside.
    """

    run: str
    seed: int
    commit: str
    split: str
    lam: Annotated[float, Column("λ", formats.short, help="locality")]
    tau: Annotated[float, Column("τ", formats.short, help="temperature")]
    hard: bool
    draws: int
    positions: Annotated[int, Column("queries", formats.count)]
    block_mass: Annotated[float, Column("block mass", formats.fixed, help="attention inside the block")]
    tokens_outside: Annotated[float, Column("keys outside", formats.tenths, help="mean number of them")]
    kl_outside: Annotated[float, Column("KL outside", formats.nats, "nats", "these resampled")]
    kl_outside_error: Annotated[float, Column("± outside", formats.nats, "nats", "standard error")]
    kl_outside_spread: Annotated[
        float, Column("its spread over draws", formats.nats, "nats", "standard deviation over draws")
    ]
    positions_inside: Annotated[int, Column("queries inside", formats.count)]
    tokens_inside: Annotated[float | None, Column("keys inside", formats.tenths, help="mean number of them")]
    kl_inside: Annotated[float | None, Column("KL inside", formats.nats, "nats", "these resampled")]
    kl_inside_error: Annotated[float | None, Column("± inside", formats.nats, "nats", "standard error")]
    kl_inside_spread: Annotated[
        float | None, Column("spread inside", formats.nats, "nats", "standard deviation over draws")
    ]
    kl_outside_paired: Annotated[
        float | None,
        Column("same queries as inside", formats.nats, "nats", "KL outside over the queries of KL inside"),
    ]
    positions_beyond: Annotated[
        int | None,
        Column("queries beyond", formats.count, help="with a key beyond the reach", optional=True),
    ] = None
    tokens_beyond: Annotated[
        float | None,
        Column("keys beyond", formats.tenths, help="mean number of keys beyond the reach", optional=True),
    ] = None
    kl_beyond: Annotated[
        float | None, Column("KL beyond", formats.nats, "nats", "these resampled", optional=True)
    ] = None
    kl_beyond_error: Annotated[
        float | None, Column("± beyond", formats.nats, "nats", "standard error", optional=True)
    ] = None
    kl_beyond_spread: Annotated[
        float | None,
        Column("spread beyond", formats.nats, "nats", "standard deviation over draws", optional=True),
    ] = None


@dataclass(frozen=True)
class HeadInfluenceRow:
    """One layer and head at one λ: attention outside the block, and the most that it can add to the residual
    stream.

    Attributes:
      run: as in `HeadRow`, and so are seed, commit, split, lam, tau, layer and head.
      value_bound: the most that one key adds with weight 1 (`value_bounds`), a length in the residual stream.
      out_mass_measured: mean over the queries measured.
      contribution_measured: times value_bound: bounds their mean contribution.
      guarantee: what the guaranteed mass rests on (`Gap.bound`), or None for a model that is not causal.
      out_mass_guaranteed: the most at any query.
      contribution_guaranteed: times value_bound: bounds every contribution.
    """

    run: str
    seed: int
    commit: str
    split: str
    lam: Annotated[float, Column("λ", formats.short, help="locality")]
    tau: Annotated[float, Column("τ", formats.short, help="temperature")]
    layer: int
    head: int
    value_bound: float
    out_mass_measured: float
    contribution_measured: float
    guarantee: str | None
    out_mass_guaranteed: float | None
    contribution_guaranteed: float | None


@dataclass(frozen=True, repr=False)
class InfluenceResult(Shown):
    """All rows and what made them.

    Attributes:
      rows: one per λ, in the order asked for.
      heads: one per λ, layer and head.
      config: the run's full configuration.
      meta: versions, commit, device, seed of the draws.
    """

    rows: tuple[InfluenceRow, ...]
    heads: tuple[HeadInfluenceRow, ...]
    config: Config
    meta: InfluenceMeta

    def to_pandas(self, heads: bool = False) -> "DataFrame":
        """The rows over λ as a data frame, or, with `heads`, those of layers and heads."""
        return to_pandas(HeadInfluenceRow, self.heads) if heads else to_pandas(InfluenceRow, self.rows)

    def card(self) -> Card:
        if not self.rows:
            return Card("InfluenceResult without rows", {})
        first = self.rows[0]
        header = ("λ", "KL outside (nats)", "± error", "KL inside", "block mass")
        rows = [
            (
                f"{row.lam:g}",
                f"{row.kl_outside:.4g}",
                f"{row.kl_outside_error:.2g}",
                "none" if row.kl_inside is None else f"{row.kl_inside:.4g}",
                f"{row.block_mass:.3f}",
            )
            for row in self.rows
        ]
        facts = {"read": f"{first.split}, {first.positions} queries, {first.draws} draws, τ = {first.tau:g}"}
        step = "unknown" if self.meta.checkpoint_step is None else self.meta.checkpoint_step
        return Card(f"InfluenceResult of {first.run}, step {step}", facts, [header, *rows])


def influence_result(
    model: LanguageModel, dataset: Dataset, cells: list[InfluenceCell], split: str, seed: int
) -> InfluenceResult:
    """The rows of these cells of one model; `split` and `seed` are those that they were measured with."""
    labels = [
        RowLabel(model.run, model.config.seed, model.meta.get("commit", "unknown"), split, cell.lam, cell.tau)
        for cell in cells
    ]
    heads = [row for cell, label in zip(cells, labels, strict=True) for row in _head_rows(model, cell, label)]
    meta = InfluenceMeta(
        **vars(origin_of(model, dataset)),
        draws_seed=seed,
        unit="nats",
        resampled_from="unigram distribution of the training split",
    )
    return InfluenceResult(tuple(map(_row, cells, labels)), tuple(heads), model.config, meta)


def _row(cell: InfluenceCell, label: RowLabel) -> InfluenceRow:
    outside, inside, beyond = cell.outside, cell.inside, cell.beyond
    return InfluenceRow(
        **vars(label),
        hard=cell.hard,
        draws=cell.draws,
        positions=outside.positions,
        block_mass=float(cell.block_mass.mean()),
        tokens_outside=outside.tokens,
        kl_outside=outside.kl,
        kl_outside_error=outside.error,
        kl_outside_spread=outside.spread,
        positions_inside=0 if inside is None else inside.positions,
        tokens_inside=None if inside is None else inside.tokens,
        kl_inside=None if inside is None else inside.kl,
        kl_inside_error=None if inside is None else inside.error,
        kl_inside_spread=None if inside is None else inside.spread,
        kl_outside_paired=None if cell.outside_paired is None else cell.outside_paired.kl,
        positions_beyond=None if not cell.reach else 0 if beyond is None else beyond.positions,
        tokens_beyond=None if beyond is None else beyond.tokens,
        kl_beyond=None if beyond is None else beyond.kl,
        kl_beyond_error=None if beyond is None else beyond.error,
        kl_beyond_spread=None if beyond is None else beyond.spread,
    )


def _head_rows(model: LanguageModel, cell: InfluenceCell, label: RowLabel) -> list[HeadInfluenceRow]:
    values = value_bounds(model.params, model.config.model, cell.lam)
    measured = np.minimum(cell.out_mass, 1.0)  # float32 sums of weights may pass 1 by rounding
    carried = contribution_bounds(measured, values)
    name, guaranteed = _guaranteed(model, cell)
    most = None if guaranteed is None else contribution_bounds(guaranteed, values)
    return [
        HeadInfluenceRow(
            **vars(label),
            layer=at[0],
            head=at[1],
            value_bound=float(values[at]),
            out_mass_measured=float(measured[at]),
            contribution_measured=float(carried[at]),
            guarantee=name,
            out_mass_guaranteed=None if guaranteed is None else float(guaranteed[at]),
            contribution_guaranteed=None if most is None else float(most[at]),
        )
        for at in np.ndindex(values.shape)
    ]


def _guaranteed(model: LanguageModel, cell: InfluenceCell) -> tuple[str | None, np.ndarray | None]:
    """The most attention outside the block that any query of each head can have, and what that rests on;
    (None, None) if not causal.
    """
    if model.config.model.bidirectional:
        return None, None
    found = certify(model, cell.lam, cell.tau, hard=cell.hard)
    return found.gap.bound, found.out_mass.max(axis=-1)

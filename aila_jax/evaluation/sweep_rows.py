"""What a sweep measured at one λ and τ, and what is guaranteed there, as rows: one for the model, one for
each layer and head.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from aila_jax.config import Config, MarginForm
from aila_jax.evaluation.certify import key_counts
from aila_jax.evaluation.rows import CellRow, HeadRow, RowLabel
from aila_jax.guarantees.certificates import Certificate
from aila_jax.guarantees.gaps import guaranteed_gap, why_uncertifiable
from aila_jax.inference.language_model import LanguageModel
from aila_jax.metrics.pointers import PointerSummary
from aila_jax.metrics.sums import Summary, perplexity
from aila_jax.model.margin import head_shares
from aila_jax.types import Batch


class Guarantees:
    """Certificates of one model over a grid of λ and τ, for the queries of the batches scored. Made once, on
    the host.
    """

    def __init__(
        self,
        model: LanguageModel,
        batches: Iterable[Batch],
        lams: Sequence[float],
        taus: Sequence[float],
        hard: bool,
    ):
        """Counts keys once, and bounds scores once for each λ; nothing for a model that sees later tokens, or
        whose training diverged.
        """
        config = model.config.model
        certified = () if why_uncertifiable(model.params, config) else lams
        self._gaps = {lam: guaranteed_gap(model.params, config, lam, hard=hard) for lam in certified}
        self._counts = (
            key_counts(model, batches)
            if any(gap.says_something(tau) for gap in self._gaps.values() for tau in taus)
            else None
        )

    def at(self, lam: float, tau: float) -> Certificate | None:
        """The certificate of one cell; None where nothing is guaranteed that uniform attention does not
        have.
        """
        gap = self._gaps.get(lam)
        if gap is None or self._counts is None or not gap.says_something(tau):
            return None
        return Certificate(gap, tau, self._counts)


def cell_row(
    label: RowLabel,
    s: Summary,
    config: Config,
    hard: bool,
    words: int | None,
    text_bytes: int | None,
    pointers: str,
    guaranteed: Certificate | None,
) -> CellRow:
    total = s.loss * s.targets
    word = math.inf if not words else perplexity(total / words)
    imposed = _imposed(config, label.lam, hard)
    return CellRow(
        **vars(label),
        hard=hard,
        targets=s.targets,
        loss=s.loss,
        perplexity_token=perplexity(s.loss),
        perplexity_word=word if math.isfinite(word) else None,
        perplexity_byte=None if not text_bytes else perplexity(total / text_bytes),
        accuracy=s.accuracy,
        entropy_bits=float(s.entropy_bits.mean()),
        entropy_fraction=float(s.entropy_fraction.mean()),
        block_mass=float(s.block_mass.mean()),
        block_mass_uniform=s.block_mass_uniform,
        block_mass_lift=float(s.block_mass.mean()) / s.block_mass_uniform,
        block_mass_local=float(s.block_mass_local.mean()),
        delta_imposed=None if imposed is None else float(np.mean(imposed)),
        delta_measured=None if s.delta_measured is None else float(s.delta_measured.mean()),
        delta_share=None if s.delta_share is None else float(s.delta_share.mean()),
        **vars(guaranteed_at(guaranteed)),
        **vars(_pointers_at(s.pointers)),
        **vars(_kinds(s, config)),
        pointers=None if s.pointers is None else pointers,
        pointer_queries=None if s.pointers is None else s.pointers.queries,
        determined=None if s.pointers is None else s.pointers.determined,
        accuracy_determined=None if s.pointers is None else s.pointers.accuracy_determined,
    )


def head_rows(
    label: RowLabel, s: Summary, config: Config, hard: bool, guaranteed: Certificate | None
) -> list[HeadRow]:
    imposed, plain = _imposed(config, label.lam, hard), config.relation.plain
    rows = []
    for layer, head in np.ndindex(s.entropy_bits.shape):
        at = (layer, head)
        rows.append(
            HeadRow(
                **vars(label),
                layer=layer,
                head=head,
                entropy_bits=float(s.entropy_bits[at]),
                entropy_fraction=float(s.entropy_fraction[at]),
                block_mass=float(s.block_mass[at]),
                block_mass_uniform=s.block_mass_uniform if plain else float(s.layers.uniform[layer]),
                block_mass_lift=float(s.block_mass_lift[at]),
                block_mass_local=float(s.block_mass_local[at]),
                delta_imposed=None if imposed is None else float(imposed[at]),
                delta_measured=None if s.delta_measured is None else float(s.delta_measured[at]),
                delta_share=None if s.delta_share is None else float(s.delta_share[at]),
                **vars(guaranteed_at(guaranteed, at)),
                **vars(_pointers_at(s.pointers, at)),
                **vars(_kinds(s, config, at)),
            )
        )
    return rows


@dataclass(frozen=True)
class GuaranteeColumns:
    """The columns of a row on what is guaranteed; None where nothing is."""

    guaranteed_block_mass: float | None = None
    guaranteed_entropy_bits: float | None = None


def guaranteed_at(found: Certificate | None, at: Any = ...) -> GuaranteeColumns:
    """Means over the layers and heads `at`; empty for a head of which nothing is guaranteed."""
    if found is None or not (found.nats[at] > 0.0).any():
        return GuaranteeColumns()
    return GuaranteeColumns(
        float(found.head_block_mass[at].mean()), float(found.head_entropy_bits[at].mean())
    )


def _imposed(config: Config, lam: float, hard: bool) -> Float[np.ndarray, "N H"] | None:
    """Nats that λ imposes on each head; None for the self-scaling margin, which differs from query to query,
    and for hard attention.
    """
    if hard or config.model.margin.form != MarginForm.FIXED:
        return None
    return head_shares(config.model, lam) * config.model.margin.nats


@dataclass(frozen=True)
class PointerColumns:
    """The columns of a row on pointer fidelity; None where it was not measured."""

    pointer_fidelity: float | None = None
    pointer_uniform: float | None = None
    pointer_lift: float | None = None
    pointer_block_ratio: float | None = None
    pointer_key_share: float | None = None


def _pointers_at(p: PointerSummary | None, at: Any = ...) -> PointerColumns:
    """Means over the layers and heads `at`, and ratios of such means."""
    if p is None:
        return PointerColumns()
    fidelity, inside, block = (float(mass[at].mean()) for mass in (p.fidelity, p.fidelity_in, p.block_mass))
    return PointerColumns(
        fidelity, p.uniform, fidelity / p.uniform, inside / block if block else None, p.key_share
    )


@dataclass(frozen=True)
class KindColumns:
    """The columns of a row on the kinds of keys inside; None with plain blocks, and where there are none."""

    n_in: float | None = None
    block_mass_local_uniform: float | None = None
    pointer_mass: float | None = None
    pointer_mass_uniform: float | None = None
    sink_mass: float | None = None
    sink_mass_uniform: float | None = None


def _kinds(s: Summary, config: Config, at: Any = ...) -> KindColumns:
    """Means over the layers and heads `at`; one head has the keys of its layer."""
    if config.relation.plain:
        return KindColumns()
    layer, keys = ... if at is ... else at[0], s.layers

    def mean(values: np.ndarray | None, where: Any) -> float | None:
        return None if values is None else float(np.mean(values[where]))

    return KindColumns(
        n_in=mean(keys.n_in, layer),
        block_mass_local_uniform=mean(keys.local_uniform, layer),
        pointer_mass=mean(s.pointer_mass, at),
        pointer_mass_uniform=mean(keys.pointer_uniform, layer),
        sink_mass=mean(s.sink_mass, at),
        sink_mass_uniform=mean(keys.sink_uniform, layer),
    )

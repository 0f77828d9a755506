"""What a sweep measured at one λ and τ, as rows: one for the model, one for each layer and head."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from aila_jax.config import Config, MarginForm
from aila_jax.evaluation.certify import key_counts
from aila_jax.evaluation.rows import CellRow, HeadRow
from aila_jax.guarantees.certificates import Certificate
from aila_jax.guarantees.gaps import guaranteed_gap, why_uncertifiable
from aila_jax.inference.language_model import LanguageModel
from aila_jax.metrics.pointers import PointerSummary
from aila_jax.metrics.sums import Summary, perplexity
from aila_jax.model.margin import head_shares
from aila_jax.types import Batch


def _imposed(config: Config, lam: float, hard: bool) -> Float[np.ndarray, "N H"] | None:
    """Nats that λ imposes on each head; None for the self-scaling margin, which differs from query to query,
    and for hard attention.
    """
    if hard or config.model.margin.form != MarginForm.FIXED:
        return None
    return head_shares(config.model, lam) * config.model.margin.nats


def cell_row(
    label: dict[str, Any],
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
    imposed = _imposed(config, label["lam"], hard)
    return CellRow(
        **label,
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
        **guaranteed_fields(guaranteed),
        **_pointer_fields(s.pointers, ...),
        **({} if s.pointers is None else _pointer_counts(s.pointers, pointers)),
    )


def _pointer_counts(p: PointerSummary, pointers: str) -> dict[str, Any]:
    """The fields that only a cell has."""
    return {
        "pointers": pointers,
        "pointer_queries": p.queries,
        "determined": p.determined,
        "accuracy_determined": p.accuracy_determined,
    }


def _pointer_fields(p: PointerSummary | None, at: Any) -> dict[str, Any]:
    """The fields that cells and heads share: means over the layers and heads `at`, ratios of such means."""
    if p is None:
        return {}
    fidelity, inside, block = (float(mass[at].mean()) for mass in (p.fidelity, p.fidelity_in, p.block_mass))
    return {
        "pointer_fidelity": fidelity,
        "pointer_uniform": p.uniform,
        "pointer_lift": fidelity / p.uniform,
        "pointer_block_ratio": inside / block if block else None,
        "pointer_key_share": p.key_share,
    }


def head_rows(
    label: dict[str, Any], s: Summary, config: Config, hard: bool, guaranteed: Certificate | None
) -> list[HeadRow]:
    imposed = _imposed(config, label["lam"], hard)
    rows = []
    for layer, head in np.ndindex(s.entropy_bits.shape):
        at = (layer, head)
        rows.append(
            HeadRow(
                **label,
                layer=layer,
                head=head,
                entropy_bits=float(s.entropy_bits[at]),
                entropy_fraction=float(s.entropy_fraction[at]),
                block_mass=float(s.block_mass[at]),
                block_mass_uniform=s.block_mass_uniform,
                block_mass_lift=float(s.block_mass_lift[at]),
                block_mass_local=float(s.block_mass_local[at]),
                delta_imposed=None if imposed is None else float(imposed[at]),
                delta_measured=None if s.delta_measured is None else float(s.delta_measured[at]),
                delta_share=None if s.delta_share is None else float(s.delta_share[at]),
                **guaranteed_fields(guaranteed, at),
                **_pointer_fields(s.pointers, at),
            )
        )
    return rows


class Guarantees:
    """Certificates of one model over a grid of λ and τ, for the queries of the batches scored. Made once, on
    the host.
    """

    def __init__(self, model: LanguageModel, batches: Iterable[Batch], lams: Sequence[float], hard: bool):
        """Counts keys once, and bounds scores once for each λ; nothing for a model that sees later tokens, or
        whose training diverged.
        """
        config = model.config.model
        certified = () if why_uncertifiable(model.params, config) else lams
        self._gaps = {lam: guaranteed_gap(model.params, config, lam, hard=hard) for lam in certified}
        self._counts = (
            key_counts(model, batches) if any(gap.says_something for gap in self._gaps.values()) else None
        )

    def at(self, lam: float, tau: float) -> Certificate | None:
        """The certificate of one cell; None where nothing is guaranteed that uniform attention does not
        have.
        """
        gap = self._gaps.get(lam)
        if gap is None or self._counts is None or not gap.says_something:
            return None
        return Certificate(gap, tau, self._counts)


def guaranteed_fields(found: Certificate | None, at: Any = ...) -> dict[str, Any]:
    """The columns of a row: means over the layers and heads `at`; empty for a head of which nothing is
    guaranteed.
    """
    if found is None or not (found.gap.nats[at] > 0.0).any():
        return {"guaranteed_block_mass": None, "guaranteed_entropy_bits": None}
    return {
        "guaranteed_block_mass": float(found.head_block_mass[at].mean()),
        "guaranteed_entropy_bits": float(found.head_entropy_bits[at].mean()),
    }

"""The guarantee beside the measurement: what is certified of the very queries that a sweep measures."""

from collections.abc import Iterable, Sequence
from typing import Any

from aila_jax.evaluation.certify import key_counts
from aila_jax.evaluation.language_model import LanguageModel
from aila_jax.theory.certificates import Certificate
from aila_jax.theory.gaps import guaranteed_gap, why_uncertifiable
from aila_jax.types import Batch


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

"""Pointer fidelity: attention on the keys that a query is pointed at, beside what uniform and block attention
would give.
"""

from dataclasses import dataclass

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from aila_jax.loss.cross_entropy import TargetScores
from aila_jax.model.stats import AttentionStats
from aila_jax.partition.pairs import KeyOfQuery, KeysOfBlock, Pairs
from aila_jax.types import PADDING_ID, Array, Batch


@flax.struct.dataclass
class PointerSums:
    """Sums over the queries t with a non-empty P_t (the keys of A_t, t itself excepted, that t is pointed
    at); they add up.

    [N, H]: attention on P_t (mass), on the part of P_t inside (mass_in), on all that is inside (block_mass).
    [N]: what uniform attention would have on P_t (uniform), keys of P_t inside, keys inside, queries. On rule
    corpora, scalars: scored targets that the rule determines, and those of them ranked first.
    """

    mass: Float[Array, "N H"]
    mass_in: Float[Array, "N H"]
    block_mass: Float[Array, "N H"]
    uniform: Float[Array, "N"]
    pointed_in: Int[Array, "N"]
    keys_in: Int[Array, "N"]
    queries: Int[Array, "N"]
    determined: Int[Array, ""] | None = None
    determined_correct: Int[Array, ""] | None = None


def anchor_pointers(is_anchor: Bool[Array, "B L"], block_ids: Int[Array, "B L"]) -> Pairs:
    """Where the key is an anchor of the query's own block. A query of every block (GLOBAL_ID) has none.

    Attention keeps what lies in A_t, so documents need no mention here.
    """
    return KeysOfBlock(jnp.asarray(block_ids), jnp.asarray(is_anchor))


def answer_pointers(pointers: Int[Array, "B L"]) -> Pairs:
    """Where the key is the query's known answer position (`Batch.pointers`, −1 for none)."""
    return KeyOfQuery(jnp.asarray(pointers))


def pointer_sums(
    stats: AttentionStats, batch: Batch, scores: TargetScores, scored: Bool[Array, "B L"]
) -> PointerSums:
    """The sums of one batch; `stats` must carry `pointed`, with a leading layer axis."""
    pointed = stats.pointed
    assert pointed is not None, "pointer_sums needs statistics of pointers"
    n = pointed.n
    counted = (batch.doc_ids != PADDING_ID)[None] & (n > 0)
    determined = None if batch.pointers is None else scored & (batch.pointers >= 0)

    def over(values: Array) -> Array:
        return jnp.sum(values, axis=(1, 3), where=counted[:, :, None, :])

    def each_layer(values: Array) -> Array:
        return jnp.sum(values, axis=(1, 2), where=counted)

    return PointerSums(
        mass=over(pointed.mass),
        mass_in=over(pointed.mass_in),
        block_mass=over(stats.block_mass),
        uniform=each_layer(n / stats.n_keys),
        pointed_in=each_layer(pointed.n_in),
        keys_in=each_layer(stats.n_in),
        queries=jnp.sum(counted, axis=(1, 2)),
        determined=None if determined is None else jnp.sum(determined),
        determined_correct=None if determined is None else jnp.sum(determined & scores.first),
    )


@dataclass(frozen=True)
class PointerSummary:
    """Means of merged sums over the same queries; [N, H] arrays where attention is measured, means over
    layers of what is counted.

    Attributes:
      fidelity: attention on P_t, in [0, 1].
      uniform: what uniform attention would have.
      fidelity_in: attention on the part of P_t in the block.
      block_mass: attention on the block.
      key_share: keys of that part ÷ keys in the block, which is what fidelity_in ÷ block_mass would be if
        attention inside the block were uniform.
      queries: how many were counted; of the layer that has most.
      determined: scored targets that the rule determines.
      accuracy_determined: share of them ranked first. None without a rule.
    """

    fidelity: np.ndarray
    fidelity_in: np.ndarray
    block_mass: np.ndarray
    uniform: float
    key_share: float
    queries: int
    determined: int | None
    accuracy_determined: float | None


def summarize_pointers(sums: PointerSums) -> PointerSummary | None:
    """Divides once; None where no query was counted."""
    each = np.asarray(sums.queries)
    if not each.all():  # a layer without one says nothing of pointers
        return None
    determined = 0 if sums.determined is None else int(sums.determined)
    correct = 0 if sums.determined_correct is None else int(sums.determined_correct)
    return PointerSummary(
        fidelity=np.asarray(sums.mass) / each[:, None],
        fidelity_in=np.asarray(sums.mass_in) / each[:, None],
        block_mass=np.asarray(sums.block_mass) / each[:, None],
        uniform=float(np.mean(np.asarray(sums.uniform) / each)),
        key_share=float(np.mean(np.asarray(sums.pointed_in) / np.asarray(sums.keys_in))),
        queries=int(each.max()),
        determined=determined or None,
        accuracy_determined=correct / determined if determined else None,
    )

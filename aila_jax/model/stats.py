"""Statistics of attention weights, per query: entropy, block mass, and the measured score gap."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from aila_jax.types import GLOBAL_ID, Array

BITS_PER_NAT = float(1.0 / np.log(2.0))


@flax.struct.dataclass
class AttentionStats:
    """What each query's attention weights α_t look like. From a model, every field has a leading layer axis.

    Attributes:
      entropy_bits: −Σ_j α_tj log2 α_tj, from 0 to log2 n_keys.
      block_mass: Σ of α_tj over keys in t's block, global keys included, in [0, 1].
      local_mass: the same over keys that carry t's own block id and are not global; 0 for a global query.
      n_keys: |A_t|. n_in: keys of A_t in the block. n_local: those of them that are not global (0 for a global query).
      delta: on request, min over in-block keys − max over out-of-block keys of the scores τz, in nats; 0 where n_in is
        0 or n_keys: there is nothing to compare.
      weights: on request, α itself, [query, key], 0 outside A_t.
    """

    entropy_bits: Float[Array, "*N B H L"]
    block_mass: Float[Array, "*N B H L"]
    local_mass: Float[Array, "*N B H L"]
    n_keys: Int[Array, "*N B L"]
    n_in: Int[Array, "*N B L"]
    n_local: Int[Array, "*N B L"]
    delta: Float[Array, "*N B H L"] | None = None
    weights: Float[Array, "*N B H L L"] | None = None


def attention_stats(
    logits: Float[Array, "B H L L"],
    weights: Float[Array, "B H L L"],
    mask: Bool[Array, "B 1 L L"],
    same: Bool[Array, "B 1 L L"],
    query_ids: Int[Array, "B L"],
    key_ids: Int[Array, "B L"],
    *,
    tau: Float[Array, ""] | Float[Array, "B 1 1 1"],
    delta: bool,
) -> AttentionStats:
    """Statistics of `weights` = softmax(`logits`), where logits are −inf outside `mask`.

    Entropy is LSE − Σ αz with z relative to its maximum, so no 0 · log 0 arises and large logits lose no precision.
    """
    relative = jnp.where(mask, logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True)), 0.0)
    lse = jnp.log(jnp.sum(jnp.exp(relative), axis=-1, where=mask))
    entropy = lse - jnp.sum(weights * relative, axis=-1)
    local = (query_ids[:, :, None] == key_ids[:, None, :]) & (key_ids != GLOBAL_ID)[:, None, :]
    local = local[:, None]
    return AttentionStats(
        entropy_bits=jnp.maximum(entropy, 0.0) * BITS_PER_NAT,
        block_mass=jnp.sum(weights, axis=-1, where=same & mask),
        local_mass=jnp.sum(weights, axis=-1, where=local & mask),
        n_keys=jnp.sum(mask, axis=-1)[:, 0],
        n_in=jnp.sum(mask & same, axis=-1)[:, 0],
        n_local=jnp.sum(mask & local, axis=-1)[:, 0],
        delta=_score_gap(logits * tau, mask, same) if delta else None,
    )


def _score_gap(scores: Float[Array, "B H L L"], mask: Bool[Array, "B 1 L L"], same: Bool[Array, "B 1 L L"]) -> Float[Array, "B H L"]:
    """min in-block − max out-of-block score; 0 for a query without keys on one of the sides (it is not counted)."""
    inside = jnp.min(scores, axis=-1, where=mask & same, initial=jnp.inf)
    outside = jnp.max(scores, axis=-1, where=mask & ~same, initial=-jnp.inf)
    return jnp.where(jnp.any(mask & same, axis=-1) & jnp.any(mask & ~same, axis=-1), inside - outside, 0.0)

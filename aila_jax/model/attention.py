"""Locality attention: softmax attention whose out-of-block scores are lowered by λ times a margin."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from aila_jax.model.margin import Margin, SelfScaling, check_margin
from aila_jax.model.masks import attendable, inside_block, same_block
from aila_jax.model.stats import AttentionStats, attention_stats
from aila_jax.types import Array


def locality_attention(
    q_BxLxHxK: Float[Array, "B L H K"],
    k_BxLxHxK: Float[Array, "B L H K"],
    v_BxLxHxK: Float[Array, "B L H K"],
    block_ids: Int[Array, "B L"],
    *,
    lam: float | Float[Array, ""] | Float[Array, "B"] | Float[Array, "#B H"],
    tau: float | Float[Array, ""] | Float[Array, "B"],
    margin: Margin | Float[Array, ""],
    causal: bool = True,
    doc_ids: Int[Array, "B L"] | None = None,
    key_block_ids: Int[Array, "B L"] | None = None,
    scale: float | Float[Array, "H"] | None = None,
    score_cap: float = 0.0,
    hard: bool = False,
    stats: bool = False,
    delta: bool = False,
    weights: bool = False,
    in_block: bool = False,
    log_mass: bool = False,
    largest: bool = False,
    pointers: Bool[Array, "B L L"] | None = None,
) -> tuple[Float[Array, "B L H K"], AttentionStats | None]:
    """Attention with a locality dial.

        z_tj = (s_tj − λ · m_t · [t and j in different blocks]) / τ,   α_t = softmax over A_t of z_t,   s_tj =
        ⟨q_t, k_j⟩ · scale

    Scores, λm, 1/τ, softmax and statistics are float32 whatever the type of q, k and v. λ = 0 is ordinary
    attention, bit for bit.

    Args:
      q_BxLxHxK, k_BxLxHxK, v_BxLxHxK: queries, keys and values.
      block_ids: block of each position; PADDING_ID (−1) marks padding, GLOBAL_ID (−2) a token of every block.
      lam: λ in [0, 1], traced; one number, one per example, or one per example and head.
      tau: τ > 0, traced; one number, or one per example. It divides after the margin; the paper's τ is √K
        times this one.
      margin: nats, from 0 to 10,000, or a `SelfScaling`.
      causal: A_t holds no key after t.
      doc_ids: where given, A_t holds keys of t's document only.
      key_block_ids: blocks of the keys where they differ from those of the queries. A query may then have no
        key in its block: the dial leaves its attention as it is (all keys lose the same), its block mass is
        0, and its δ is 0 and counts nowhere.
      scale: of the scores, one number or one per head; 1/√K by default.
      score_cap: c > 0 makes c · tanh(s / c) of each score s, at most c in size, before anything else sees it;
        0 leaves them.
      hard: attend inside the block only, or, without a key there, to the query's own position; λ must be 1.
      stats: return the statistics; nothing of them is computed otherwise.
      delta: with `stats`, also the measured gap between in-block and out-of-block scores.
      weights: with `stats`, also α itself, B·H·L² numbers.
      in_block: with `stats`, also the entropy of the attention inside the block.
      log_mass: with `stats`, also the logarithm of block mass.
      largest: with `stats`, also the largest |s_tj| over A_t.
      pointers: with `stats`, [query, key] pairs whose attention is measured: pointer fidelity.

    Returns:
      Outputs [B, L, H, K] in v's type, and `AttentionStats` per query, or None.

    Raises:
      ValueError: a margin outside its limits, or `hard` with λ ≠ 1.
    Source: ours, for the paper's inference-time dial (docs/method.md, section 2).
    """
    # NumPy, because inside jit even a comparison of constants by jnp is traced.
    if hard and not isinstance(lam, jax.core.Tracer) and bool(np.any(np.asarray(lam) != 1)):
        raise ValueError(
            f"lam is {lam!r} with hard=True; it must be 1, since 0 · ∞ has no value. Fix: lam=1, or"
            " hard=False."
        )
    if not isinstance(margin, SelfScaling):
        check_margin(margin)
    scale = 1.0 / math.sqrt(q_BxLxHxK.shape[-1]) if scale is None else scale
    scale_H = jnp.broadcast_to(jnp.asarray(scale, jnp.float32), (q_BxLxHxK.shape[2],))
    key_ids = block_ids if key_block_ids is None else key_block_ids
    same = same_block(block_ids, key_ids)
    mask = attendable(block_ids, key_ids, doc_ids, causal)
    if hard:
        mask = inside_block(mask, same)

    scores = jnp.einsum("blhk,bmhk->bhlm", q_BxLxHxK, k_BxLxHxK, preferred_element_type=jnp.float32)
    scores *= scale_H[None, :, None, None]
    if score_cap:
        scores = score_cap * jnp.tanh(scores / score_cap)
    if isinstance(margin, SelfScaling):
        range_BxHxLx1 = _score_range(margin, scores, mask, q_BxLxHxK, k_BxLxHxK, scale_H)
        later = 1.0 if margin.bend == 1.0 else per_example(lam) ** (margin.bend - 1.0)
        margin = later * margin.c * range_BxHxLx1 + margin.m0
    pushed = per_example(lam) * jnp.asarray(margin, jnp.float32)
    logits = jnp.where(mask, (scores - jnp.where(same, 0.0, pushed)) / per_example(tau), -jnp.inf)
    alpha = jax.nn.softmax(logits, axis=-1)
    out = jnp.einsum("bhlm,bmhk->blhk", alpha.astype(v_BxLxHxK.dtype), v_BxLxHxK)
    if not stats:
        return out, None
    found = attention_stats(
        logits,
        alpha,
        mask,
        same,
        block_ids,
        key_ids,
        tau=per_example(tau),
        delta=delta,
        in_block=in_block,
        log_mass=log_mass,
        pointers=pointers,
    )
    if weights:
        found = replace(found, weights=alpha)
    if largest:
        found = replace(found, largest_score=jnp.max(jnp.abs(scores), axis=-1, where=mask, initial=0.0))
    return out, found


def per_example(value: float | Array) -> Float[Array, "..."]:
    """A dial value as float32: a scalar stays one, [B] becomes [B, 1, 1, 1], and [B, H] becomes [B, H, 1,
    1].
    """
    value = jnp.asarray(value, jnp.float32)
    return value if value.ndim == 0 else value.reshape(value.shape + (1,) * (4 - value.ndim))


def _score_range(
    margin: SelfScaling,
    scores: Float[Array, "B H L L"],
    mask: Bool[Array, "B 1 L L"],
    q_BxLxHxK: Float[Array, "B L H K"],
    k_BxLxHxK: Float[Array, "B L H K"],
    scale_H: Float[Array, "H"],
) -> Float[Array, "B H L 1"]:
    """r_t: the range of a query's scores over A_t, or its bound from norms; no gradient flows through it."""
    if margin.exact:
        high = jnp.max(scores, axis=-1, keepdims=True, where=mask, initial=-jnp.inf)
        low = jnp.min(scores, axis=-1, keepdims=True, where=mask, initial=jnp.inf)
        return jax.lax.stop_gradient(high - low)
    q_norm = jnp.linalg.norm(jax.lax.stop_gradient(q_BxLxHxK).astype(jnp.float32), axis=-1).transpose(0, 2, 1)
    k_norm = jnp.linalg.norm(jax.lax.stop_gradient(k_BxLxHxK).astype(jnp.float32), axis=-1).transpose(0, 2, 1)
    k_most = jnp.max(jnp.broadcast_to(k_norm[:, :, None, :], scores.shape), axis=-1, where=mask, initial=0.0)
    # 1 % covers the rounding of scores, so that the bound stays one where matrix products read bfloat16 (2⁻⁸
    # of each operand), as those of float32 do on accelerators by default; norms are no matrix products.
    return (2.02 * jnp.abs(jax.lax.stop_gradient(scale_H))[None, :, None] * q_norm * k_most)[..., None]

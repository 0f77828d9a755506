"""Locality attention: softmax attention whose out-of-block scores are lowered by λ times a margin."""

import math
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from aila_jax.config import AttentionRoute
from aila_jax.config.checks import check_flag, check_instance, require
from aila_jax.model.arguments import check_attention
from aila_jax.model.chunked import Qkv, chunked_attention
from aila_jax.model.fused import fused_attention, why_not_fused
from aila_jax.model.margin import Margin, SelfScaling, check_gate, check_margin
from aila_jax.model.push import Push, per_example
from aila_jax.model.route import may_fuse, route_named, tile_of
from aila_jax.model.stats import AttentionStats, StatsRequest, attention_stats
from aila_jax.model.tap import Tap, untapped
from aila_jax.partition.pairs import Pairs, WrittenPairs
from aila_jax.partition.relations import Masks, Relation, with_fallback
from aila_jax.types import Array


def locality_attention(
    q_BxLxHxK: Float[Array, "B L H K"],
    k_BxLxHxK: Float[Array, "B L H K"],
    v_BxLxHxK: Float[Array, "B L H K"],
    relation: Relation | Int[Array, "B L"] | None = None,
    *,
    lam: float | Float[Array, ""] | Float[Array, "B"] | Float[Array, "#B H"],
    tau: float | Float[Array, ""] | Float[Array, "B"],
    margin: Margin | Float[Array, ""],
    request: StatsRequest | None = None,
    gate: float = 0.0,
    scale: float | Float[Array, "H"] | None = None,
    score_cap: float = 0.0,
    hard: bool = False,
    weights: bool = False,
    pointers: Pairs | Bool[Array, "B L L"] | None = None,
    route: AttentionRoute | str = AttentionRoute.AUTO,
    block_ids: Int[Array, "B L"] | None = None,
    causal: bool | None = None,
    doc_ids: Int[Array, "B L"] | None = None,
    key_block_ids: Int[Array, "B L"] | None = None,
    stats: bool = False,
    delta: bool = False,
    in_block: bool = False,
    log_mass: bool = False,
    largest: bool = False,
) -> tuple[Float[Array, "B L H K"], AttentionStats | None]:
    """Attention with a locality dial.

        z_tj = (s_tj − λ · m_t · [j outside]) / τ + κ · ln(1 − λ) · [j outside],   s_tj = ⟨q_t, k_j⟩ · scale,
        α_t = softmax over A_t of z_t

    Scores, λm, 1/τ, softmax and statistics are float32 whatever the type of q, k and v. λ = 0 is ordinary
    attention, bit for bit.

    Args:
      q_BxLxHxK: queries.
      k_BxLxHxK: keys.
      v_BxLxHxK: values.
      relation: a `Relation`, or the block of each position, of which one is made; PADDING_ID (−1) marks
        padding, GLOBAL_ID (−2) a token of every block.
      lam: λ in [0, 1], traced; one number, one per example, or one per example and head.
      tau: τ > 0, traced; one number, or one per example. It divides after the margin; the paper's τ is √K
        times this one.
      margin: nats, from 0 to 10,000, or a `SelfScaling`.
      gate: κ, static, from 0 to 10,000: attention outside is also multiplied by (1 − λ)^κ: none is left at λ
        = 1, whatever the scores. With it a query without a key inside has its own position there.
      request: which statistics to return; nothing of them is computed without it.
      scale: of the scores, one number or one per head; 1/√K by default.
      score_cap: c > 0 makes c · tanh(s / c) of each score s, at most c in size, before anything else sees it;
        0 leaves them.
      hard: attend inside the block only, or, without a key there, to the query's own position; λ must be 1.
      weights: with statistics, also α itself, B·H·L² numbers.
      pointers: with statistics, [query, key] pairs whose attention is measured: pointer fidelity. An array,
        or `Pairs`, of which no L × L array is made.
      route: how it is computed (`model.attention`): numbers differ by rounding alone.
      block_ids: another name of `relation`.
      causal: for block ids: A_t holds no key after t, which is the default.
      doc_ids: for block ids: A_t holds keys of t's document only.
      key_block_ids: for block ids: blocks of the keys where they differ from those of the queries. A query
        may then have no key in its block: the dial leaves its attention as it is (all keys lose the same),
        its block mass is 0, and its δ is 0 and counts nowhere.
      stats: a request for statistics, field by field; without it the next four ask for nothing.
      delta: the field of that request, and so are in_block, log_mass and largest.

    Returns:
      Outputs [B, L, H, K] in v's type, and `AttentionStats` per query, or None.

    Raises:
      ValueError: a margin outside its limits, `hard` with λ ≠ 1, or a relation or a request that is given
        twice.
    Source: ours, for the paper's inference-time dial (docs/method.md, section 2).
    """
    flags = {"hard": hard, "stats": stats, "delta": delta, "weights": weights}
    flags |= {"in_block": in_block, "log_mass": log_mass, "largest": largest}
    for name, value in flags.items() if causal is None else ({**flags, "causal": causal}).items():
        check_flag(name, value)
    check_instance("request", request, StatsRequest | None, "a StatsRequest or None", "StatsRequest()")
    relation = _one_relation(relation, block_ids, causal, doc_ids, key_block_ids)
    request = _one_request(request, stats, StatsRequest(delta, in_block, log_mass, largest))
    qkv = (q_BxLxHxK, k_BxLxHxK, v_BxLxHxK)
    check_attention(qkv, relation, lam, tau, scale, score_cap, pointers)
    if pointers is not None and not isinstance(pointers, Pairs):
        pointers = WrittenPairs(jnp.asarray(pointers))
    # NumPy, because inside jit even a comparison of constants by jnp is traced.
    if hard and not isinstance(lam, jax.core.Tracer) and bool(np.any(np.asarray(lam) != 1)):
        raise ValueError(
            f"lam is {lam!r} with hard=True; it must be 1, since 0 · ∞ has no value. Fix: lam=1, or"
            " hard=False."
        )
    if not isinstance(margin, SelfScaling):
        check_margin(margin)
    gate = check_gate(gate)
    push = Push(lam, tau, margin, 0.0 if hard else gate, scale_of(scale, q_BxLxHxK), score_cap)
    route, shape = route_named(route), q_BxLxHxK.shape
    if may_fuse(route, shape[1], weights):
        why_not = why_not_fused(
            shape, q_BxLxHxK.dtype, relation, push, hard=hard, request=request, pointers=pointers is not None
        )
        if why_not is None:
            return fused_attention(qkv, relation, push, hard=hard, request=request)
        if route == AttentionRoute.FUSED:
            why_not.refuse()
    batch, length, heads, _ = shape
    tile = tile_of(route, (batch, heads, length), weights, hard=hard)
    if tile is not None:
        return chunked_attention(
            qkv,
            relation,
            push,
            hard=hard,
            request=request,
            pointers=pointers,
            sizes=(tile.side, tile.side),
            heads=tile.heads,
        )
    return reference_attention(
        qkv, relation, push, hard=hard, request=request, pointers=pointers, weights=weights
    )


def reference_attention(
    qkv: Qkv,
    relation: Relation,
    push: Push,
    *,
    hard: bool,
    request: StatsRequest | None,
    pointers: Pairs | None = None,
    weights: bool = False,
) -> tuple[Float[Array, "B L H K"], AttentionStats | None]:
    """What `locality_attention` returns, all scores at once: B·H·L² numbers several times over."""
    q_BxLxHxK, k_BxLxHxK, v_BxLxHxK = qkv
    masks = relation.masks(hard)
    found_logits = attention_logits(q_BxLxHxK, k_BxLxHxK, masks, push)
    alpha = jax.nn.softmax(found_logits.gated, axis=-1)
    out = attend(alpha, v_BxLxHxK)
    if request is None:
        return out, None
    gaps = None
    if request.delta:  # without −∞, which would leave τ no gradient
        gaps = jnp.where(masks.attendable, found_logits.dialled, 0.0) * per_example(push.tau)
    found = attention_stats(
        found_logits.scores,
        found_logits.gated,
        alpha,
        relation,
        masks,
        gaps=gaps,
        request=request,
        pointers=pointers,
    )
    return out, replace(found, weights=alpha) if weights else found


def scale_of(
    scale: float | Float[Array, "H"] | None, q_BxTxHxK: Float[Array, "B T H K"]
) -> Float[Array, "H"]:
    """The scale of each head's scores: what is given, or 1/√K."""
    scale = 1.0 / math.sqrt(q_BxTxHxK.shape[-1]) if scale is None else scale
    return jnp.broadcast_to(jnp.asarray(scale, jnp.float32), (q_BxTxHxK.shape[2],))


def attention_of_rows(
    q_BxTxHxK: Float[Array, "B T H K"],
    k_BxLxGxK: Float[Array, "B L G K"],
    v_BxLxGxK: Float[Array, "B L G K"],
    masks: Masks,
    push: Push,
    tap: Tap = untapped,
) -> Float[Array, "B T H K"]:
    """The rows of `locality_attention` of T queries, whose masks these are, over L keys."""
    logits = attention_logits(q_BxTxHxK, k_BxLxGxK, masks, push, tap)
    gated = tap("attention.dialled", logits.gated)
    return attend(tap("attention.weights", jax.nn.softmax(gated, axis=-1)), v_BxLxGxK)


@dataclass(frozen=True, eq=False)
class Logits:
    """What attention is the softmax of, and what it was made of.

    Attributes:
      scores: s_tj, capped.
      dialled: with the margin and τ; −∞ outside A_t.
      gated: with the gate too: of these attention is the softmax.
    """

    scores: Float[Array, "B H T L"]
    dialled: Float[Array, "B H T L"]
    gated: Float[Array, "B H T L"]


def attention_logits(
    q_BxTxHxK: Float[Array, "B T H K"],
    k_BxLxGxK: Float[Array, "B L G K"],
    masks: Masks,
    push: Push,
    tap: Tap = untapped,
) -> Logits:
    """The logits of T queries over L keys, whose G heads serve H / G heads of queries each."""
    scores = attention_scores(q_BxTxHxK, k_BxLxGxK, push.scale_H, push.score_cap)
    scores = tap("attention.scores", scores)
    margin, lam = push.margin, per_example(push.lam)
    if isinstance(margin, SelfScaling):
        range_BxHxTx1 = _score_range(margin, scores, masks.attendable, q_BxTxHxK, k_BxLxGxK, push.scale_H)
        margin = margin.nats(lam, range_BxHxTx1)
    pushed = lam * jnp.asarray(margin, jnp.float32)
    dialled = dialled_logits(scores, masks, pushed, per_example(push.tau))
    gated = gated_logits(dialled, masks, lam, push.gate) if push.gate else dialled
    return Logits(scores, dialled, gated)


def attention_scores(
    q_BxTxHxK: Float[Array, "B T H K"],
    k_BxLxGxK: Float[Array, "B L G K"],
    scale_H: Float[Array, "H"],
    score_cap: float,
) -> Float[Array, "B H T L"]:
    """s_tj = ⟨q_t, k_j⟩ · scale in float32, and c · tanh(s / c) of it where a cap c is above 0."""
    heads, groups = q_BxTxHxK.shape[2], k_BxLxGxK.shape[2]
    if heads == groups:
        scores = jnp.einsum("blhk,bmhk->bhlm", q_BxTxHxK, k_BxLxGxK, preferred_element_type=jnp.float32)
    else:  # keys are not repeated: where one query reads many, copies would cost more than the products
        grouped = q_BxTxHxK.reshape(*q_BxTxHxK.shape[:2], groups, heads // groups, -1)
        scores = jnp.einsum("blgrk,bmgk->bgrlm", grouped, k_BxLxGxK, preferred_element_type=jnp.float32)
        scores = scores.reshape(scores.shape[0], heads, *scores.shape[3:])
    scores *= scale_H[None, :, None, None]
    return score_cap * jnp.tanh(scores / score_cap) if score_cap else scores


def dialled_logits(
    scores: Float[Array, "B H T L"],
    masks: Masks,
    pushed: Float[Array, "..."],
    tau: Float[Array, ""] | Float[Array, "B 1 1 1"],
) -> Float[Array, "B H T L"]:
    """z_tj: the scores, `pushed` (λm_t) lower outside the block, divided by τ; −∞ outside A_t."""
    return jnp.where(masks.attendable, (scores - jnp.where(masks.inside, 0.0, pushed)) / tau, -jnp.inf)


def gated_logits(
    logits: Float[Array, "B H T L"], masks: Masks, lam: Float[Array, "..."], gate: float
) -> Float[Array, "B H T L"]:
    """z_tj + κ · ln(1 − λ) outside: nothing at λ = 0, bit for bit, and −∞ at λ = 1."""
    inside = with_fallback(masks.attendable & masks.inside, masks.itself)
    return jnp.where(inside, logits, logits + gate * jnp.log1p(-lam))


def attend(weights: Float[Array, "B H T L"], v_BxLxGxK: Float[Array, "B L G K"]) -> Float[Array, "B T H K"]:
    """Σ_j α_tj v_j, with weights in v's type."""
    weights, heads, groups = weights.astype(v_BxLxGxK.dtype), weights.shape[1], v_BxLxGxK.shape[2]
    if heads == groups:
        return jnp.einsum("bhlm,bmhk->blhk", weights, v_BxLxGxK)
    grouped = weights.reshape(weights.shape[0], groups, heads // groups, *weights.shape[2:])
    out = jnp.einsum("bgrlm,bmgk->blgrk", grouped, v_BxLxGxK)
    return out.reshape(*out.shape[:2], heads, -1)


def _one_relation(
    relation: Relation | Array | None,
    block_ids: Array | None,
    causal: bool | None,
    doc_ids: Array | None,
    key_block_ids: Array | None,
) -> Relation:
    """The relation that was given, or the one that block ids and what goes with them make."""
    require(
        (relation is None) != (block_ids is None),
        "relation",
        "missing" if relation is None else "given beside block_ids",
        "given, once",
        "pass the blocks as the fourth argument",
    )
    if not isinstance(relation, Relation):
        ids = block_ids if relation is None else relation
        return Relation(ids, doc_ids, key_block_ids, True if causal is None else causal)
    for name, value in (("causal", causal), ("doc_ids", doc_ids), ("key_block_ids", key_block_ids)):
        fix = f"make the Relation with {name}"
        require(value is None, name, "given", "left out beside a Relation, which holds it", fix)
    return relation


def _one_request(request: StatsRequest | None, stats: bool, fields: StatsRequest) -> StatsRequest | None:
    """The request that was given, or the one that the old booleans make."""
    if request is None:
        return fields if stats else None
    require(
        not stats and fields == StatsRequest(),
        "request",
        request,
        "left out beside stats, delta, in_block, log_mass and largest",
        "ask for them in the request",
    )
    return request


def _score_range(
    margin: SelfScaling,
    scores: Float[Array, "B H T L"],
    mask: Bool[Array, "B 1 T L"],
    q_BxTxHxK: Float[Array, "B T H K"],
    k_BxLxGxK: Float[Array, "B L G K"],
    scale_H: Float[Array, "H"],
) -> Float[Array, "B H T 1"]:
    """r_t: the range of a query's scores over A_t, or its bound from norms; no gradient flows through it."""
    if margin.exact:
        high = jnp.max(scores, axis=-1, keepdims=True, where=mask, initial=-jnp.inf)
        low = jnp.min(scores, axis=-1, keepdims=True, where=mask, initial=jnp.inf)
        return jax.lax.stop_gradient(high - low)
    q_norm = jnp.linalg.norm(jax.lax.stop_gradient(q_BxTxHxK).astype(jnp.float32), axis=-1).transpose(0, 2, 1)
    k_norm = jnp.linalg.norm(jax.lax.stop_gradient(k_BxLxGxK).astype(jnp.float32), axis=-1).transpose(0, 2, 1)
    k_norm = jnp.repeat(k_norm, scores.shape[1] // k_norm.shape[1], axis=1)
    k_most = jnp.max(jnp.broadcast_to(k_norm[:, :, None, :], scores.shape), axis=-1, where=mask, initial=0.0)
    return margin.range_of_norms(jax.lax.stop_gradient(scale_H), q_norm, k_most)[..., None]

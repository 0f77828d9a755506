"""Locality attention by stock fused attention: λ as columns of queries and keys, statistics as values.

With one-hot e of the block, a query q times scale / τ, and p what the dial takes off outside,

    q′ = [q, −p · (1 − e(b_t))],   k′ = [k, e(b_j)]:   ⟨q′, k′⟩ = z_tj

with λ traced and no mask; a key of every block has e = 0. Inside nothing is added, so nothing cancels: the
gradient by p is a sum over keys outside alone. Values v′ = [k, e] give the mass on every block and Σ α z, so
entropy too: H = LSE − Σ α z. No array of L × L is made where the kernel makes none: with cuDNN. The other
implementation is for checking.

What must be exactly 0 (other documents, padding, and outside with hard attention or a shut gate) is pushed
down by more than any two scores can differ, and 110 nats: float32 has no such weight.

Source: the identities ours (docs/howto/long_texts.md).
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from aila_jax.config import require
from aila_jax.model.chunked import Qkv
from aila_jax.model.margin import SelfScaling
from aila_jax.model.push import Push, per_example
from aila_jax.model.stats import BITS_PER_NAT, AttentionStats, StatsRequest
from aila_jax.partition.relations import Relation
from aila_jax.types import GLOBAL_ID, PADDING_ID, Array

SHUT = 110.0  # nats: e^-110 is 0 in float32, where the least number is e^-104
WIDEST, WIDEST_BEFORE_HOPPER = 256, 128  # columns that cuDNN takes
MULTIPLE = 8  # of which it wants them


@dataclass(frozen=True)
class Refusal:
    """Why a case is not for fused attention.

    Attributes:
      name: the setting.
      value: what it is.
      limit: what it must be.
    """

    name: str
    value: Any
    limit: str

    def refuse(self) -> None:
        """Raises ValueError."""
        limit = f"{self.limit} (for the fused route of attention)"
        require(False, self.name, self.value, limit, "leave model.attention (or route) at auto")


def why_not_fused(
    shape: tuple[int, ...],
    dtype: Any,
    relation: Relation,
    push: Push,
    *,
    hard: bool,
    request: StatsRequest | None,
    pointers: bool,
) -> Refusal | None:
    """The first reason against it; None where it holds.

    Args:
      shape: of the queries, [B, L, H, K].
      dtype: theirs.
      relation: of all positions.
      push: what the dial does to scores.
      hard: only keys inside are attended to.
      request: which statistics are made.
      pointers: whether attention on given pairs is measured.
    """
    if push.score_cap:
        return Refusal("score_cap", push.score_cap, "0: a cap comes between scores and margin")
    if isinstance(push.margin, SelfScaling) and push.margin.exact and not hard:
        limit = "'norms': the exact range of scores needs the scores"
        return Refusal("range of a self-scaling margin", "exact", limit)
    for name in ("delta", "in_block", "log_mass", "largest"):
        if request is not None and getattr(request, name):
            return Refusal(f"StatsRequest.{name}", True, "false: it needs the scores")
    if pointers:
        return Refusal("pointers", "given", "left out: attention on pairs needs the weights")
    for name in ("sinks", "pointers"):
        if getattr(relation, name) is not None:
            limit = "None: inside must be a matter of blocks alone"
            return Refusal(f"Relation.{name}", "given", limit)
    if relation.key_block_ids is not None and (hard or push.gate):
        limit = "None with hard attention or a gate: a query without a key inside falls back on itself"
        return Refusal("Relation.key_block_ids", "given", limit)
    blocks = relation.block_count
    if blocks is None:
        limit = "known when it is compiled (windows and classes of a model; ids that are no tracers)"
        return Refusal("number of blocks", "not known", limit)
    half = dtype in (jnp.bfloat16, jnp.float16)
    on_gpu = jax.default_backend() == "gpu"
    if on_gpu and not half:
        return Refusal("dtype", str(dtype), "bfloat16 or float16 on a GPU")
    width, widest = _width(shape[1], shape[3], blocks, relation.doc_ids is not None), _widest(on_gpu)
    if width > widest:
        limit = (
            f"at most {widest} columns: {shape[3]} of a head, one for each of {blocks} blocks, and those of"
            " documents"
        )
        return Refusal("width", width, limit)
    return None


def _widest(on_gpu: bool) -> int:
    """Columns that the device's kernel takes."""
    if not on_gpu:
        return WIDEST
    major = int(str(getattr(jax.devices()[0], "compute_capability", "0")).split(".")[0])
    return WIDEST if major >= 9 else WIDEST_BEFORE_HOPPER


def _bits(length: int, documents: bool) -> int:
    """Columns of a document's code, or of padding's."""
    return max(1, math.ceil(math.log2(length + 1))) if documents else 1


def _width(length: int, head: int, blocks: int, documents: bool) -> int:
    """Columns of queries and keys: the head, the blocks, LSE, the code and what it is held against."""
    width = head + blocks + 1 + _bits(length, documents) + 1
    return -(-width // MULTIPLE) * MULTIPLE


@flax.struct.dataclass
class Codes:
    """What columns say of queries and keys.

    Attributes:
      real: queries that are no padding.
      everywhere: queries of every block.
      own: e of the query's block.
      keys: e of the key's block.
      shown: keys of every block.
      document: ±1, different in some place for different documents, and for padding.
      first: the first position of the query's document.
      last: its last one, or, causal, the query itself.
    """

    real: Bool[Array, "B L"]
    everywhere: Bool[Array, "B L"]
    own: Float[Array, "B L G"]
    keys: Float[Array, "B L G"]
    shown: Bool[Array, "B L"]
    document: Float[Array, "B L n"]
    first: Int[Array, "B L"]
    last: Int[Array, "B L"]

    @classmethod
    def of(cls, relation: Relation) -> "Codes":
        queries, keys, blocks = relation.queries().blocks, relation.keys().blocks, relation.block_count
        queries, keys = jnp.asarray(queries), jnp.asarray(keys)
        assert blocks is not None, "refused otherwise"
        length, real = queries.shape[1], queries != PADDING_ID
        # Documents in one piece each, numbered along the row; a stretch of padding is one.
        new = real[:, 1:] != real[:, :-1]
        if relation.doc_ids is not None:
            documents = jnp.asarray(relation.doc_ids)
            new |= documents[:, 1:] != documents[:, :-1]
        new = jnp.pad(new, ((0, 0), (1, 0)))
        if relation.doc_ids is None:
            number = real.astype(jnp.int32)
        else:
            number = jnp.cumsum(new, axis=1)
        bits = jnp.arange(_bits(length, relation.doc_ids is not None))[None, None]
        index = jnp.broadcast_to(jnp.arange(length)[None], new.shape)
        first = jax.lax.cummax(jnp.where(new, index, 0), axis=1)
        if relation.causal:
            last = index
        else:
            ends = jnp.pad(new[:, 1:], ((0, 0), (0, 1)), constant_values=True)
            last = jax.lax.cummin(jnp.where(ends, index, length), axis=1, reverse=True)
        return cls(
            real,
            queries == GLOBAL_ID,
            jax.nn.one_hot(queries, blocks),
            jax.nn.one_hot(keys, blocks),
            keys == GLOBAL_ID,
            2.0 * ((number[..., None] >> bits) & 1) - 1.0,
            first,
            last,
        )


def fused_attention(
    qkv: Qkv, relation: Relation, push: Push, *, hard: bool, request: StatsRequest | None
) -> tuple[Float[Array, "B L H K"], AttentionStats | None]:
    """What `locality_attention` returns where `why_not_fused` has no reason against it.

    Under bfloat16 p is rounded up, so that what a certificate says of the margin stays true.
    """
    q, k, v = qkv
    codes, dtype = Codes.of(relation), q.dtype
    tau = per_example(push.tau)
    factor = push.scale_H[None, None, :, None] / jnp.broadcast_to(tau, (q.shape[0], 1, 1, 1))
    scaled = (q.astype(jnp.float32) * factor).astype(dtype)
    pushed, shut = _pushed(qkv, scaled, relation, push, hard, codes)
    columns = _Columns(scaled, k, pushed, shut, codes)
    out, near = _stock(columns.queries(None), columns.keys(), columns.wide(v), relation.causal)
    real = codes.real[..., None, None]
    out = jnp.where(real, out[..., : v.shape[-1]], v)  # padding has itself alone
    return out, None if request is None else _stats(columns, near, relation, hard, request)


def _pushed(
    qkv: Qkv,
    scaled: Float[Array, "B L H K"],
    relation: Relation,
    push: Push,
    hard: bool,
    codes: Codes,
) -> tuple[Float[Array, "B L H"], Float[Array, "B L H"]]:
    """p of each query, and what shuts a key out for good."""
    q_norm, k_norm = _norms(scaled), _norms(qkv[1])
    # As certificates have it, 1 % covers the rounding of scores.
    most = jnp.max(k_norm, axis=1, keepdims=True)
    shut = jax.lax.stop_gradient(2.02 * q_norm * most + SHUT)
    if hard:
        pushed = shut
    else:
        lam, margin = _by_head(push.lam), push.margin
        if isinstance(margin, SelfScaling):
            farthest = _running_most(k_norm, codes, relation)
            reach = SelfScaling.range_of_norms(
                push.scale_H, _norms(qkv[0]).transpose(0, 2, 1), farthest.transpose(0, 2, 1)
            ).transpose(0, 2, 1)
            margin = margin.nats(lam, jax.lax.stop_gradient(reach))
        tau = jnp.asarray(push.tau, jnp.float32)
        pushed = lam * jnp.asarray(margin, jnp.float32) / (tau if tau.ndim == 0 else tau[:, None, None])
        if push.gate:
            ends = lam >= 1.0
            gate = -push.gate * jnp.log1p(-jnp.where(ends, 0.0, lam))
            pushed = pushed + jnp.where(ends, jnp.inf, gate)
        # Beyond that nothing is left outside either way, and larger numbers cost scores their digits.
        pushed = jnp.where(pushed < shut, pushed, shut)
    known = (relation.queries().blocks < codes.own.shape[-1]) & (relation.keys().blocks < codes.own.shape[-1])
    pushed = jnp.where(known.all(axis=1)[:, None, None], pushed, jnp.nan)  # blocks that no column is of
    pushed = jnp.where(codes.everywhere[..., None], 0.0, jnp.broadcast_to(pushed, shut.shape))
    pushed = pushed + jax.lax.stop_gradient(_rounded_up(pushed, scaled.dtype) - pushed)
    if relation.key_block_ids is not None:  # the query itself may be outside
        shut = shut + jax.lax.stop_gradient(pushed)
    return pushed, shut


def _by_head(lam: float | Array) -> Float[Array, "..."]:
    """λ as a scalar, or for axes [example, position, head]."""
    lam = jnp.asarray(lam, jnp.float32)
    return lam if lam.ndim == 0 else lam[:, None, None] if lam.ndim == 1 else lam[:, None]


def _norms(of: Float[Array, "B L H K"]) -> Float[Array, "B L H"]:
    return jnp.linalg.norm(jax.lax.stop_gradient(of).astype(jnp.float32), axis=-1)


def _running_most(norms: Float[Array, "B L H"], codes: Codes, relation: Relation) -> Float[Array, "B L H"]:
    """The largest norm of the keys of A_t."""
    norms = jnp.where(codes.real[..., None], norms, 0.0)
    first = jnp.broadcast_to(codes.first[..., None], norms.shape)

    def later(one: tuple[Array, Array], two: tuple[Array, Array]) -> tuple[Array, Array]:
        same = one[0] == two[0]
        return two[0], jnp.where(same, jnp.maximum(one[1], two[1]), two[1])

    if relation.doc_ids is None:
        most = jax.lax.cummax(norms, axis=1)
    else:
        most = jax.lax.associative_scan(later, (first, norms), axis=1)[1]
    return jnp.take_along_axis(most, codes.last[..., None], axis=1)


def _rounded_up(value: Float[Array, "..."], dtype: Any) -> Float[Array, "..."]:
    """The least number of that type that is not below a positive float32."""
    if dtype == jnp.float32:
        return value
    near = value.astype(dtype)
    bits = jax.lax.bitcast_convert_type(near, jnp.uint16)
    above = jax.lax.bitcast_convert_type(bits + jnp.uint16(1), dtype)
    return jnp.where(near.astype(jnp.float32) < value, above, near).astype(jnp.float32)


@dataclass(frozen=True)
class _Columns:
    """Queries and keys with their further columns.

    Attributes:
      scaled: queries times scale / τ.
      k: keys.
      pushed: p.
      shut: what shuts a key out.
      codes: of positions.
    """

    scaled: Float[Array, "B L H K"]
    k: Float[Array, "B L H K"]
    pushed: Float[Array, "B L H"]
    shut: Float[Array, "B L H"]
    codes: Codes

    def queries(self, lowered: Float[Array, "B L H"] | None) -> Float[Array, "B L H W"]:
        """q′, whose logits are all so much lower."""
        codes, p = self.codes, self.pushed[..., None]
        # Few digits, so that the terms of a code cancel exactly.
        half = _rounded_up(self.shut / 2.0, jnp.bfloat16)[..., None]
        down = jnp.zeros_like(p) if lowered is None else -lowered.astype(jnp.float32)[..., None]
        away = -p * (1.0 - codes.own[:, :, None])
        parts = (away, down, half * codes.document[:, :, None], -half)
        return self.wide(jnp.concatenate([self.scaled, *(part.astype(self.k.dtype) for part in parts)], -1))

    def keys(self) -> Float[Array, "B L H W"]:
        """k′."""
        codes = self.codes
        one, bits = jnp.ones_like(codes.keys[..., :1]), codes.document.shape[-1]
        parts = jnp.concatenate([codes.keys, one, codes.document, bits * one], axis=-1)
        return self.wide(self._with(parts))

    def values(self) -> Float[Array, "B L H W"]:
        """What statistics are made of: the key, its block, and whether it is of every block."""
        codes = self.codes
        return self.wide(self._with(jnp.concatenate([codes.keys, codes.shown[..., None]], axis=-1)))

    def wide(self, of: Float[Array, "B L H *N"]) -> Float[Array, "B L H W"]:
        """Zeros up to the width."""
        codes = self.codes
        width = self.k.shape[-1] + codes.own.shape[-1] + codes.document.shape[-1] + 2
        width = -(-width // MULTIPLE) * MULTIPLE
        return jnp.pad(of, ((0, 0), (0, 0), (0, 0), (0, width - of.shape[-1])))

    def _with(self, parts: Float[Array, "B L M"]) -> Float[Array, "B L H N"]:
        """Keys, and columns that all heads share."""
        shape = (*self.k.shape[:3], parts.shape[-1])
        shared = jnp.broadcast_to(parts[:, :, None].astype(self.k.dtype), shape)
        return jnp.concatenate([self.k, shared], axis=-1)


def _stock(
    q: Float[Array, "B L H W"], k: Float[Array, "B L H W"], v: Float[Array, "B L H W"], causal: bool
) -> tuple[Float[Array, "B L H W"], Float[Array, "B L H"]]:
    """Stock attention, and its LSE in the keys' type, without a gradient."""
    on_gpu = jax.default_backend() == "gpu"
    return jax.nn.dot_product_attention(
        q,
        k,
        v,
        scale=1.0,
        is_causal=causal,
        implementation="cudnn" if on_gpu else "xla",
        return_residual=True,
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _log_sum(
    causal: bool, q: Float[Array, "B L H W"], k: Float[Array, "B L H W"], value: Float[Array, "B L H"]
) -> Float[Array, "B L H"]:
    """LSE, whose value is given: stock attention has it without its gradient."""
    return value


def _log_sum_forward(causal: bool, q: Array, k: Array, value: Array) -> tuple[Array, tuple[Array, Array]]:
    return value, (q, k)


def _log_sum_backward(
    causal: bool, kept: tuple[Array, Array], given: Float[Array, "B L H"]
) -> tuple[Array, Array, Array]:
    """∂LSE / ∂q = Σ α k, and to each key Σ_t α_tj q_t: what attention on the keys gives, and gives back."""
    q, k = kept
    mean, pull = jax.vjp(lambda values: _stock(q, k, values, causal)[0], k)
    (to_keys,) = pull((given[..., None] * q.astype(jnp.float32)).astype(q.dtype))
    to_queries = (given[..., None] * mean.astype(jnp.float32)).astype(q.dtype)
    return to_queries, to_keys, jnp.zeros_like(given)


_log_sum.defvjp(_log_sum_forward, _log_sum_backward)


def _stats(
    columns: _Columns,
    near: Float[Array, "B L H"],
    relation: Relation,
    hard: bool,
    request: StatsRequest,
) -> AttentionStats:
    """Of a second call, whose values are keys and blocks. `near` is LSE in the keys' type, which in 16 bits
    is off by up to half a nat at 100: the second call's logits are lower by it, and its own LSE is what is
    missing.
    """
    codes, head = columns.codes, columns.k.shape[-1]
    lowered = None if near.dtype == jnp.float32 else jax.lax.stop_gradient(near)
    queries, keys = columns.queries(lowered), columns.keys()
    found, rest = _stock(queries, keys, columns.values(), relation.causal)
    found = found.astype(jnp.float32)
    rest = jax.lax.stop_gradient(rest.astype(jnp.float32))
    log_sum = _log_sum(relation.causal, queries, keys, rest)
    if lowered is not None:
        log_sum = log_sum + lowered.astype(jnp.float32)
    blocks = codes.own.shape[-1]
    on_blocks, on_shown = found[..., head : head + blocks], found[..., head + blocks]
    own = codes.own[:, :, None]
    local, others = jnp.sum(on_blocks * own, axis=-1), jnp.sum(on_blocks * (1.0 - own), axis=-1)
    everywhere, real = codes.everywhere[..., None], codes.real[..., None]
    outside = jnp.where(everywhere, 0.0, others)
    inside = on_shown + jnp.where(everywhere, others, local)
    mean = jnp.sum(columns.scaled.astype(jnp.float32) * found[..., :head], axis=-1)
    mean = mean - columns.pushed * outside
    counts = _counts(relation, codes, hard)

    def by_head(value: Float[Array, "B L H"], padding: float) -> Float[Array, "B H L"]:
        return jnp.where(real, value, padding).transpose(0, 2, 1)

    return AttentionStats(
        entropy_bits=by_head(jnp.maximum(log_sum - mean, 0.0), 0.0) * BITS_PER_NAT,
        block_mass=by_head(inside, 1.0),
        local_mass=by_head(jnp.where(everywhere, 0.0, local), 1.0),
        n_keys=counts[0],
        n_in=counts[1],
        n_local=counts[2],
        outside_mass=by_head(outside, 0.0) if request.outside else None,
    )


def _counts(relation: Relation, codes: Codes, hard: bool) -> tuple[Int[Array, "B L"], ...]:
    """Keys of every query, those inside, and those of its own block, from running counts."""
    keys = jnp.asarray(relation.keys().blocks) != PADDING_ID
    parts = [codes.keys, codes.shown[..., None], keys[..., None]]
    each = jnp.concatenate([part.astype(jnp.int32) for part in parts], axis=-1)
    before = jnp.pad(jnp.cumsum(each, axis=1), ((0, 0), (1, 0), (0, 0)))

    def at(places: Int[Array, "B L"]) -> Int[Array, "B L N"]:
        return jnp.take_along_axis(before, places[..., None], axis=1)

    counts = at(codes.last + 1) - at(codes.first)
    n_local = jnp.sum(counts[..., :-2] * codes.own.astype(jnp.int32), axis=-1)
    n_keys, n_in = counts[..., -1], n_local + counts[..., -2]
    n_in = jnp.where(codes.everywhere, n_keys, n_in)
    n_local = jnp.where(codes.everywhere, 0, n_local)
    n_keys = n_in if hard else n_keys
    return tuple(jnp.where(codes.real, count, 1) for count in (n_keys, n_in, n_local))

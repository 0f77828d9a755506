"""Locality attention by chunks of queries and keys: memory linear in L, statistics in the same pass.

A tile is the scores of T queries over S keys. Forward, each chunk of queries runs over the chunks of keys
that hold some key of it, and keeps of every query its largest logit and sums; backward, tiles are made again
from the log-sum-exp. Which chunks hold some is known from what their ids span, so hard attention on windows
costs as many tiles as windows touch.

With z_tj the logits, α = exp(z − LSE): for what a query sums up of its keys with weights w,

    ∂ Σ_j α_j w_j / ∂ z_j = α_j (w_j − Σ_k α_k w_k),     ∂ H / ∂ z_j = −α_j (z_j − Σ_k α_k z_k)

Source: online softmax (Milakov & Gimelshein 2018), recomputation in the backward pass (Dao et al. 2022);
masses, entropy and the dial: ours.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero
from jaxtyping import Bool, Float, Int, Shaped

from aila_jax.inner import inner
from aila_jax.model.margin import SelfScaling
from aila_jax.model.push import Push, per_example
from aila_jax.model.stats import BITS_PER_NAT, AttentionStats, PointedStats, StatsRequest
from aila_jax.partition.pairs import Pairs
from aila_jax.partition.relations import Relation, Side, Tile
from aila_jax.types import GLOBAL_ID, PADDING_ID, Array

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What is known before anything runs.

    Attributes:
      queries: T, those of a chunk.
      keys: S, those of a chunk.
      heads: h, those of a tile; they divide H.
      request: which statistics are made beside the usual ones; None for no statistics.
      score_cap: c; 0 for none.
      gated: whether attention outside is also multiplied by the gate's factor.
      hard: whether only keys inside are attended to.
      falls_back: whether a query may have no key inside, and has its own position there.
      pointed: whether the statistics measure mass on keys that queries are pointed at.
      some_outside: whether tiles that are outside as a whole are told apart.
    """

    queries: int
    keys: int
    heads: int
    request: StatsRequest | None
    score_cap: float
    gated: bool
    hard: bool
    falls_back: bool
    pointed: bool
    some_outside: bool


@flax.struct.dataclass
class Rows:
    """What the dial does to each query, and how scores are scaled.

    Attributes:
      scale: of the scores.
      pushed: λ m_t, what is taken off scores outside.
      cooled: 1 / τ.
      gate: κ · ln(1 − λ), added to logits outside; 0 without a gate.
    """

    scale: Float[Array, "H"]
    pushed: Float[Array, "B H L"]
    cooled: Float[Array, "B"]
    gate: Float[Array, "B H"]


@flax.struct.dataclass
class Ids:
    """What is known of queries and keys, padded to whole chunks.

    Attributes:
      queries: of L′ queries.
      keys: of L″ keys.
      causal: as in `Relation`.
      horizon: as in `Relation`.
      some_inside: queries that have a key inside; None where all have one.
      pairs: whose attention is measured; None where that of the relation's pointers is, or none.
    """

    queries: Side
    keys: Side
    causal: bool = flax.struct.field(pytree_node=False)
    horizon: int | None = flax.struct.field(pytree_node=False)
    some_inside: Bool[Array, "B L"] | None = None
    pairs: Pairs | None = None


@flax.struct.dataclass
class Kinds:
    """The masks of a tile, axes [example, head, query, key].

    Attributes:
      attended: keys that the query attends to; None: all.
      inside: of these, those inside; None: none.
      gated: of these, those that the gate leaves alone; None: none.
      sums: by the name of the statistic's mass, keys that it sums; None: all, and what sums none is missing.
    """

    attended: Bool[Array, "B 1 T S"] | None
    inside: Bool[Array, "B 1 T S"] | None
    gated: Bool[Array, "B 1 T S"] | None
    sums: dict[str, Bool[Array, "B 1 T S"] | None]


def _outside(plan: Plan) -> Kinds:
    """Those of a tile that is attended to and outside as a whole, which needs no mask."""
    outside = plan.request is not None and plan.request.outside
    return Kinds(None, None, None, {"outside_mass": None} if outside else {})


def _kinds(plan: Plan, ids: Ids, query: Int[Array, ""], key: Int[Array, ""]) -> Kinds:
    """Those of the tile whose first query and key these are."""
    queries, keys = ids.queries.part(query, plan.queries), ids.keys.part(key, plan.keys)
    tile = Tile(queries, keys, ids.causal, ids.horizon)
    attended, inside = tile.attendable(), tile.inside()
    settled = inside
    if plan.falls_back:
        assert ids.some_inside is not None
        some = jax.lax.dynamic_slice_in_dim(ids.some_inside, query, plan.queries, axis=1)
        settled = (attended & inside) | (tile.itself() & ~some[:, None, :, None])
    if plan.hard:
        attended = attended & settled
    if plan.request is None:
        return Kinds(attended, inside & attended, settled & attended, {})
    sums = {"block_mass": inside, "local_mass": tile.own()}
    pointed, sunk = tile.pointed(), tile.sunk()
    if pointed is not None:
        sums["pointer_mass"] = pointed
    if sunk is not None:
        sums["sink_mass"] = sunk
    if plan.request.outside:
        sums["outside_mass"] = ~inside
    if plan.pointed:
        pairs = pointed
        if ids.pairs is not None:
            pairs = ids.pairs.tile((query, plan.queries), (key, plan.keys))[:, None]
        assert pairs is not None
        sums["mass"] = pairs & ~tile.itself()
        sums["mass_in"] = sums["mass"] & inside
    sums = {name: mask & attended for name, mask in sums.items()}
    return Kinds(attended, inside & attended, settled & attended, sums)


@flax.struct.dataclass
class Scored:
    """The scores of a tile.

    Attributes:
      raw: ⟨q, k⟩.
      slope: ∂s / ∂(raw · scale), where scores are capped.
      scores: s.
      dialled: s less what the dial takes off outside.
      logits: z; −∞ outside A_t.
    """

    raw: Float[Array, "B H T S"]
    slope: Float[Array, "B H T S"] | None
    scores: Float[Array, "B H T S"]
    dialled: Float[Array, "B H T S"]
    logits: Float[Array, "B H T S"]


def _scored(
    plan: Plan, q: Float[Array, "B H T K"], k: Float[Array, "B H S K"], rows: Rows, kinds: Kinds
) -> Scored:
    """Of a tile; `rows` are those of its queries."""
    raw = jnp.einsum("bhtk,bhsk->bhts", q, k, preferred_element_type=jnp.float32)
    scores, slope = raw * rows.scale[None, :, None, None], None
    if plan.score_cap:
        bent = jnp.tanh(scores / plan.score_cap)
        scores, slope = plan.score_cap * bent, 1.0 - bent * bent
    dialled, cooled = scores, rows.cooled[:, None, None, None]
    if not plan.hard:
        pushed = rows.pushed[..., None]
        dialled = scores - (pushed if kinds.inside is None else jnp.where(kinds.inside, 0.0, pushed))
    logits = dialled * cooled
    if plan.gated:
        closed = logits + rows.gate[..., None, None]
        logits = closed if kinds.gated is None else jnp.where(kinds.gated, logits, closed)
    if kinds.attended is not None:
        logits = jnp.where(kinds.attended, logits, -jnp.inf)
    return Scored(raw, slope, scores, dialled, logits)


@flax.struct.dataclass
class Online:
    """A softmax in the making: of exp(z − top) over the keys so far.

    Attributes:
      top: the largest logit.
      total: Σ exp(z − top).
      turned: Σ exp(z − top) · (z − top).
    """

    top: Float[Array, "B H T"]
    total: Float[Array, "B H T"]
    turned: Float[Array, "B H T"]

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> "Online":
        return cls(jnp.full(shape, -jnp.inf), jnp.zeros(shape), jnp.zeros(shape))

    def take(
        self,
        logits: Float[Array, "B H T S"],
        mask: Bool[Array, "B 1 T S"] | None = None,
        finite: bool = False,
    ) -> tuple["Online", Float[Array, "B H T S"], Float[Array, "B H T"]]:
        """With more keys; also exp(z − top) of these, and the factor that sums so far shrink by.

        `finite` says that all logits are.
        """
        if mask is not None:
            logits = jnp.where(mask, logits, -jnp.inf)
        top = jnp.maximum(self.top, jnp.max(logits, axis=-1))
        safe = jnp.where(top == -jnp.inf, 0.0, top)
        relative = logits - safe[..., None]
        weights = jnp.exp(relative)
        fell = jnp.where(self.top == -jnp.inf, 0.0, self.top - safe)
        shrink = jnp.where(self.top == -jnp.inf, 0.0, jnp.exp(fell))
        total = shrink * self.total + jnp.sum(weights, axis=-1)
        if not finite:
            relative = jnp.where(relative == -jnp.inf, 0.0, relative)
        turned = shrink * (self.turned + fell * self.total) + inner(weights, relative)
        return Online(top, total, turned), weights, shrink

    @property
    def log_sum(self) -> Float[Array, "B H T"]:
        """LSE; −∞ of no key."""
        return self.top + jnp.log(self.total)

    @property
    def mean(self) -> Float[Array, "B H T"]:
        """Σ α (z − top); 0 of no key."""
        return self.turned / jnp.where(self.total == 0.0, 1.0, self.total)

    @property
    def entropy(self) -> Float[Array, "B H T"]:
        """In nats; 0 of no key."""
        total = jnp.where(self.total == 0.0, 1.0, self.total)
        return jnp.maximum(jnp.log(total) - self.mean, 0.0)


@flax.struct.dataclass
class Sums:
    """What is kept of each query while keys go by.

    Attributes:
      softmax: over all keys.
      output: Σ exp(z − top) · v.
      masses: Σ exp(z − top) over the keys of each kind.
      counts: how many keys of each kind there are; `n_keys` of all.
      inside: the softmax over keys inside, where the request reads it.
      largest: with it, largest |s|, and the key that has it.
      lowest: least score inside, dialled, and its key.
      highest: largest score outside, dialled, and its key.
    """

    softmax: Online
    output: Float[Array, "B H T K"]
    masses: dict[str, Float[Array, "B H T"]]
    counts: dict[str, Int[Array, "B T"]]
    inside: Online | None
    largest: tuple[Float[Array, "B H T"], Int[Array, "B H T"]] | None
    lowest: tuple[Float[Array, "B H T"], Int[Array, "B H T"]] | None
    highest: tuple[Float[Array, "B H T"], Int[Array, "B H T"]] | None


def _empty(plan: Plan, names: tuple[str, ...], shape: tuple[int, ...], width: int) -> Sums:
    """Before any key; shape [B, H, T]."""
    request = plan.request
    inside = request is not None and (request.in_block or request.log_mass)
    place = jnp.zeros(shape, jnp.int32)

    def extreme(value: float, wanted: bool) -> Any:
        return (jnp.full(shape, value), place) if wanted else None

    delta = request is not None and request.delta
    counted = ("n_keys", *names) if request is not None else ()
    return Sums(
        Online.empty(shape),
        jnp.zeros((*shape, width)),
        {name: jnp.zeros(shape) for name in names},
        {name: jnp.zeros((shape[0], shape[2]), jnp.int32) for name in counted},
        Online.empty(shape) if inside else None,
        extreme(0.0, request is not None and request.largest),
        extreme(jnp.inf, delta),
        extreme(-jnp.inf, delta),
    )


def _further(
    held: tuple[Array, Array], values: Float[Array, "B H T S"], first: Int[Array, ""], least: bool
) -> tuple[Array, Array]:
    """The extreme and its key, with more keys, of which this is the first."""
    pick, reduce = (jnp.argmin, jnp.min) if least else (jnp.argmax, jnp.max)
    value, place = reduce(values, axis=-1), first + pick(values, axis=-1).astype(jnp.int32)
    better = value < held[0] if least else value > held[0]
    return jnp.where(better, value, held[0]), jnp.where(better, place, held[1])


def _among(
    mask: Bool[Array, "B 1 T S"] | None, values: Float[Array, "B H T #S"], other: float
) -> Float[Array, "B H T _"]:
    """The values where the mask is true, which it is everywhere where there is none."""
    return values if mask is None else jnp.where(mask, values, other)


def _all_finite(plan: Plan, kinds: Kinds) -> bool:
    """Whether no logit is −∞: every key is attended to, and no gate closes."""
    return kinds.attended is None and not plan.gated


def _left(kinds: Kinds) -> Bool[Array, "B 1 T S"] | None:
    """Keys outside that are attended to; None: all are."""
    if kinds.attended is None or kinds.inside is None:
        return None
    return kinds.attended & ~kinds.inside


def _take(
    plan: Plan,
    sums: Sums,
    scored: Scored,
    kinds: Kinds,
    v: Float[Array, "B H S K"],
    first: Int[Array, ""],
) -> Sums:
    """With the keys of one more tile, of which this is the first."""
    softmax, weights, shrink = sums.softmax.take(scored.logits, finite=_all_finite(plan, kinds))
    read = jnp.einsum("bhts,bhsk->bhtk", weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
    output = shrink[..., None] * sums.output + read
    request = plan.request
    if request is None:
        return replace(sums, softmax=softmax, output=output)
    kept = {"n_keys": kinds.attended, **kinds.sums}
    masses = {name: shrink * mass for name, mass in sums.masses.items()}
    counts = dict(sums.counts)
    for name, mask in kept.items():
        if name in masses:
            masses[name] += jnp.sum(weights, axis=-1, where=mask)
        more = weights.shape[-1] if mask is None else jnp.sum(mask, axis=-1, dtype=jnp.int32)[:, 0]
        counts[name] = counts[name] + more
    inside, largest, lowest, highest = sums.inside, sums.largest, sums.lowest, sums.highest
    if inside is not None and kinds.inside is not None:
        inside, _, _ = inside.take(scored.logits, kinds.inside)
    if largest is not None:
        largest = _further(largest, _among(kinds.attended, jnp.abs(scored.scores), 0.0), first, False)
    if lowest is not None and highest is not None:
        if kinds.inside is not None:
            lowest = _further(lowest, jnp.where(kinds.inside, scored.dialled, jnp.inf), first, True)
        highest = _further(highest, _among(_left(kinds), scored.dialled, -jnp.inf), first, False)
    return Sums(softmax, output, masses, counts, inside, largest, lowest, highest)


@flax.struct.dataclass
class Order:
    """Which chunks of keys each chunk of queries runs over. They come as the keys do: sums in another order
    have other last bits, and at λ = 0 none of them may depend on the blocks.

    Attributes:
      chunks: those that hold a key, first.
      first: place in `chunks` where their longest run begins that is outside as a whole.
      last: the place behind it.
      count: how many hold a key.
    """

    chunks: Int[Array, "I J"]
    first: Int[Array, "I"]
    last: Int[Array, "I"]
    count: Int[Array, "I"]


def _order(plan: Plan, ids: Ids) -> Order:
    """From what the ids of each chunk span; a chunk is skipped only where it can hold no key."""
    queries, keys = _spans(ids.queries, plan.queries, False), _spans(ids.keys, plan.keys, True)

    def meet(low: Array, high: Array, others_low: Array, others_high: Array) -> Array:
        return (low[:, :, None] <= others_high[:, None, :]) & (others_low[:, None, :] <= high[:, :, None])

    needed = queries.real[:, :, None] & keys.real[:, None, :]
    outside = queries.whole[:, :, None] & keys.whole[:, None, :]
    before = keys.last[:, None, :] < queries.first[:, :, None]
    if ids.causal:
        needed &= keys.first[:, None, :] <= queries.last[:, :, None]
        outside &= before
    else:
        outside &= before | (queries.last[:, :, None] < keys.first[:, None, :])
    if queries.documents is not None and keys.documents is not None:
        needed &= meet(*queries.documents, *keys.documents)
        (low, high), (others_low, others_high) = queries.documents, keys.documents
        outside &= ((low == high)[:, :, None] & (others_low == others_high)[:, None, :]) & (
            low[:, :, None] == others_low[:, None, :]
        )
    inside = (
        meet(*queries.blocks, *keys.blocks) | queries.everywhere[:, :, None] | keys.everywhere[:, None, :]
    )
    if keys.pointed is not None and queries.orders is not None and keys.orders is not None:
        near = queries.orders[1][:, :, None] > keys.orders[0][:, None, :]
        if ids.horizon is not None:
            near &= queries.orders[0][:, :, None] - keys.orders[1][:, None, :] <= ids.horizon
        inside |= keys.pointed[:, None, :] & near
    if plan.hard:
        needed &= inside
    # A position always finds itself: padding, and where nothing else is left.
    itself = (keys.first[:, None, :] <= queries.last[:, :, None]) & (
        queries.first[:, :, None] <= keys.last[:, None, :]
    )
    wanted = jnp.any(needed | itself, axis=0)
    # In every example: one loop serves them all.
    apart = jnp.all(outside & ~inside, axis=0) & wanted if plan.some_outside else jnp.zeros_like(wanted)
    chunks = jnp.argsort(~wanted, axis=1, stable=True).astype(jnp.int32)
    place = jnp.broadcast_to(jnp.arange(chunks.shape[1], dtype=jnp.int32), chunks.shape)
    other = jnp.where(jnp.take_along_axis(apart, chunks, axis=1), chunks.shape[1], place)
    run = jax.lax.cummin(other, axis=1, reverse=True) - place  # so many from here on are outside as a whole
    first = jnp.argmax(run, axis=1).astype(jnp.int32)
    return Order(chunks, first, first + jnp.max(run, axis=1), jnp.sum(wanted, axis=1, dtype=jnp.int32))


@flax.struct.dataclass
class Spans:
    """What the N / size chunks of a side span: the least and the largest of each.

    Attributes:
      first: index of the first.
      last: index of the last.
      real: whether there is one that is no padding.
      whole: whether none is padding.
      blocks: their blocks, but for padding and tokens of every block.
      everywhere: whether one may be inside for blocks beyond those.
      documents: their documents.
      pointed: whether there is a pointer; None where there are none.
      orders: running numbers of their blocks.
    """

    first: Int[Array, "#B I"]
    last: Int[Array, "#B I"]
    real: Bool[Array, "B I"]
    whole: Bool[Array, "B I"]
    blocks: tuple[Int[Array, "B I"], Int[Array, "B I"]]
    everywhere: Bool[Array, "B I"]
    documents: tuple[Int[Array, "B I"], Int[Array, "B I"]] | None
    pointed: Bool[Array, "B I"] | None
    orders: tuple[Int[Array, "B I"], Int[Array, "B I"]] | None


def _spans(side: Side, size: int, keys: bool) -> Spans:
    def chunked(of: Array) -> Array:
        return of.reshape(of.shape[0], -1, size)

    def ends(of: Array | None) -> tuple[Array, Array] | None:
        return None if of is None else (chunked(of).min(axis=2), chunked(of).max(axis=2))

    blocks, index = chunked(side.blocks), chunked(side.index)
    plain = (blocks != PADDING_ID) & (blocks != GLOBAL_ID)
    far = np.iinfo(np.int32).max
    everywhere = blocks == GLOBAL_ID
    if keys and side.sinks is not None:  # the query of a sink has itself alone
        everywhere = everywhere | chunked(side.sinks)
    return Spans(
        index.min(axis=2),
        index.max(axis=2),
        (blocks != PADDING_ID).any(axis=2),
        (blocks != PADDING_ID).all(axis=2),
        (jnp.where(plain, blocks, far).min(axis=2), jnp.where(plain, blocks, -far).max(axis=2)),
        everywhere.any(axis=2),
        ends(side.documents),
        None if side.pointers is None else chunked(side.pointers).any(axis=2),
        ends(side.order),
    )


@flax.struct.dataclass
class Found:
    """What is known of each query in the end.

    Attributes:
      output: Σ α v.
      log_sum: LSE.
      mean: Σ α z.
      entropy: in nats.
      masses: Σ α over the keys of each kind.
      inside_log_sum: LSE over keys inside.
      inside_mean: Σ α z over keys inside, these made to sum to 1.
      inside_entropy: in nats, likewise.
      largest: largest |s|.
      lowest: least score inside.
      highest: largest score outside.
      counts: keys of each kind.
      places: of the last three, the keys that have them.
    """

    output: Float[Array, "B H L K"]
    log_sum: Float[Array, "B H L"]
    mean: Float[Array, "B H L"]
    entropy: Float[Array, "B H L"]
    masses: dict[str, Float[Array, "B H L"]]
    inside_log_sum: Float[Array, "B H L"] | None
    inside_mean: Float[Array, "B H L"] | None
    inside_entropy: Float[Array, "B H L"] | None
    largest: Float[Array, "B H L"] | None
    lowest: Float[Array, "B H L"] | None
    highest: Float[Array, "B H L"] | None
    counts: dict[str, Int[Array, "B L"]]
    places: dict[str, Int[Array, "B H L"]]


def _finished(sums: Sums) -> Found:
    softmax, inside = sums.softmax, sums.inside
    share = 1.0 / softmax.total
    extremes = {"largest": sums.largest, "lowest": sums.lowest, "highest": sums.highest}
    some = {name: held for name, held in extremes.items() if held is not None}
    return Found(
        sums.output * share[..., None],
        softmax.log_sum,
        softmax.top + softmax.mean,
        softmax.entropy,
        {name: mass * share for name, mass in sums.masses.items()},
        None if inside is None else inside.log_sum,
        None if inside is None else jnp.where(inside.total > 0.0, inside.top + inside.mean, 0.0),
        None if inside is None else inside.entropy,
        some["largest"][0] if "largest" in some else None,
        some["lowest"][0] if "lowest" in some else None,
        some["highest"][0] if "highest" in some else None,
        sums.counts,
        {name: held[1] for name, held in some.items()},
    )


@dataclass(frozen=True)
class Place:
    """Some heads, and a chunk of queries, that tiles are made for.

    Attributes:
      plan: how many of each.
      head: the first of them.
      chunk: the number of the chunk.
    """

    plan: Plan
    head: Int[Array, ""]
    chunk: Int[Array, ""]

    @classmethod
    def of(cls, plan: Plan, number: Int[Array, ""], chunks: int) -> "Place":
        """That of a number, where chunks of the same heads follow each other."""
        return cls(plan, number // chunks * plan.heads, number % chunks)

    @property
    def query(self) -> Int[Array, ""]:
        """The first of the queries."""
        return self.chunk * self.plan.queries

    def queries(self, of: Shaped[Array, "B H L *K"]) -> Shaped[Array, "B h T *K"]:
        """The part of these queries and heads."""
        return _block(of, self.head, self.plan.heads, self.query, self.plan.queries)

    def keys(self, of: Shaped[Array, "B H L K"], key: Int[Array, ""]) -> Shaped[Array, "B h S K"]:
        """The part of a chunk of keys, of which this is the first, and of these heads."""
        return _block(of, self.head, self.plan.heads, key, self.plan.keys)

    def rows(self, rows: Rows) -> Rows:
        """Those of these queries and heads."""
        scale = jax.lax.dynamic_slice_in_dim(rows.scale, self.head, self.plan.heads)
        gate = jax.lax.dynamic_slice_in_dim(rows.gate, self.head, self.plan.heads, axis=1)
        return Rows(scale, self.queries(rows.pushed), rows.cooled, gate)


def _block(
    of: Shaped[Array, "B H L *K"], head: Int[Array, ""], heads: int, start: Int[Array, ""], size: int
) -> Shaped[Array, "B h T *K"]:
    return jax.lax.dynamic_slice_in_dim(
        jax.lax.dynamic_slice_in_dim(of, head, heads, axis=1), start, size, axis=2
    )


def _places(plan: Plan, q: Float[Array, "B H L K"]) -> tuple[Int[Array, "N"], int]:
    """The numbers of all places, and how many chunks of queries there are."""
    chunks = q.shape[2] // plan.queries
    return jnp.arange(q.shape[1] // plan.heads * chunks), chunks


def _joined(parts: Any, chunks: int) -> Any:
    """Of every array of places, [N, B, T] or [N, B, h, T, …], that of all queries, [B, L] or [B, H, L, …].

    What has no axis of heads is the same for all.
    """

    def join(of: Array) -> Array:
        by_head = of.reshape(-1, chunks, *of.shape[1:])  # [H / h, I, B, …]
        if of.ndim == 3:
            return jnp.moveaxis(by_head[0], 0, 1).reshape(of.shape[1], -1)
        moved = jnp.moveaxis(by_head, (0, 1), (1, 3))  # [B, H / h, h, I, T, …]
        return moved.reshape(of.shape[1], -1, chunks * of.shape[3], *of.shape[4:])

    return jax.tree.map(join, parts)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attention(
    plan: Plan,
    q: Float[Array, "B H L K"],
    k: Float[Array, "B H M K"],
    v: Float[Array, "B H M K"],
    rows: Rows,
    ids: Ids,
    order: Order,
) -> Found:
    """Of L queries and M keys, whole numbers of chunks."""
    shape = (q.shape[0], plan.heads, plan.queries)
    names = tuple(_names(plan, ids))
    numbers, chunks = _places(plan, q)

    def of_place(number: Int[Array, ""]) -> Found:
        place = Place.of(plan, number, chunks)
        q_chunk, own = place.queries(q), place.rows(rows)

        def take(outside: bool, tile: Int[Array, ""], sums: Sums) -> Sums:
            key = order.chunks[place.chunk, tile] * plan.keys
            kinds = _outside(plan) if outside else _kinds(plan, ids, place.query, key)
            scored = _scored(plan, q_chunk, place.keys(k, key), own, kinds)
            return _take(plan, sums, scored, kinds, place.keys(v, key), key)

        return _finished(_over_tiles(plan, order, place.chunk, take, _empty(plan, names, shape, v.shape[-1])))

    return _joined(jax.lax.map(of_place, numbers), chunks)


def _over_tiles(
    plan: Plan, order: Order, chunk: Int[Array, ""], take: Callable[[bool, Array, T], T], start: T
) -> T:
    """What `take` makes of the tiles of a chunk of queries, one after another; it is told of a run of them
    that they are outside as a whole.
    """
    begin, count = 0, order.count[chunk]
    if plan.some_outside:
        begin, first = order.last[chunk], order.first[chunk]
        start = jax.lax.fori_loop(0, first, partial(take, False), start)
        start = jax.lax.fori_loop(first, begin, partial(take, True), start)
    return jax.lax.fori_loop(begin, count, partial(take, False), start)


def _names(plan: Plan, ids: Ids) -> list[str]:
    """The masses that are summed."""
    if plan.request is None:
        return []
    names = ["block_mass", "local_mass"]
    names += ["pointer_mass"] * (ids.keys.pointers is not None)
    names += ["sink_mass"] * (ids.queries.sinks is not None)
    names += ["outside_mass"] * plan.request.outside
    return names + ["mass", "mass_in"] * plan.pointed


@flax.struct.dataclass
class Wanted:
    """Which of a tile's further gradients somebody asks for: each is a pass over the tile."""

    scale: bool = flax.struct.field(pytree_node=False)
    pushed: bool = flax.struct.field(pytree_node=False)
    cooled: bool = flax.struct.field(pytree_node=False)
    gate: bool = flax.struct.field(pytree_node=False)


Residuals = tuple[Array, Array, Array, Rows, Ids, Order, Found, Wanted]


def _attention_forward(plan: Plan, *given: Any) -> tuple[Found, Residuals]:
    """`given` are the arguments, each array with whether it is differentiated by."""
    rows = given[3]
    wanted = Wanted(rows.scale.perturbed, rows.pushed.perturbed, rows.cooled.perturbed, rows.gate.perturbed)
    arrays = jax.tree.map(lambda of: of.value, given, is_leaf=lambda of: isinstance(of, CustomVJPPrimal))
    found = _attention(plan, *arrays)
    return found, (*arrays, found, wanted)


@flax.struct.dataclass
class Gathered:
    """Σ_t w_tj r_t of every key j, gathered over tiles.

    Where a tile is wider than a head, sums have their width first: XLA's product for a CPU takes up to four
    times as long the other way round.

    Attributes:
      sums: [B, H, L, K], or [B, H, K, L].
      width_first: the second.
    """

    sums: Float[Array, "B H _ _"]
    width_first: bool = flax.struct.field(pytree_node=False)

    @classmethod
    def nothing(cls, of: Float[Array, "B H L K"], keys: int) -> "Gathered":
        """Zeros for `of`, in tiles of so many keys."""
        first = keys > of.shape[-1]
        return cls(jnp.zeros((of.swapaxes(2, 3) if first else of).shape, jnp.float32), first)

    def add(
        self, w: Float[Array, "B h T S"], r: Float[Array, "B h T K"], head: Array, start: Array
    ) -> "Gathered":
        """With a tile, whose first head and key these are."""
        if self.width_first:
            more = jnp.einsum("bhtk,bhts->bhks", r, w, preferred_element_type=jnp.float32)
            place = (0, head, 0, start)
        else:
            more = jnp.einsum("bhts,bhtk->bhsk", w, r, preferred_element_type=jnp.float32)
            place = (0, head, start, 0)
        old = jax.lax.dynamic_slice(self.sums, place, more.shape)
        return replace(self, sums=jax.lax.dynamic_update_slice(self.sums, old + more, place))

    def like(self, of: Float[Array, "B H L K"]) -> Float[Array, "B H L K"]:
        """The sums in the form and type of what they belong to."""
        return (self.sums.swapaxes(2, 3) if self.width_first else self.sums).astype(of.dtype)


@flax.struct.dataclass
class Pulled:
    """Gradients that gather over chunks of queries."""

    k: Gathered
    v: Gathered
    scale: Float[Array, "H"]
    cooled: Float[Array, "B"]
    gate: Float[Array, "B H"]


def _differentiated(plan: Plan, given: Found) -> tuple[Plan, Found]:
    """Gradients as arrays; and, where none comes by statistics, a plan without them."""
    given = replace(given, counts={}, places={})
    if all(isinstance(of, SymbolicZero) for of in jax.tree.leaves(replace(given, output=None, log_sum=None))):
        plan, given = replace(plan, request=None), replace(given, masses={})
    return plan, jax.tree.map(
        lambda of: jnp.zeros(of.shape, of.dtype) if isinstance(of, SymbolicZero) else of, given
    )


def _attention_backward(plan: Plan, residuals: Residuals, given: Found) -> tuple[Any, ...]:
    q, k, v, rows, ids, order, found, wanted = residuals
    plan, given = _differentiated(plan, given)
    # What every key of a query has in common: Σ_k α_k w_k.
    shared = inner(given.output, found.output)
    for name, of in given.masses.items():
        shared = shared + of * found.masses[name]
    entropy = given.entropy * (found.entropy > 0.0)
    given = replace(given, entropy=entropy)
    by_row = (given, replace(found, counts={}), shared)

    numbers, chunks = _places(plan, q)

    def of_place(pulled: Pulled, number: Int[Array, ""]) -> tuple[Pulled, tuple[Array, Array]]:
        place = Place.of(plan, number, chunks)
        q_chunk, own = place.queries(q), place.rows(rows)
        part = _Backward(plan, *jax.tree.map(place.queries, by_row))

        def take(
            outside: bool, tile: Int[Array, ""], held: tuple[Pulled, Array, Array]
        ) -> tuple[Pulled, Array, Array]:
            pulled, dq, dpushed = held
            key = order.chunks[place.chunk, tile] * plan.keys
            kinds = _outside(plan) if outside else _kinds(plan, ids, place.query, key)
            k_chunk, v_chunk = place.keys(k, key), place.keys(v, key)
            scored = _scored(plan, q_chunk, k_chunk, own, kinds)
            weights, dlogits = part.logits(scored, kinds, v_chunk)
            ddialled = part.dialled(dlogits, own, key)
            draw = ddialled + part.scores(scored, key)
            if scored.slope is not None:
                draw = draw * scored.slope
            dscaled = (draw * own.scale[None, :, None, None]).astype(q.dtype)
            dq = dq + jnp.einsum("bhts,bhsk->bhtk", dscaled, k_chunk, preferred_element_type=jnp.float32)
            dout = part.given.output.astype(v.dtype)
            if wanted.pushed and not plan.hard:
                dpushed = dpushed - jnp.sum(ddialled, axis=-1, where=_left(kinds))
            scale, cooled, gate = pulled.scale, pulled.cooled, pulled.gate
            if wanted.scale:
                scale = _added(scale, jnp.sum(draw * scored.raw, axis=(0, 2, 3)), place.head)
            if wanted.cooled:
                there = _among(kinds.attended, scored.dialled, 0.0)
                cooled = cooled + jnp.sum(dlogits * there, axis=(1, 2, 3))
            if wanted.gate and plan.gated:
                closed = None
                if kinds.attended is not None and kinds.gated is not None:
                    closed = kinds.attended & ~kinds.gated
                gate = _added(gate, jnp.sum(dlogits, axis=(2, 3), where=closed), place.head)
            pulled = Pulled(
                pulled.k.add(dscaled, q_chunk, place.head, key),
                pulled.v.add(weights.astype(v.dtype), dout, place.head, key),
                scale,
                cooled,
                gate,
            )
            return pulled, dq, dpushed

        start = (pulled, jnp.zeros(q_chunk.shape, jnp.float32), jnp.zeros(q_chunk.shape[:3], jnp.float32))
        pulled, dq, dpushed = _over_tiles(plan, order, place.chunk, take, start)
        return pulled, (dq, dpushed)

    none = Pulled(
        Gathered.nothing(k, plan.keys),
        Gathered.nothing(v, plan.keys),
        *map(jnp.zeros_like, (rows.scale, rows.cooled, rows.gate)),
    )
    pulled, (dq, dpushed) = jax.lax.scan(of_place, none, numbers)
    of_rows = Rows(pulled.scale, _joined(dpushed, chunks), pulled.cooled, pulled.gate)
    dq = _joined(dq, chunks).astype(q.dtype)
    return dq, pulled.k.like(k), pulled.v.like(v), of_rows, None, None


def _added(
    to: Float[Array, "*B H"], more: Float[Array, "*B h"], head: Int[Array, ""]
) -> Float[Array, "*B H"]:
    """With more for some heads, from `head` on."""
    old = jax.lax.dynamic_slice_in_dim(to, head, more.shape[-1], axis=-1)
    return jax.lax.dynamic_update_slice_in_dim(to, old + more, head, axis=-1)


@dataclass(frozen=True)
class _Backward:
    """The gradients of a tile's logits and scores, for a chunk of queries.

    Attributes:
      plan: as it was.
      given: gradients of what was found.
      found: what was found.
      shared: Σ_k α_k w_k of each query.
    """

    plan: Plan
    given: Found
    found: Found
    shared: Float[Array, "B H T"]

    def logits(
        self, scored: Scored, kinds: Kinds, v: Float[Array, "B H S K"]
    ) -> tuple[Float[Array, "B H T S"], Float[Array, "B H T S"]]:
        """α of the tile, and ∂/∂z."""
        given, found = self.given, self.found
        weights = jnp.exp(scored.logits - found.log_sum[..., None])
        wanted = jnp.einsum(
            "bhtk,bhsk->bhts", given.output.astype(v.dtype), v, preferred_element_type=jnp.float32
        )
        wanted = wanted + (given.log_sum - self.shared)[..., None]
        if self.plan.request is None:
            return weights, weights * wanted
        for name, mask in kinds.sums.items():
            wanted = wanted + _among(mask, given.masses[name][..., None], 0.0)
        finite = scored.logits
        if not _all_finite(self.plan, kinds):
            finite = jnp.where(finite == -jnp.inf, 0.0, finite)
        wanted = wanted - given.entropy[..., None] * (finite - found.mean[..., None])
        pulled = weights * wanted
        if found.inside_log_sum is not None and kinds.inside is not None:
            assert given.inside_log_sum is not None and given.inside_entropy is not None
            assert found.inside_mean is not None and found.inside_entropy is not None
            some = jnp.where(found.inside_log_sum == -jnp.inf, 0.0, found.inside_log_sum)
            within = jnp.where(kinds.inside, jnp.exp(scored.logits - some[..., None]), 0.0)
            turned = given.inside_entropy * (found.inside_entropy > 0.0)
            off = turned[..., None] * (finite - found.inside_mean[..., None])
            pulled = pulled + within * (given.inside_log_sum[..., None] - off)
        return weights, pulled

    def dialled(
        self, dlogits: Float[Array, "B H T S"], rows: Rows, first: Int[Array, ""]
    ) -> Float[Array, "B H T S"]:
        """∂ / ∂ (s less what the dial takes off)."""
        pulled = dlogits * rows.cooled[:, None, None, None]
        for name in ("lowest", "highest"):
            pulled = pulled + self._at(name, dlogits.shape[-1], first)
        return pulled

    def scores(self, scored: Scored, first: Int[Array, ""]) -> Float[Array, "B H T S"] | float:
        """What of ∂ / ∂ s passes by the logits."""
        return self._at("largest", scored.scores.shape[-1], first) * jnp.sign(scored.scores)

    def _at(self, name: str, size: int, first: Int[Array, ""]) -> Float[Array, "B H T S"] | float:
        """The gradient of an extreme, at the key that has it."""
        if name not in self.found.places:
            return 0.0
        there = self.found.places[name][..., None] == (first + jnp.arange(size))[None, None, None]
        return jnp.where(there, getattr(self.given, name)[..., None], 0.0)


_attention.defvjp(_attention_forward, _attention_backward, symbolic_zeros=True)
_compiled = jax.jit(
    _attention, static_argnums=0
)  # outside of a caller's jit one compilation serves all calls


Qkv = tuple[Float[Array, "B L H K"], Float[Array, "B L H K"], Float[Array, "B L H K"]]


def chunked_attention(
    qkv: Qkv,
    relation: Relation,
    push: Push,
    *,
    hard: bool,
    request: StatsRequest | None,
    pointers: Pairs | None = None,
    sizes: tuple[int, int] = (256, 256),
    heads: int | None = None,
) -> tuple[Float[Array, "B L H K"], AttentionStats | None]:
    """What `locality_attention` returns, without weights; its arguments are checked there.

    Args:
      qkv: queries, keys and values.
      relation: of all positions.
      push: what the dial does to scores.
      hard: only keys inside are attended to.
      request: which statistics to return; None for none.
      pointers: pairs whose attention the statistics measure.
      sizes: of a tile, queries and keys.
      heads: of a tile, a divisor of their number; None: all.
    """
    q_BxLxHxK, k_BxLxHxK, v_BxLxHxK = qkv
    length, (n_queries, n_keys) = q_BxLxHxK.shape[1], (min(size, q_BxLxHxK.shape[1]) for size in sizes)
    more = -length % n_queries
    more_keys = more + -(length + more) % n_keys  # so that padding has its own position among keys, too

    def laid(of: Array, behind: int) -> Array:
        """[B, L, H, K] as [B, H, L + behind, K]."""
        return jnp.pad(of, ((0, 0), (0, behind), (0, 0), (0, 0))).transpose(0, 2, 1, 3)

    q, k, v = laid(q_BxLxHxK, more), laid(k_BxLxHxK, more_keys), laid(v_BxLxHxK, more_keys)
    shape = q.shape[:3]
    pointed = request is not None and (pointers is not None or relation.pointers is not None)
    falls_back = relation.key_block_ids is not None
    # A single tile has positions that are inside; and pairs may be anywhere.
    some_outside = not hard and length > n_queries and not (pointed and pointers is not None)
    plan = Plan(
        n_queries,
        n_keys,
        heads or q.shape[1],
        request,
        push.score_cap,
        bool(push.gate),
        hard,
        falls_back,
        pointed,
        some_outside,
    )
    pairs = None
    if pointed and pointers is not None:
        pairs = pointers.padded(max(more, more_keys))
    ids = Ids(
        relation.queries().padded(more),
        relation.keys().padded(more_keys),
        relation.causal,
        relation.horizon,
        None,
        pairs,
    )
    if falls_back:
        ids = replace(ids, some_inside=_some_inside(plan, ids))
    order = _order(plan, ids)
    lam = per_example(push.lam)
    margin = push.margin
    if isinstance(margin, SelfScaling):
        range_BxHxL = _ranges(plan, margin.exact, q, k, push.scale_H, ids, order)
        margin = margin.nats(lam, jax.lax.stop_gradient(range_BxHxL)[..., None])
    margin = jnp.asarray(margin, jnp.float32)
    pushed = jnp.broadcast_to(lam * margin, (*shape, 1))[..., 0]
    gate = push.gate * jnp.log1p(-lam) if push.gate else jnp.zeros(())
    cooled = 1.0 / jnp.asarray(push.tau, jnp.float32)
    rows = Rows(
        push.scale_H,
        pushed,
        jnp.broadcast_to(cooled, shape[:1]),
        jnp.broadcast_to(gate, (*shape[:2], 1, 1))[..., 0, 0],
    )
    found = jax.tree.map(
        lambda of: of if of.ndim == 2 else of[:, :, :length], _compiled(plan, q, k, v, rows, ids, order)
    )
    out = found.output.transpose(0, 2, 1, 3).astype(v_BxLxHxK.dtype)
    return out, None if request is None else _stats(found, request, length)


def _some_inside(plan: Plan, ids: Ids) -> Bool[Array, "B L"]:
    """Whether a query has a key inside."""

    def of_chunk(chunk: Int[Array, ""]) -> Bool[Array, "B T"]:
        queries = ids.queries.part(chunk * plan.queries, plan.queries)

        def take(number: Int[Array, ""], some: Bool[Array, "B T"]) -> Bool[Array, "B T"]:
            keys = ids.keys.part(number * plan.keys, plan.keys)
            tile = Tile(queries, keys, ids.causal, ids.horizon)
            return some | jnp.any(tile.attendable() & tile.inside(), axis=-1)[:, 0]

        none = jnp.zeros((queries.blocks.shape), bool)
        return jax.lax.fori_loop(0, ids.keys.blocks.shape[1] // plan.keys, take, none)

    count = ids.queries.blocks.shape[1] // plan.queries
    return jnp.moveaxis(jax.lax.map(of_chunk, jnp.arange(count)), 0, 1).reshape(ids.queries.blocks.shape)


@partial(jax.jit, static_argnums=(0, 1))
def _ranges(
    plan: Plan,
    exact: bool,
    q: Float[Array, "B H L K"],
    k: Float[Array, "B H M K"],
    scale_H: Float[Array, "H"],
    ids: Ids,
    order: Order,
) -> Float[Array, "B H L"]:
    """r_t: the range of a query's scores over A_t, or its bound from norms."""
    scores_alone = replace(plan, heads=q.shape[1], request=None, gated=False)
    numbers, chunks = _places(scores_alone, q)
    rows = Rows(scale_H, jnp.zeros(q.shape[:3]), jnp.ones(q.shape[0]), jnp.zeros(q.shape[:2]))
    k_norm = jnp.linalg.norm(k.astype(jnp.float32), axis=-1)

    def of_place(number: Int[Array, ""]) -> tuple[Array, Array]:
        place = Place.of(scores_alone, number, chunks)
        q_chunk, own = place.queries(q), place.rows(rows)

        def take(tile: Int[Array, ""], held: tuple[Array, Array]) -> tuple[Array, Array]:
            key = order.chunks[place.chunk, tile] * plan.keys
            kinds = _kinds(scores_alone, ids, place.query, key)
            if exact:
                scores = _scored(scores_alone, q_chunk, place.keys(k, key), own, kinds).scores
            else:
                norms = jax.lax.dynamic_slice_in_dim(k_norm, key, plan.keys, axis=2)
                scores = jnp.broadcast_to(norms[:, :, None], (*q.shape[:2], plan.queries, plan.keys))
            low, high = held
            return (
                jnp.minimum(low, jnp.min(scores, axis=-1, where=kinds.attended, initial=jnp.inf)),
                jnp.maximum(high, jnp.max(scores, axis=-1, where=kinds.attended, initial=-jnp.inf)),
            )

        shape = q_chunk.shape[:3]
        start = (jnp.full(shape, jnp.inf), jnp.full(shape, -jnp.inf))
        return jax.lax.fori_loop(0, order.count[place.chunk], take, start)

    low, high = _joined(jax.lax.map(of_place, numbers), chunks)
    if exact:
        return high - low
    q_norm = jnp.linalg.norm(q.astype(jnp.float32), axis=-1)
    return SelfScaling.range_of_norms(scale_H, q_norm, jnp.maximum(high, 0.0))


def _stats(found: Found, request: StatsRequest, length: int) -> AttentionStats:
    """As `attention_stats` makes them."""
    counts = {name: of[:, :length] for name, of in found.counts.items()}
    n_in = counts["block_mass"]
    some = (n_in > 0)[:, None]
    delta = log_mass = in_block = None
    if request.delta:
        assert found.lowest is not None and found.highest is not None
        both = some & (n_in < counts["n_keys"])[:, None]
        delta = jnp.where(both, jnp.where(both, found.lowest, 0.0) - jnp.where(both, found.highest, 0.0), 0.0)
    if request.log_mass:
        assert found.inside_log_sum is not None
        log_mass = jnp.where(some, jnp.where(some, found.inside_log_sum, 0.0) - found.log_sum, 0.0)
    if request.in_block:
        assert found.inside_entropy is not None
        in_block = found.inside_entropy * BITS_PER_NAT
    pointed = None
    if "mass" in counts:
        mass, mass_in = found.masses["mass"], found.masses["mass_in"]
        pointed = PointedStats(mass, mass_in, counts["mass"], counts["mass_in"])
    return AttentionStats(
        entropy_bits=found.entropy * BITS_PER_NAT,
        block_mass=found.masses["block_mass"],
        local_mass=found.masses["local_mass"],
        n_keys=counts["n_keys"],
        n_in=n_in,
        n_local=counts["local_mass"],
        pointer_mass=found.masses.get("pointer_mass"),
        n_pointers=counts.get("pointer_mass"),
        sink_mass=found.masses.get("sink_mass"),
        n_sinks=counts.get("sink_mass"),
        delta=delta,
        in_block_entropy_bits=in_block,
        log_block_mass=log_mass,
        pointed=pointed,
        largest_score=found.largest,
        outside_mass=found.masses.get("outside_mass"),
    )

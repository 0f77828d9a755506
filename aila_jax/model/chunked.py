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

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from aila_jax.model.margin import SelfScaling
from aila_jax.model.push import Push, per_example
from aila_jax.model.stats import BITS_PER_NAT, AttentionStats, PointedStats, StatsRequest
from aila_jax.partition.relations import Relation, Side, Tile
from aila_jax.types import GLOBAL_ID, PADDING_ID, Array


@dataclass(frozen=True)
class Plan:
    """What is known before anything runs.

    Attributes:
      queries: T, those of a chunk.
      keys: S, those of a chunk.
      request: which statistics are made beside the usual ones; None for no statistics.
      score_cap: c; 0 for none.
      gated: whether attention outside is also multiplied by the gate's factor.
      hard: whether only keys inside are attended to.
      falls_back: whether a query may have no key inside, and has its own position there.
      pointed: whether the statistics measure mass on keys that queries are pointed at.
    """

    queries: int
    keys: int
    request: StatsRequest | None
    score_cap: float
    gated: bool
    hard: bool
    falls_back: bool
    pointed: bool


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
      pairs: [query, key] pairs whose attention is measured; None where the relation's pointers are, or none.
    """

    queries: Side
    keys: Side
    causal: bool = flax.struct.field(pytree_node=False)
    horizon: int | None = flax.struct.field(pytree_node=False)
    some_inside: Bool[Array, "B L"] | None = None
    pairs: Bool[Array, "B L L"] | None = None


@flax.struct.dataclass
class Kinds:
    """The masks of a tile, axes [example, head, query, key].

    Attributes:
      attended: keys that the query attends to.
      inside: of these, those inside.
      gated: of these, those that the gate leaves alone.
      sums: by the name of the statistic's mass, keys that it sums.
    """

    attended: Bool[Array, "B 1 T S"]
    inside: Bool[Array, "B 1 T S"]
    gated: Bool[Array, "B 1 T S"]
    sums: dict[str, Bool[Array, "B 1 T S"]]


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
    if plan.pointed:
        pairs = pointed
        if ids.pairs is not None:
            rows = jax.lax.dynamic_slice_in_dim(ids.pairs, query, plan.queries, axis=1)
            pairs = jax.lax.dynamic_slice_in_dim(rows, key, plan.keys, axis=2)[:, None]
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
        dialled = scores - jnp.where(kinds.inside, 0.0, rows.pushed[..., None])
    logits = dialled * cooled
    if plan.gated:
        logits = jnp.where(kinds.gated, logits, logits + rows.gate[..., None, None])
    return Scored(raw, slope, scores, dialled, jnp.where(kinds.attended, logits, -jnp.inf))


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
        self, logits: Float[Array, "B H T S"], mask: Bool[Array, "B 1 T S"] | None = None
    ) -> tuple["Online", Float[Array, "B H T S"], Float[Array, "B H T"]]:
        """With more keys; also exp(z − top) of these, and the factor that sums so far shrink by."""
        if mask is not None:
            logits = jnp.where(mask, logits, -jnp.inf)
        top = jnp.maximum(self.top, jnp.max(logits, axis=-1))
        safe = jnp.where(top == -jnp.inf, 0.0, top)
        relative = logits - safe[..., None]
        weights = jnp.exp(relative)
        fell = jnp.where(self.top == -jnp.inf, 0.0, self.top - safe)
        shrink = jnp.where(self.top == -jnp.inf, 0.0, jnp.exp(fell))
        total = shrink * self.total + jnp.sum(weights, axis=-1)
        finite = jnp.where(relative == -jnp.inf, 0.0, relative)
        turned = shrink * (self.turned + fell * self.total) + jnp.sum(weights * finite, axis=-1)
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


def _take(
    plan: Plan,
    sums: Sums,
    scored: Scored,
    kinds: Kinds,
    v: Float[Array, "B H S K"],
    first: Int[Array, ""],
) -> Sums:
    """With the keys of one more tile, of which this is the first."""
    softmax, weights, shrink = sums.softmax.take(scored.logits)
    read = jnp.einsum("bhts,bhsk->bhtk", weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
    output = shrink[..., None] * sums.output + read
    request = plan.request
    if request is None:
        return replace(sums, softmax=softmax, output=output)
    masses = {
        name: shrink * mass + jnp.sum(weights, axis=-1, where=kinds.sums[name])
        for name, mass in sums.masses.items()
    }
    kept = {"n_keys": kinds.attended, **kinds.sums}
    counts = {
        name: count + jnp.sum(kept[name], axis=-1, dtype=jnp.int32)[:, 0]
        for name, count in sums.counts.items()
    }
    inside, largest, lowest, highest = sums.inside, sums.largest, sums.lowest, sums.highest
    if inside is not None:
        inside, _, _ = inside.take(scored.logits, kinds.inside)
    if largest is not None:
        size = jnp.where(kinds.attended, jnp.abs(scored.scores), 0.0)
        largest = _further(largest, size, first, False)
    if lowest is not None and highest is not None:
        lowest = _further(lowest, jnp.where(kinds.inside, scored.dialled, jnp.inf), first, True)
        out = kinds.attended & ~kinds.inside
        highest = _further(highest, jnp.where(out, scored.dialled, -jnp.inf), first, False)
    return Sums(softmax, output, masses, counts, inside, largest, lowest, highest)


@flax.struct.dataclass
class Order:
    """Which chunks of keys each chunk of queries runs over.

    Attributes:
      chunks: those that hold a key, first, in their order.
      count: how many do.
    """

    chunks: Int[Array, "I J"]
    count: Int[Array, "I"]


def _order(plan: Plan, ids: Ids) -> Order:
    """From what the ids of each chunk span; a chunk is skipped only where it can hold no key."""
    queries, keys = _spans(ids.queries, plan.queries, False), _spans(ids.keys, plan.keys, True)

    def meet(low: Array, high: Array, others_low: Array, others_high: Array) -> Array:
        return (low[:, :, None] <= others_high[:, None, :]) & (others_low[:, None, :] <= high[:, :, None])

    needed = queries.real[:, :, None] & keys.real[:, None, :]
    if ids.causal:
        needed &= keys.first[:, None, :] <= queries.last[:, :, None]
    if queries.documents is not None and keys.documents is not None:
        needed &= meet(*queries.documents, *keys.documents)
    if plan.hard:
        inside = (
            meet(*queries.blocks, *keys.blocks) | queries.everywhere[:, :, None] | keys.everywhere[:, None, :]
        )
        if keys.pointed is not None and queries.orders is not None and keys.orders is not None:
            near = queries.orders[1][:, :, None] > keys.orders[0][:, None, :]
            if ids.horizon is not None:
                near &= queries.orders[0][:, :, None] - keys.orders[1][:, None, :] <= ids.horizon
            inside |= keys.pointed[:, None, :] & near
        needed &= inside
    # A position always finds itself: padding, and where nothing else is left.
    itself = (keys.first[:, None, :] <= queries.last[:, :, None]) & (
        queries.first[:, :, None] <= keys.last[:, None, :]
    )
    wanted = jnp.any(needed | itself, axis=0)
    return Order(
        jnp.argsort(~wanted, axis=1, stable=True).astype(jnp.int32), jnp.sum(wanted, axis=1, dtype=jnp.int32)
    )


@flax.struct.dataclass
class Spans:
    """What the N / size chunks of a side span: the least and the largest of each.

    Attributes:
      first: index of the first.
      last: index of the last.
      real: whether there is one that is no padding.
      blocks: their blocks, but for padding and tokens of every block.
      everywhere: whether one may be inside for blocks beyond those.
      documents: their documents.
      pointed: whether there is a pointer; None where there are none.
      orders: running numbers of their blocks.
    """

    first: Int[Array, "#B I"]
    last: Int[Array, "#B I"]
    real: Bool[Array, "B I"]
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


def _rows_of(plan: Plan, rows: Rows, query: Int[Array, ""]) -> Rows:
    """Those of the queries of a chunk."""
    return replace(rows, pushed=jax.lax.dynamic_slice_in_dim(rows.pushed, query, plan.queries, axis=2))


def _chunk(of: Shaped[Array, "B H L *K"], start: Int[Array, ""], size: int) -> Shaped[Array, "B H T *K"]:
    return jax.lax.dynamic_slice_in_dim(of, start, size, axis=2)


def _joined(chunks: Any) -> Any:
    """Of every array of chunks, [I, B, T] or [I, B, H, T, …], that of all queries, [B, L] or [B, H, L, …]."""

    def join(of: Array, axis: int) -> Array:
        moved = jnp.moveaxis(of, 0, axis - 1)
        return moved.reshape(*moved.shape[: axis - 1], -1, *moved.shape[axis + 1 :])

    return jax.tree.map(lambda of: join(of, 2 if of.ndim == 3 else 3), chunks)


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
    shape = (*q.shape[:2], plan.queries)
    names = tuple(_names(plan, ids))

    def of_chunk(chunk: Int[Array, ""]) -> Found:
        query = chunk * plan.queries
        q_chunk, own = _chunk(q, query, plan.queries), _rows_of(plan, rows, query)

        def take(number: Int[Array, ""], sums: Sums) -> Sums:
            key = order.chunks[chunk, number] * plan.keys
            kinds = _kinds(plan, ids, query, key)
            scored = _scored(plan, q_chunk, _chunk(k, key, plan.keys), own, kinds)
            return _take(plan, sums, scored, kinds, _chunk(v, key, plan.keys), key)

        empty = _empty(plan, names, shape, v.shape[-1])
        return _finished(jax.lax.fori_loop(0, order.count[chunk], take, empty))

    return _joined(jax.lax.map(of_chunk, jnp.arange(q.shape[2] // plan.queries)))


def _names(plan: Plan, ids: Ids) -> list[str]:
    """The masses that are summed."""
    if plan.request is None:
        return []
    names = ["block_mass", "local_mass"]
    names += ["pointer_mass"] * (ids.keys.pointers is not None)
    names += ["sink_mass"] * (ids.queries.sinks is not None)
    return names + ["mass", "mass_in"] * plan.pointed


Residuals = tuple[Array, Array, Array, Rows, Ids, Order, Found]


def _attention_forward(
    plan: Plan, q: Array, k: Array, v: Array, rows: Rows, ids: Ids, order: Order
) -> tuple[Found, Residuals]:
    found = _attention(plan, q, k, v, rows, ids, order)
    return found, (q, k, v, rows, ids, order, found)


@flax.struct.dataclass
class Pulled:
    """Gradients that gather over chunks of queries."""

    k: Float[Array, "B H L K"]
    v: Float[Array, "B H L K"]
    scale: Float[Array, "H"]
    cooled: Float[Array, "B"]
    gate: Float[Array, "B H"]


def _attention_backward(plan: Plan, residuals: Residuals, given: Found) -> tuple[Any, ...]:
    q, k, v, rows, ids, order, found = residuals
    # What every key of a query has in common: Σ_k α_k w_k.
    shared = jnp.sum(given.output * found.output, axis=-1)
    for name, of in given.masses.items():
        shared = shared + of * found.masses[name]
    entropy = given.entropy * (found.entropy > 0.0)
    given = replace(given, counts={}, places={}, entropy=entropy)
    by_row = (given, replace(found, counts={}), shared)

    def of_chunk(pulled: Pulled, chunk: Int[Array, ""]) -> tuple[Pulled, tuple[Array, Array]]:
        query = chunk * plan.queries
        q_chunk, own = _chunk(q, query, plan.queries), _rows_of(plan, rows, query)
        part = _Backward(plan, *jax.tree.map(lambda of: _chunk(of, query, plan.queries), by_row))

        def take(number: Int[Array, ""], held: tuple[Pulled, Array, Array]) -> tuple[Pulled, Array, Array]:
            pulled, dq, dpushed = held
            key = order.chunks[chunk, number] * plan.keys
            kinds = _kinds(plan, ids, query, key)
            k_chunk, v_chunk = _chunk(k, key, plan.keys), _chunk(v, key, plan.keys)
            scored = _scored(plan, q_chunk, k_chunk, own, kinds)
            weights, dlogits = part.logits(scored, kinds, v_chunk)
            ddialled = part.dialled(dlogits, own, key)
            draw = ddialled + part.scores(scored, key)
            if scored.slope is not None:
                draw = draw * scored.slope
            dscaled = (draw * own.scale[None, :, None, None]).astype(q.dtype)
            dq = dq + jnp.einsum("bhts,bhsk->bhtk", dscaled, k_chunk, preferred_element_type=jnp.float32)
            dk = jnp.einsum("bhts,bhtk->bhsk", dscaled, q_chunk, preferred_element_type=jnp.float32)
            dout = part.given.output.astype(v.dtype)
            dv = jnp.einsum(
                "bhts,bhtk->bhsk", weights.astype(v.dtype), dout, preferred_element_type=jnp.float32
            )
            if not plan.hard:
                dpushed = dpushed - jnp.sum(ddialled, axis=-1, where=kinds.attended & ~kinds.inside)
            gate = pulled.gate
            if plan.gated:
                gate = gate + jnp.sum(dlogits, axis=(2, 3), where=kinds.attended & ~kinds.gated)
            pulled = Pulled(
                _added(pulled.k, dk, key),
                _added(pulled.v, dv, key),
                pulled.scale + jnp.sum(draw * scored.raw, axis=(0, 2, 3)),
                pulled.cooled
                + jnp.sum(dlogits * jnp.where(kinds.attended, scored.dialled, 0.0), axis=(1, 2, 3)),
                gate,
            )
            return pulled, dq, dpushed

        start = (pulled, jnp.zeros(q_chunk.shape, jnp.float32), jnp.zeros(q_chunk.shape[:3], jnp.float32))
        pulled, dq, dpushed = jax.lax.fori_loop(0, order.count[chunk], take, start)
        return pulled, (dq, dpushed)

    none = Pulled(
        jnp.zeros(k.shape, jnp.float32),
        jnp.zeros(v.shape, jnp.float32),
        jnp.zeros_like(rows.scale),
        jnp.zeros_like(rows.cooled),
        jnp.zeros_like(rows.gate),
    )
    pulled, (dq, dpushed) = jax.lax.scan(of_chunk, none, jnp.arange(q.shape[2] // plan.queries))
    of_rows = Rows(pulled.scale, _joined(dpushed), pulled.cooled, pulled.gate)
    dq = _joined(dq).astype(q.dtype)
    return dq, pulled.k.astype(k.dtype), pulled.v.astype(v.dtype), of_rows, None, None


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
            wanted = wanted + jnp.where(mask, given.masses[name][..., None], 0.0)
        finite = jnp.where(scored.logits == -jnp.inf, 0.0, scored.logits)
        wanted = wanted - given.entropy[..., None] * (finite - found.mean[..., None])
        pulled = weights * wanted
        if found.inside_log_sum is not None:
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


def _added(to: Array, part: Array, start: Int[Array, ""]) -> Array:
    old = jax.lax.dynamic_slice_in_dim(to, start, part.shape[2], axis=2)
    return jax.lax.dynamic_update_slice_in_dim(to, old + part, start, axis=2)


_attention.defvjp(_attention_forward, _attention_backward)
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
    pointers: Bool[Array, "B L L"] | None = None,
    sizes: tuple[int, int] = (256, 256),
) -> tuple[Float[Array, "B L H K"], AttentionStats | None]:
    """What `locality_attention` returns, without weights; its arguments are checked there.

    Args:
      qkv: queries, keys and values.
      relation: of all positions.
      push: what the dial does to scores.
      hard: only keys inside are attended to.
      request: which statistics to return; None for none.
      pointers: [query, key] pairs whose attention the statistics measure.
      sizes: of a tile, queries and keys.
    """
    q_BxLxHxK, k_BxLxHxK, v_BxLxHxK = qkv
    length, (n_queries, n_keys) = q_BxLxHxK.shape[1], (min(size, q_BxLxHxK.shape[1]) for size in sizes)
    more, more_keys = -length % n_queries, -length % n_keys

    def laid(of: Array, behind: int) -> Array:
        """[B, L, H, K] as [B, H, L + behind, K]."""
        return jnp.pad(of, ((0, 0), (0, behind), (0, 0), (0, 0))).transpose(0, 2, 1, 3)

    q, k, v = laid(q_BxLxHxK, more), laid(k_BxLxHxK, more_keys), laid(v_BxLxHxK, more_keys)
    shape = q.shape[:3]
    pointed = request is not None and (pointers is not None or relation.pointers is not None)
    falls_back = relation.key_block_ids is not None
    plan = Plan(n_queries, n_keys, request, push.score_cap, bool(push.gate), hard, falls_back, pointed)
    pairs = None
    if pointed and pointers is not None:
        pairs = jnp.pad(jnp.asarray(pointers), ((0, 0), (0, more), (0, more_keys)))
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
    scores_alone = replace(plan, request=None, gated=False)
    rows = Rows(scale_H, jnp.zeros(q.shape[:3]), jnp.ones(q.shape[0]), jnp.zeros(q.shape[:2]))
    k_norm = jnp.linalg.norm(k.astype(jnp.float32), axis=-1)

    def of_chunk(chunk: Int[Array, ""]) -> tuple[Array, Array]:
        query = chunk * plan.queries
        q_chunk, own = _chunk(q, query, plan.queries), _rows_of(plan, rows, query)

        def take(number: Int[Array, ""], held: tuple[Array, Array]) -> tuple[Array, Array]:
            key = order.chunks[chunk, number] * plan.keys
            kinds = _kinds(scores_alone, ids, query, key)
            if exact:
                scores = _scored(scores_alone, q_chunk, _chunk(k, key, plan.keys), own, kinds).scores
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
        return jax.lax.fori_loop(0, order.count[chunk], take, start)

    low, high = _joined(jax.lax.map(of_chunk, jnp.arange(q.shape[2] // plan.queries)))
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
    )

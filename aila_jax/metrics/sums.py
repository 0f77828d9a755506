"""Mergeable metrics: sums and counts on the device, float64 and int64 on the host, divided once at the
end.
"""

import math
import sys
from dataclasses import dataclass

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from aila_jax.loss.cross_entropy import TargetScores, target_scores
from aila_jax.metrics.places import PlaceSums, place_sums
from aila_jax.metrics.pointers import PointerSummary, PointerSums, pointer_sums, summarize_pointers
from aila_jax.model.interface import ModelOutput
from aila_jax.types import GLOBAL_ID, PADDING_ID, Array, Batch


@flax.struct.dataclass
class MetricSums:
    """Sums over the positions of any number of batches; adding two of them merges them.

    Scalars over scored targets: loss (nats), correct, targets. [N, H] over real queries: entropy (bits),
    entropy fraction (queries with two keys or more), block mass, local mass (non-global queries), delta
    (queries with keys inside and outside), and where the relation has them mass on pointers and on sinks. [N]
    over queries: keys inside, and what uniform attention would have (uniform, local_uniform, pointer_uniform,
    sink_uniform). Counts that the means divide by; [N] where layers may differ (fraction_queries,
    delta_queries). On request, the targets again by their query's place in its block (places), and pointer
    sums (pointers).
    """

    loss: Float[Array, ""]
    correct: Int[Array, ""]
    targets: Int[Array, ""]
    entropy: Float[Array, "N H"]
    fraction: Float[Array, "N H"]
    block_mass: Float[Array, "N H"]
    local_mass: Float[Array, "N H"]
    uniform: Float[Array, "N"]
    local_uniform: Float[Array, "N"]
    keys_in: Int[Array, "N"]
    queries: Int[Array, ""]
    fraction_queries: Int[Array, "N"]
    local_queries: Int[Array, ""]
    pointer_mass: Float[Array, "N H"] | None = None
    pointer_uniform: Float[Array, "N"] | None = None
    sink_mass: Float[Array, "N H"] | None = None
    sink_uniform: Float[Array, "N"] | None = None
    delta: Float[Array, "N H"] | None = None
    delta_positive: Int[Array, "N H"] | None = None
    delta_queries: Int[Array, "N"] | None = None
    places: PlaceSums | None = None
    pointers: PointerSums | None = None


def metric_sums(
    output: ModelOutput,
    batch: Batch,
    block_ids: Int[Array, "B L"],
    scores: TargetScores | None = None,
    places: int = 0,
) -> MetricSums:
    """The sums of one batch. `output` must carry statistics; padding queries and unscored targets count
    nowhere.

    `scores` are those of the targets, where they were made without logits; by default they are made from
    `output.logits`. `places` above 0 asks for the targets by place, so many of them (see `place_sums`).
    """
    stats = output.stats
    assert stats is not None, "metric_sums needs Request(stats=True)"
    if scores is None:
        assert output.logits is not None, "metric_sums needs logits or scores"
        scores = target_scores(output.logits, batch.targets)
    scored = batch.weights > 0
    real = batch.doc_ids != PADDING_ID
    n_keys, n_in = stats.n_keys, stats.n_in
    multi_key = real[None] & (n_keys >= 2)
    local = real & (block_ids != GLOBAL_ID)
    crossing = real[None] & (n_in > 0) & (n_in < n_keys)

    def over(values: Array, where: Array) -> Array:
        where = where if where.ndim == 3 else where[None]
        return jnp.sum(values, axis=(1, 3), where=where[:, :, None, :])

    def share(keys: Array, where: Array = real) -> Array:
        return jnp.sum(keys / n_keys, axis=(1, 2), where=where[None])

    log_keys = jnp.log2(jnp.maximum(n_keys, 2).astype(jnp.float32))[:, :, None, :]
    delta = stats.delta
    return MetricSums(
        loss=jnp.sum(scores.losses, where=scored),
        correct=jnp.sum(scores.first & scored),
        targets=jnp.sum(scored),
        entropy=over(stats.entropy_bits, real),
        fraction=over(stats.entropy_bits / log_keys, multi_key),
        block_mass=over(stats.block_mass, real),
        local_mass=over(stats.local_mass, local),
        uniform=share(n_in),
        local_uniform=share(stats.n_local, local),
        keys_in=jnp.sum(n_in, axis=(1, 2), where=real[None]),
        queries=jnp.sum(real),
        fraction_queries=jnp.sum(multi_key, axis=(1, 2)),
        local_queries=jnp.sum(local),
        pointer_mass=None if stats.pointer_mass is None else over(stats.pointer_mass, real),
        pointer_uniform=None if stats.n_pointers is None else share(stats.n_pointers),
        sink_mass=None if stats.sink_mass is None else over(stats.sink_mass, real),
        sink_uniform=None if stats.n_sinks is None else share(stats.n_sinks),
        delta=None if delta is None else over(delta, crossing),
        delta_positive=None if delta is None else over(jnp.greater(delta, 0).astype(jnp.int32), crossing),
        delta_queries=None if delta is None else jnp.sum(crossing, axis=(1, 2)),
        places=place_sums(scores, batch, block_ids, places) if places else None,
        pointers=None if stats.pointed is None else pointer_sums(stats, batch, scores, scored),
    )


def to_host(sums: MetricSums) -> MetricSums:
    """The same sums as float64 and int64 on the host, so that merging many batches loses nothing."""
    return jax.tree.map(
        lambda x: np.asarray(x, np.float64 if np.issubdtype(np.asarray(x).dtype, np.floating) else np.int64),
        sums,
    )


def merge(parts: list[MetricSums]) -> MetricSums:
    """Sums of host sums, over any split into batches, devices and hosts."""
    if not parts:
        raise ValueError("there are no metric sums to merge; at least one batch must be evaluated")
    return jax.tree.map(lambda *x: np.sum(np.stack(x), axis=0), *parts)


@dataclass(frozen=True, eq=False)
class LayerKeys:
    """What keys each layer's queries have, means [N]; None where the relation has no such keys.

    Attributes:
      n_in: keys inside.
      uniform: share of uniform attention inside.
      local_uniform: in the query's own block.
      pointer_uniform: on pointers.
      sink_uniform: on the sink.
    """

    n_in: np.ndarray
    uniform: np.ndarray
    local_uniform: np.ndarray
    pointer_uniform: np.ndarray | None
    sink_uniform: np.ndarray | None


@dataclass(frozen=True)
class Summary:
    """Means of merged sums. Scalars over targets; [N, H] arrays over queries; None where nothing was measured
    or counted. What uniform attention has, and keys inside, are means over layers; by layer in `layers`.
    """

    loss: float
    accuracy: float
    targets: int
    entropy_bits: np.ndarray
    entropy_fraction: np.ndarray
    block_mass: np.ndarray
    block_mass_uniform: float
    block_mass_lift: np.ndarray
    block_mass_local: np.ndarray
    local_uniform: float
    n_in: float
    pointer_mass: np.ndarray | None
    pointer_uniform: float | None
    sink_mass: np.ndarray | None
    sink_uniform: float | None
    delta_measured: np.ndarray | None
    delta_share: np.ndarray | None
    pointers: PointerSummary | None
    layers: LayerKeys


def summarize(sums: MetricSums) -> Summary:
    """Divides once. Counts of 0 give 0 where the sum is 0 too: nothing was there to measure."""

    def mean(total: Array, count: Array) -> np.ndarray:
        return np.asarray(total) / max(int(count), 1)

    # A layer in which no query was counted has 0, as everything that was not there has.
    measured = None if sums.delta_queries is None or not np.any(sums.delta_queries) else sums.delta_queries

    def by_layer(total: Array, count: Array) -> np.ndarray:
        return np.asarray(total) / np.maximum(count, 1)[:, None]

    def uniform(total: Array) -> float:
        return float(mean(np.mean(total), sums.queries))

    return Summary(
        loss=float(mean(sums.loss, sums.targets)),
        accuracy=float(mean(sums.correct, sums.targets)),
        targets=int(sums.targets),
        entropy_bits=mean(sums.entropy, sums.queries),
        entropy_fraction=by_layer(sums.fraction, sums.fraction_queries),
        block_mass=mean(sums.block_mass, sums.queries),
        block_mass_uniform=uniform(sums.uniform),
        block_mass_lift=np.asarray(sums.block_mass)
        / np.where(np.asarray(sums.uniform) > 0, sums.uniform, 1.0)[:, None],
        block_mass_local=mean(sums.local_mass, sums.local_queries),
        local_uniform=float(mean(np.mean(sums.local_uniform), sums.local_queries)),
        n_in=uniform(sums.keys_in),
        pointer_mass=None if sums.pointer_mass is None else mean(sums.pointer_mass, sums.queries),
        pointer_uniform=None if sums.pointer_uniform is None else uniform(sums.pointer_uniform),
        sink_mass=None if sums.sink_mass is None else mean(sums.sink_mass, sums.queries),
        sink_uniform=None if sums.sink_uniform is None else uniform(sums.sink_uniform),
        delta_measured=None if measured is None else by_layer(sums.delta, measured),
        delta_share=None if measured is None else by_layer(sums.delta_positive, measured),
        pointers=None if sums.pointers is None else summarize_pointers(sums.pointers),
        layers=LayerKeys(
            n_in=mean(sums.keys_in, sums.queries),
            uniform=mean(sums.uniform, sums.queries),
            local_uniform=mean(sums.local_uniform, sums.local_queries),
            pointer_uniform=None
            if sums.pointer_uniform is None
            else mean(sums.pointer_uniform, sums.queries),
            sink_uniform=None if sums.sink_uniform is None else mean(sums.sink_uniform, sums.queries),
        ),
    )


def perplexity(nats: float) -> float:
    """e^nats, of a mean loss in nats; ∞ where float64 holds no such number (above 709 nats)."""
    return math.inf if nats > math.log(sys.float_info.max) else math.exp(nats)

"""Sums of what a relation adds: mass on pointers and on sinks, and keys inside, layer by layer."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from aila_jax.config import MarginConfig, ModelConfig
from aila_jax.metrics.sums import MetricSums, merge, metric_sums, summarize, to_host
from aila_jax.model.interface import Dial, ModelOutput, Request
from aila_jax.model.network import Network
from aila_jax.model.stats import StatsRequest
from aila_jax.model.transformer import Transformer
from aila_jax.partition.kinds import Windows
from aila_jax.partition.pointers import Ends
from aila_jax.partition.rules import Everything, Rules
from aila_jax.types import Batch

ROWS, LENGTH, TYPES = 4, 11, 7
DOCS = np.array([[0] * 6 + [1] * 5, [2] * 9 + [-1] * 2, [3] * 11, [4] * 2 + [5] * 9], np.int32)
BATCH = Batch.from_tokens(
    np.random.default_rng(0).integers(0, TYPES, (ROWS, LENGTH)).astype(np.int32), None, DOCS
)
MODEL = ModelConfig(
    length=LENGTH, d_model=8, n_heads=2, d_ff=8, n_layers=2, document_mask=True, margin=MarginConfig(nats=2.0)
)
RULES = Rules(sink=True, pointers=Ends(2), partitions=(None, Everything()), layers=2)
NEW = ("pointer_mass", "pointer_uniform", "sink_mass", "sink_uniform")


def output(rules: Rules, hard: bool = False) -> ModelOutput:
    """Of a model whose attention is far from uniform."""
    network = Network(Transformer(MODEL, TYPES), Windows(3), rules)
    params = network.init(BATCH, jax.random.key(0))
    params = jax.tree.map(lambda x: 12 * x if x.ndim > 1 else x, params)
    request = Request(stats=StatsRequest(delta=True), weights=True, hard=hard)
    dial = Dial(np.float32(1.0 if hard else 0.6), np.float32(1.0))
    return jax.jit(lambda params: network(params, BATCH, dial, request))(params)


def sums(found: ModelOutput, rows: slice = slice(None)) -> MetricSums:
    stats = jax.tree.map(lambda x: x[:, rows], found.stats)
    part = ModelOutput(found.features[rows], found.logits[rows], stats)
    batch = jax.tree.map(lambda x: x[rows], BATCH)
    return to_host(jax.jit(metric_sums)(part, batch, Windows(3)(batch)))


@pytest.fixture(scope="module")
def measured() -> ModelOutput:
    return output(RULES)


def test_means_are_those_of_the_weights(measured: ModelOutput) -> None:
    """The lower layer has windows of 3, whose ends two later blocks see; in the upper one all is inside. The
    first token of a document is a sink in both.
    """
    found = summarize(sums(measured))
    weights = np.asarray(measured.weights, np.float64)
    position, starts = np.asarray(BATCH.positions), np.asarray(BATCH.positions) == 0
    masses = np.zeros((3, 2, 2))
    uniform, n_in, queries = np.zeros(3), 0.0, 0
    for b, t in np.ndindex(ROWS, LENGTH):
        if DOCS[b, t] == -1:
            continue
        queries += 1
        keys = [j for j in range(t + 1) if DOCS[b, j] == DOCS[b, t]]
        for layer in range(2):
            sinks = [j for j in keys if starts[b, j]]
            own = [j for j in keys if not starts[b, j] and not starts[b, t]]
            ends = []
            if layer == 0:
                ends = [
                    j
                    for j in own
                    if position[b, j] % 3 == 2 and 1 <= position[b, t] // 3 - position[b, j] // 3 <= 2
                ]
                own = [j for j in own if position[b, j] // 3 == position[b, t] // 3]
            n_in += len({*sinks, *own, *ends}) / 2
            for kind, part in enumerate((own, ends, sinks)):
                masses[kind, layer] += weights[layer, b, :, t, part].sum(axis=0)
                uniform[kind] += len(part) / len(keys) / 2
    want = masses / queries
    np.testing.assert_allclose(found.block_mass_local, want[0], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.pointer_mass, want[1], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.sink_mass, want[2], rtol=1e-5)
    np.testing.assert_allclose(found.block_mass, want.sum(axis=0), rtol=1e-5)
    shares = (found.local_uniform, found.pointer_uniform, found.sink_uniform)
    np.testing.assert_allclose(shares, uniform / queries, rtol=1e-5)
    np.testing.assert_allclose(found.n_in, n_in / queries, rtol=1e-12)
    assert (found.pointer_mass[0] > 0.01).all() and not found.pointer_mass[1].any()
    assert found.pointers is None  # nothing is pointed at in the upper layer
    assert (found.delta_measured[0] != 0).all() and not found.delta_measured[1].any()  # and nothing outside


def test_merging_any_split_equals_the_whole(measured: ModelOutput) -> None:
    whole, parts = sums(measured), [sums(measured, rows) for rows in (slice(0, 1), slice(1, 4))]
    merged = merge(parts)
    for name in (*NEW, "keys_in", "delta_queries", "fraction_queries"):
        np.testing.assert_allclose(getattr(merged, name), getattr(whole, name), rtol=1e-6, err_msg=name)


def test_without_pointers_and_sinks_there_are_no_sums_of_them() -> None:
    found = sums(output(Rules()))
    assert [getattr(found, name) for name in NEW] == [None] * 4
    assert summarize(found).pointer_mass is None and summarize(found).sink_uniform is None


def test_layers_that_are_hard_count_their_own_queries() -> None:
    """A_t is the block then: the first of three has no second key below, and has one in the layer of all."""
    rules = replace(RULES, sink=False, pointers=None)
    found = output(rules, hard=True)
    counts = sums(found)
    n_keys = np.asarray(found.stats.n_keys)
    real = DOCS != -1
    want = [(real & (n_keys[layer] >= 2)).sum() for layer in range(2)]
    assert want[0] < want[1]
    np.testing.assert_array_equal(counts.fraction_queries, want)
    entropy = np.asarray(found.stats.entropy_bits)
    for layer in range(2):
        where = real & (n_keys[layer] >= 2)
        share = [
            (entropy[layer, :, head] / np.log2(np.maximum(n_keys[layer], 2)))[where].mean()
            for head in range(2)
        ]
        np.testing.assert_allclose(summarize(counts).entropy_fraction[layer], share, rtol=1e-5)

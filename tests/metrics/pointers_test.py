"""Pointer fidelity from sums: ratios of sums against loops, merging over any split, and what must not be
counted.
"""

import dataclasses
from functools import cache

import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aila_jax.metrics.pointers import PointerSums
from aila_jax.metrics.sums import MetricSums, merge, metric_sums, summarize, to_host
from aila_jax.model.attention import locality_attention
from aila_jax.model.interface import ModelOutput
from aila_jax.types import Batch
from tests.oracles.attention import attend, in_block, may_attend
from tests.oracles.cases import DOCS, IDS, qkv

ROWS, LENGTH, HEADS, LAYERS, VOCAB = 6, 11, 2, 2, 7
BLOCKS, DOC_IDS = np.tile(IDS, (2, 1)), np.tile(DOCS, (2, 1))
MEASURE = jax.jit(metric_sums)
COUNTS = ("pointed_in", "keys_in", "queries", "determined", "determined_correct")
FLOATS = ("mass", "mass_in", "block_mass", "uniform")


@cache
def material() -> tuple[ModelOutput, Batch, list[np.ndarray]]:
    """Two layers' statistics with pointers, the batch that holds them, and the weights in float64."""
    rng = np.random.default_rng(0)
    answers = np.where(rng.random((ROWS, LENGTH)) < 0.6, rng.integers(0, LENGTH, (ROWS, LENGTH)), -1).astype(
        np.int32
    )
    batch = Batch.from_tokens(
        rng.integers(0, VOCAB, (ROWS, LENGTH)).astype(np.int32), BLOCKS, DOC_IDS
    ).replace(pointers=answers)
    logits = rng.standard_normal((ROWS, LENGTH, VOCAB)).astype(np.float32)
    pointers = answers[:, :, None] == np.arange(LENGTH)
    call = jax.jit(
        lambda q, k, v: locality_attention(
            q, k, v, BLOCKS, lam=0.4, tau=0.8, margin=3.0, stats=True, pointers=pointers
        )[1]
    )
    layers = [qkv(layer, (ROWS, LENGTH, HEADS, 3)) for layer in range(LAYERS)]
    stats = [jax.device_get(call(*layer)) for layer in layers]
    weights = [attend(*layer, BLOCKS, lam=0.4, tau=0.8, margin=3.0).weights for layer in layers]
    features = np.zeros((ROWS, LENGTH, 1), np.float32)
    return ModelOutput(features, logits, jax.tree.map(lambda *x: np.stack(x), *stats)), batch, weights


def measured(rows: np.ndarray) -> MetricSums:
    output, batch, _ = material()
    stats = jax.tree.map(lambda x: x[:, rows], output.stats)
    part = ModelOutput(output.features[rows], output.logits[rows], stats)
    return to_host(MEASURE(part, jax.tree.map(lambda x: x[rows], batch), BLOCKS[rows]))


def test_summary_equals_loops() -> None:
    output, batch, weights = material()
    found = summarize(measured(np.arange(ROWS))).pointers
    assert found is not None
    counted = []
    for b, t in np.ndindex(ROWS, LENGTH):
        j = int(batch.pointers[b, t])
        if DOC_IDS[b, t] != -1 and j not in (-1, t) and may_attend(BLOCKS[b], t, j):
            counted.append((b, t, j))
    assert 10 < len(counted) == found.queries < (batch.pointers >= 0).sum()
    keys = [[j for j in range(LENGTH) if may_attend(BLOCKS[b], t, j)] for b, t, _ in counted]
    inside = [
        [j for j in row if in_block(BLOCKS[b, t], BLOCKS[b, j])]
        for row, (b, t, _) in zip(keys, counted, strict=True)
    ]
    hits = [j in row for row, (_, _, j) in zip(inside, counted, strict=True)]
    np.testing.assert_allclose(found.uniform, np.mean([1 / len(row) for row in keys]), rtol=1e-6)
    np.testing.assert_allclose(found.key_share, sum(hits) / sum(len(row) for row in inside), rtol=1e-12)
    for n, h in np.ndindex(LAYERS, HEADS):
        alpha = weights[n][:, h]
        np.testing.assert_allclose(found.fidelity[n, h], np.mean([alpha[at] for at in counted]), rtol=1e-5)
        mass_in = np.mean([alpha[at] * hit for at, hit in zip(counted, hits, strict=True)])
        np.testing.assert_allclose(found.fidelity_in[n, h], mass_in, rtol=1e-5)
        block = np.mean(
            [sum(alpha[b, t, j] for j in row) for row, (b, t, _) in zip(inside, counted, strict=True)]
        )
        np.testing.assert_allclose(found.block_mass[n, h], block, rtol=1e-5)
    determined = (batch.pointers >= 0) & (batch.weights > 0)
    first = np.asarray(output.logits).argmax(-1) == batch.targets
    assert found.determined == determined.sum()
    np.testing.assert_allclose(found.accuracy_determined, first[determined].mean(), rtol=1e-12)


@given(st.permutations(range(ROWS)), st.sets(st.integers(1, ROWS - 1)))
@settings(max_examples=15)
def test_merging_any_split_equals_the_whole(order: list[int], cuts: set[int]) -> None:
    whole = measured(np.arange(ROWS)).pointers
    merged = merge([measured(rows) for rows in np.split(np.array(order), sorted(cuts))]).pointers
    assert sorted(FLOATS + COUNTS) == sorted(field.name for field in dataclasses.fields(PointerSums))
    for name in COUNTS:
        np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name), err_msg=name)
    for name in FLOATS:
        np.testing.assert_allclose(
            getattr(merged, name), getattr(whole, name), rtol=1e-6, atol=1e-5, err_msg=name
        )


def test_uniform_attention_has_lift_one_and_the_share_of_the_keys() -> None:
    """Flat scores at λ = 0, one pointed-at key in each query's block: fidelity is uniform, and fidelity ÷
    block mass is the key share.
    """
    zero = np.zeros((1, 10, 1, 1), np.float32)
    batch = Batch.from_tokens(np.zeros((1, 10), np.int32))
    ids = batch.positions // 5
    pointers = (ids[:, :, None] == ids[:, None, :]) & (batch.positions % 5 == 0)[:, None, :]
    call = jax.jit(
        lambda q: locality_attention(
            q, q, q, ids, lam=0.0, tau=1.0, margin=8.0, stats=True, pointers=pointers
        )[1]
    )
    output = ModelOutput(zero[..., 0], zero[..., 0], jax.tree.map(lambda x: x[None], call(zero)))
    found = summarize(to_host(MEASURE(output, batch, ids))).pointers
    assert found is not None
    assert found.queries == 8  # not the anchors themselves
    counted = [t for t in range(10) if t % 5]
    np.testing.assert_allclose(found.uniform, np.mean([1 / (t + 1) for t in counted]), rtol=1e-6)
    np.testing.assert_allclose(found.fidelity / found.uniform, 1.0, rtol=1e-6)
    np.testing.assert_allclose(found.key_share, 8 / sum(t % 5 + 1 for t in counted), rtol=1e-12)
    assert found.determined is None
    assert found.accuracy_determined is None


def test_nothing_pointed_at_is_no_measurement() -> None:
    output, batch, _ = material()
    nowhere = batch.replace(doc_ids=np.full_like(batch.doc_ids, -1), weights=np.zeros_like(batch.weights))
    sums = to_host(MEASURE(output, nowhere, np.full_like(BLOCKS, -1)))
    assert summarize(sums).pointers is None
    jax.tree.map(
        np.testing.assert_array_equal, merge([sums, measured(np.arange(ROWS))]), measured(np.arange(ROWS))
    )

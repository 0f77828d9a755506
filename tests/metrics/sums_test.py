"""Metric sums: means against float64 loops, merging over any split, and what must not be counted."""

import dataclasses
from functools import cache, partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aila_jax.loss.cross_entropy import target_scores
from aila_jax.metrics.sums import MetricSums, merge, metric_sums, perplexity, summarize, to_host
from aila_jax.model.attention import locality_attention
from aila_jax.model.interface import ModelOutput
from aila_jax.types import Batch
from tests.oracles.attention import Attended, attend
from tests.oracles.cases import DOCS, IDS, qkv
from tests.oracles.losses import losses

ROWS, LENGTH, HEADS, LAYERS, VOCAB = 6, 11, 2, 2, 7
BLOCKS, DOC_IDS = np.tile(IDS, (2, 1)), np.tile(DOCS, (2, 1))
MEASURE = jax.jit(metric_sums)
FLOATS = ("loss", "entropy", "fraction", "block_mass", "local_mass", "uniform", "local_uniform", "delta")
COUNTS = (
    "correct",
    "targets",
    "keys_in",
    "queries",
    "fraction_queries",
    "local_queries",
    "delta_positive",
    "delta_queries",
)


@cache
def material() -> tuple[ModelOutput, Batch, list[Attended]]:
    """An output with real attention statistics in two layers, its batch, and the same statistics in
    float64.
    """
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, VOCAB, (ROWS, LENGTH)).astype(np.int32)
    batch = Batch.from_tokens(tokens, BLOCKS, DOC_IDS)
    logits = rng.integers(-2, 3, (ROWS, LENGTH, VOCAB)).astype(
        np.float32
    )  # whole numbers, so that ties are common
    stats, wide = [], []
    for layer in range(LAYERS):
        q, k, v = qkv(layer, (ROWS, LENGTH, HEADS, 3))
        wide.append(attend(q, k, v, BLOCKS, lam=0.4, tau=0.8, margin=3.0))
        call = jax.jit(
            lambda q, k, v: locality_attention(
                q, k, v, BLOCKS, lam=0.4, tau=0.8, margin=3.0, stats=True, delta=True
            )[1]
        )
        stats.append(jax.device_get(call(q, k, v)))
    features = np.zeros((ROWS, LENGTH, 1), np.float32)
    return ModelOutput(features, logits, jax.tree.map(lambda *x: np.stack(x), *stats)), batch, wide


def measured(rows: np.ndarray) -> MetricSums:
    """Host sums of some rows of the material."""
    output, batch, _ = material()
    stats = jax.tree.map(lambda x: x[:, rows], output.stats)
    part = ModelOutput(output.features[rows], output.logits[rows], stats)
    return to_host(MEASURE(part, jax.tree.map(lambda x: x[rows], batch), BLOCKS[rows]))


def means(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """[H] means of values [B, H, L] over positions [B, L]."""
    return np.array([values[:, h][where].mean() for h in range(values.shape[1])])


def test_summary_equals_float64_means() -> None:
    output, batch, layers = material()
    found = summarize(measured(np.arange(ROWS)))
    scored, real = batch.weights > 0, DOC_IDS != -1
    n_keys, n_in, n_local = layers[0].n_keys, layers[0].n_in, layers[0].n_local
    multi_key, local, crossing = real & (n_keys >= 2), real & (BLOCKS != -2), real & (n_in < n_keys)
    logits = np.asarray(output.logits)
    top = np.take_along_axis(logits, batch.targets[..., None], -1)[..., 0] >= logits.max(-1)
    assert 0 < scored.sum() == found.targets < real.sum() < ROWS * LENGTH
    np.testing.assert_allclose(found.loss, losses(logits, batch.targets)[scored].mean(), rtol=1e-5)
    np.testing.assert_allclose(found.accuracy, top[scored].mean(), rtol=1e-6)
    np.testing.assert_allclose(found.block_mass_uniform, (n_in / n_keys)[real].mean(), rtol=1e-5)
    np.testing.assert_allclose(found.n_in, n_in[real].mean(), rtol=1e-12)
    np.testing.assert_allclose(found.local_uniform, (n_local / n_keys)[local].mean(), rtol=1e-5)
    for n, layer in enumerate(layers):
        fraction = layer.entropy_bits / np.log2(np.maximum(n_keys, 2))[:, None]
        np.testing.assert_allclose(found.entropy_bits[n], means(layer.entropy_bits, real), rtol=1e-5)
        np.testing.assert_allclose(found.entropy_fraction[n], means(fraction, multi_key), rtol=1e-5)
        np.testing.assert_allclose(found.block_mass[n], means(layer.block_mass, real), rtol=1e-5)
        np.testing.assert_allclose(found.block_mass_local[n], means(layer.local_mass, local), rtol=1e-5)
        np.testing.assert_allclose(
            found.delta_measured[n], means(layer.delta, crossing), rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(found.delta_share[n], means(layer.delta > 0, crossing), rtol=1e-6)
        # The lift is a ratio of sums; a mean of ratios would be another number.
        lift = means(layer.block_mass, real) / (n_in / n_keys)[real].mean()
        np.testing.assert_allclose(found.block_mass_lift[n], lift, rtol=1e-5)
        assert (np.abs(lift - means(layer.block_mass / (n_in / n_keys)[:, None], real)) > 1e-3).all()


@given(st.permutations(range(ROWS)), st.sets(st.integers(1, ROWS - 1)))
@settings(max_examples=25)
def test_merging_any_split_equals_the_whole(order: list[int], cuts: set[int]) -> None:
    """Counts exactly, sums to 1e-6 of their size (float32 sums on the device, float64 between them)."""
    whole = measured(np.arange(ROWS))
    merged = merge([measured(rows) for rows in np.split(np.array(order), sorted(cuts))])
    for name in COUNTS:
        np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name), err_msg=name)
    for name in FLOATS:
        np.testing.assert_allclose(
            getattr(merged, name), getattr(whole, name), rtol=1e-6, atol=1e-5, err_msg=name
        )


def test_every_field_is_tested_for_merging() -> None:
    kinds = ("pointer_mass", "pointer_uniform", "sink_mass", "sink_uniform")  # relation_sums_test
    elsewhere = ("places", "pointers", *kinds)  # places_test, pointers_test
    assert sorted((*FLOATS, *COUNTS, *elsewhere)) == sorted(
        field.name for field in dataclasses.fields(MetricSums)
    )


def test_host_sums_count_beyond_float32() -> None:
    """2²⁴ = 16,777,216 is where float32 stops counting; int32 stops at 2³¹."""
    one = measured(np.arange(ROWS))
    large = one.replace(targets=np.int32(2**31 - 1), correct=np.int32(2**24), loss=np.float32(2**24))
    small = one.replace(targets=np.int32(1), correct=np.int32(1), loss=np.float32(1))
    assert to_host(large).targets.dtype == np.int64
    merged = merge([to_host(large), to_host(small), to_host(small)])
    assert merged.targets == 2**31 + 1
    assert merged.correct == merged.loss == 2**24 + 2
    assert merged.correct.dtype == np.int64
    assert merged.loss.dtype == merged.entropy.dtype == np.float64


def test_padding_and_unscored_targets_count_nowhere() -> None:
    output, batch, _ = material()
    padded, unscored = DOC_IDS == -1, batch.weights == 0
    assert padded.any()
    assert (unscored & ~padded).any()
    logits = np.where(unscored[..., None], 50 * np.eye(VOCAB, dtype=np.float32)[1], output.logits)

    def spoil(x):
        return np.where(padded[None, :, None, :] if x.ndim == 4 else padded[None], x.dtype.type(99), x)

    spoiled = ModelOutput(output.features, logits, jax.tree.map(spoil, output.stats))
    targets = np.where(unscored, 1, batch.targets).astype(np.int32)
    jax.tree.map(
        np.testing.assert_array_equal,
        to_host(MEASURE(spoiled, batch.replace(targets=targets), BLOCKS)),
        measured(np.arange(ROWS)),
    )


def test_a_target_that_ties_for_the_largest_logit_is_ranked_first() -> None:
    output, batch, _ = material()
    level = ModelOutput(output.features, np.zeros_like(output.logits), output.stats)
    sums = MEASURE(level, batch, BLOCKS)
    assert int(sums.correct) == int(sums.targets)
    np.testing.assert_allclose(summarize(to_host(sums)).loss, np.log(VOCAB), rtol=1e-5)


@pytest.mark.parametrize(("length", "want"), [(128, 0.110), (256, 0.063)])
def test_block_mass_of_uniform_attention(length: int, want: float) -> None:
    """Causal windows of 5: mean of n_in / (t + 1). Uniform attention has that block mass, and a lift of 1."""
    zero = np.zeros((1, length, 1, 1), np.float32)
    batch = Batch.from_tokens(np.zeros((1, length), np.int32))
    ids = batch.positions // 5
    _, stats = jax.jit(lambda q: locality_attention(q, q, q, ids, lam=0.0, tau=1.0, margin=8.0, stats=True))(
        zero
    )
    output = ModelOutput(zero[..., 0], zero[..., 0], jax.tree.map(lambda x: x[None], stats))
    found = summarize(to_host(MEASURE(output, batch, ids)))
    exact = np.mean([(t % 5 + 1) / (t + 1) for t in range(length)])
    np.testing.assert_allclose(found.block_mass_uniform, exact, rtol=1e-5)
    np.testing.assert_allclose(exact, want, atol=6e-4)
    np.testing.assert_allclose(found.block_mass, exact, rtol=1e-5)
    np.testing.assert_allclose(found.block_mass_lift, 1.0, rtol=1e-5)
    assert found.delta_measured is None
    assert found.delta_share is None


def test_nothing_to_count_gives_no_division_by_zero() -> None:
    """A batch of padding alone, as an uneven last batch has on some host."""
    output, batch, _ = material()
    nothing = batch.replace(doc_ids=np.full_like(batch.doc_ids, -1), weights=np.zeros_like(batch.weights))
    sums = to_host(MEASURE(output, nothing, np.full_like(BLOCKS, -1)))
    found = summarize(sums)
    assert found.targets == found.loss == found.accuracy == 0
    assert (found.block_mass_lift == 0).all()
    assert found.delta_measured is None
    merged, whole = merge([sums, measured(np.arange(ROWS))]), measured(np.arange(ROWS))
    jax.tree.map(np.testing.assert_array_equal, merged, whole)


def test_scores_made_without_logits_count_alike() -> None:
    output, batch, _ = material()
    scores = jax.jit(target_scores)(output.logits, batch.targets)
    found = to_host(jax.jit(metric_sums)(output.replace(logits=None), batch, BLOCKS, scores))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), found, measured(np.arange(ROWS)))
    with pytest.raises(AssertionError, match="logits or scores"):
        metric_sums(output.replace(logits=None), batch, BLOCKS)


def test_merging_nothing_and_missing_statistics_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one batch"):
        merge([])
    output, batch, _ = material()
    with pytest.raises(AssertionError, match="stats=True"):
        metric_sums(output.replace(stats=None), batch, BLOCKS)


def test_perplexity_is_infinite_where_float64_ends() -> None:
    assert perplexity(0.0) == 1.0
    assert perplexity(np.log(50.0)) == pytest.approx(50.0)
    assert np.isfinite(perplexity(709.7)) and perplexity(709.8) == perplexity(np.inf) == np.inf
    assert np.isnan(perplexity(np.nan))

"""Tables of local entropy: against a dense table of counts, by hand, and what smoothing does."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aila_jax.partition.type_entropy import EntropySums, corpus_entropy
from tests.oracles import anchors as oracle


@given(
    st.integers(0, 2**32 - 1), st.integers(2, 9), st.integers(1, 60), st.sampled_from([0.01, 1.0, 100.0, 1e6])
)
@settings(max_examples=60)
def test_corpus_entropy_equals_a_dense_table(seed: int, vocab: int, pairs: int, prior: float) -> None:
    rng = np.random.default_rng(seed)
    first, second = (rng.integers(0, rng.integers(1, vocab + 1), pairs).astype(np.int32) for _ in range(2))
    found = corpus_entropy(first, second, vocab, prior)
    np.testing.assert_allclose(found.entropy, oracle.corpus_entropy(first, second, vocab, prior), atol=1e-7)
    np.testing.assert_array_equal(found.counts, np.bincount(first, minlength=vocab))
    assert found.entropy.dtype == np.float32
    assert (found.entropy >= 0).all()
    assert (found.entropy <= 1).all()


def test_corpus_entropy_by_hand() -> None:
    """0 is always followed by 1, 1 by 0 or 2 in turn; κ = 1 and u = (¼, ½, ¼). Type 3 never comes first."""
    first, second = np.array([0, 1, 0, 1]), np.array([1, 0, 1, 2])
    p0, p1 = [1 / 12, 10 / 12, 1 / 12], [5 / 12, 2 / 12, 5 / 12]
    bits = [-sum(x * math.log2(x) for x in p) / 2 for p in (p0, p1)]
    found = corpus_entropy(first, second, 4, prior=1.0)
    np.testing.assert_allclose(found.entropy, [bits[0], bits[1], bits[1], bits[1]], rtol=1e-6)
    np.testing.assert_array_equal(found.counts, [2, 2, 0, 0])


def test_a_large_prior_asks_for_evidence() -> None:
    """A type seen once looks certain with little smoothing and like any other with much."""
    rng = np.random.default_rng(0)
    tokens = np.concatenate([rng.integers(1, 20, 4000), [0], rng.integers(1, 20, 4000)]).astype(np.int32)
    sure = np.stack([np.full(500, 20), np.full(500, 3)], axis=1).reshape(-1)  # 20 is always followed by 3
    tokens = np.concatenate([tokens, sure.astype(np.int32)])
    order = {
        prior: np.argsort(corpus_entropy(tokens[:-1], tokens[1:], 21, prior).entropy)
        for prior in (0.01, 100.0)
    }
    assert set(order[0.01][:2].tolist()) == {0, 20}
    assert order[100.0][0] == 20
    assert list(order[100.0]).index(0) >= 2


@given(st.integers(0, 2**32 - 1), st.integers(0, 4))
@settings(max_examples=20)
def test_entropy_sums_are_means_by_type_over_any_split(seed: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    tokens, values, where = (
        rng.integers(0, 5, (4, 6)),
        rng.random((4, 6)).astype(np.float32),
        rng.random((4, 6)) < 0.6,
    )
    where[0, 0] = True
    sums = EntropySums(7)
    for rows in (slice(0, cut), slice(cut, 4)):
        sums.add(tokens[rows], values[rows], where[rows])
    found = sums.table()
    by_type = [
        [float(v) for v, t, w in zip(values.flat, tokens.flat, where.flat, strict=True) if w and t == name]
        for name in range(7)
    ]
    means = [sum(group) / len(group) if group else None for group in by_type]
    largest = max(mean for mean in means if mean is not None)
    np.testing.assert_allclose(
        found.entropy, [largest if mean is None else mean for mean in means], rtol=1e-6
    )
    np.testing.assert_array_equal(found.counts, [len(group) for group in by_type])


def test_blocks_without_a_second_key_are_refused() -> None:
    with pytest.raises(ValueError, match="no query has two keys in its block"):
        EntropySums(3).table()


def test_the_published_vocabulary_fits_in_memory_and_time() -> None:
    """33,278 types: a dense table would take 8.9 GB."""
    rng = np.random.default_rng(0)
    tokens = (rng.zipf(1.3, 200_000) % 33_278).astype(np.int32)
    found = corpus_entropy(tokens[:-1], tokens[1:], 33_278)
    assert found.entropy.shape == (33_278,)
    a = int(np.bincount(tokens).argmax())
    unigram = np.bincount(tokens[1:], minlength=33_278) / (len(tokens) - 1)
    p = np.bincount(tokens[1:][tokens[:-1] == a], minlength=33_278) + 100 * unigram
    p = p[p > 0] / p.sum()
    np.testing.assert_allclose(found.entropy[a], -np.sum(p * np.log2(p)) / np.log2(33_278), rtol=1e-6)

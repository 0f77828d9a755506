"""Rank correlation: SciPy's Spearman, hand-solved ties, and the interval's coverage of clusters."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from aila_jax.metrics.ranks import rank_correlation


def test_the_value_is_scipys_with_ties_and_the_mean_over_strata():
    draw = np.random.default_rng(0)
    first = draw.integers(0, 6, 60).astype(float)
    second = first + 3 * draw.standard_normal(60)
    clusters, strata = np.repeat(np.arange(15), 4), np.tile([0, 0, 1, 1], 15)
    found = rank_correlation(first, second, clusters)
    assert found.value == pytest.approx(spearmanr(first, second)[0])
    assert (found.count, found.low < found.value < found.high) == (60, True)
    inside = rank_correlation(first, second, clusters, strata)
    assert inside.value == pytest.approx(
        np.mean([spearmanr(first[strata == s], second[strata == s])[0] for s in (0, 1)])
    )
    assert rank_correlation(first, -second, clusters).value == pytest.approx(-found.value)
    np.testing.assert_allclose(rank_correlation(first, np.exp(second), clusters).low, found.low)


def test_a_constant_side_has_no_correlation():
    found = rank_correlation(np.ones(6), np.arange(6.0), np.arange(6))
    assert (found.value, found.low, found.high, found.count) == (None, None, None, 6)


def test_copies_of_a_row_do_not_narrow_the_interval():
    """Eight equal rows a cluster say no more than one."""
    draw = np.random.default_rng(1)
    first, second = draw.standard_normal((2, 20))
    once = rank_correlation(first, second, np.arange(20))
    often = rank_correlation(np.repeat(first, 8), np.repeat(second, 8), np.repeat(np.arange(20), 8))
    assert (often.low, often.high) == pytest.approx((once.low, once.high), abs=0.01)
    assert once.high - once.low > 0.6


def test_clusters_of_unequal_size_are_refused():
    with pytest.raises(
        ValueError, match=r"rows of a cluster is \[2, 1\]; it must be as many in each cluster"
    ):
        rank_correlation(np.arange(3.0), np.arange(3.0), np.array([0, 0, 1]))

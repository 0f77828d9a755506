"""Measures of answers and sources, against published values, counting and quadrature."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aila_jax.metrics.answers import (
    Z95,
    SourceCounts,
    bootstrap,
    canonical,
    cited,
    comprehensiveness,
    exact_match,
    sufficiency,
    wilson,
)


def test_answers_are_compared_in_canonical_form() -> None:
    assert canonical("  The STRASSE.\n") == "the strasse"
    assert exact_match("Straße .", "strasse") and exact_match("a  b.", "A b")
    assert not exact_match("a..", "a") and not exact_match("ab", "a b") and exact_match("a..", "a.. ")


@given(st.integers(0, 400), st.integers(1, 400))
def test_the_interval_holds_the_shares_that_a_score_test_does_not_reject(hits: int, count: int) -> None:
    hits = min(hits, count)
    found = wilson(hits, count)
    assert found.value == hits / count and 0.0 <= found.low <= found.value <= found.high <= 1.0
    # Wilson's ends are where |p̂ − p| = z √(p(1 − p)/n): solved by bisection, not by the formula.
    for end, other in ((found.low, 0.0), (found.high, 1.0)):
        inner, outer = hits / count, other
        for _ in range(80):
            middle = (inner + outer) / 2
            rejected = (hits / count - middle) ** 2 * count > Z95**2 * middle * (1 - middle)
            inner, outer = (inner, middle) if rejected else (middle, outer)
        assert math.isclose(end, inner, abs_tol=1e-9)


def test_of_nothing_nothing_is_known() -> None:
    found = wilson(0, 0)
    assert math.isnan(found.value) and (found.low, found.high) == (0.0, 1.0)
    with pytest.raises(ValueError, match=r"hits is 3; it must be from 0 to count \(2\)"):
        wilson(3, 2)
    assert math.isnan(bootstrap([], 0).value)


def test_the_bootstrap_agrees_with_the_normal_interval_of_a_large_sample() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 4000)
    found, half = bootstrap(values, seed=1), Z95 * values.std() / math.sqrt(4000)
    assert found.value == values.mean() and found.count == 4000
    assert abs(found.low - (values.mean() - half)) < half / 8
    assert abs(found.high - (values.mean() + half)) < half / 8
    assert found == bootstrap(values, seed=1) != bootstrap(values, seed=2)


def test_sources_are_counted() -> None:
    assert cited([0.1, 0.5, 0.5, 0.2], 1) == (1,)
    assert cited([0.1, 0.5, 0.5, 0.2], 3) == (1, 2, 3)
    assert cited([-math.inf, 0.0], 0) == () and cited([-math.inf, -1.0], 1) == (1,)
    with pytest.raises(ValueError, match="count is 3"):
        cited([0.1, 0.2], 3)
    with pytest.raises(ValueError, match="scores"):
        cited([0.1, math.nan], 1)
    both = SourceCounts.of((0, 2), (2, 3, 4)) + SourceCounts.of((1,), (1,)) + SourceCounts.of((5,), ())
    assert (both.hits, both.cited, both.planted) == (2, 4, 4)
    assert both.precision == wilson(2, 4) and both.recall == wilson(2, 4)
    uneven = SourceCounts.of((0, 2), (2, 3, 4))
    assert uneven.precision.value == 1 / 2 and uneven.recall.value == 1 / 3


def test_rationales_are_judged_by_probabilities() -> None:
    whole, rest = np.log([0.9, 0.5]), np.array([math.log(0.1), -math.inf])
    np.testing.assert_allclose(comprehensiveness(whole, rest), [0.8, 0.5], atol=1e-12)
    np.testing.assert_allclose(sufficiency(whole, np.log([0.95, 0.25])), [-0.05, 0.25], atol=1e-12)

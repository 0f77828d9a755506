"""The formulas of docs/certificates.md against those of the oracle, one by one, and at the edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aila_jax.guarantees import bounds
from tests.oracles import bounds as oracle

counts = st.tuples(st.integers(1, 3000), st.integers(0, 3000))
nats = st.floats(-200, 200)
taus = st.floats(0.05, 20)
CLOSE = {"rtol": 1e-11, "atol": 1e-300}


@given(counts, nats, taus, st.floats(0, 50))
def test_masses_are_those_of_the_oracle(pair: tuple[int, int], imposed: float, tau: float, s: float) -> None:
    n_in, n_out = pair
    upper = bounds.out_mass_bound(n_in, n_out, bounds.fixed_gap(imposed, s), tau)
    np.testing.assert_allclose(upper, oracle.mass_upper(n_in, n_out, imposed, s, tau), **CLOSE)
    np.testing.assert_allclose(
        bounds.out_mass_bound(n_in, n_out, imposed + 2 * s, tau),
        oracle.mass_lower(n_in, n_out, imposed, s, tau),
        **CLOSE,
    )
    inside = oracle.sigmoid((imposed - 2 * s) / tau - np.log(n_out / n_in)) if n_out else 1.0
    np.testing.assert_allclose(bounds.block_mass_bound(n_in, n_out, imposed - 2 * s, tau), inside, **CLOSE)


@given(
    counts,
    st.floats(0, 1),
    taus,
    st.floats(0, 3),
    st.floats(0, 20),
    st.floats(0, 40),
    st.sampled_from([0.5, 1.0, 4.0]),
)
def test_the_self_scaling_gap_is_the_least_over_all_ranges(
    pair, share: float, tau: float, c: float, m0: float, s: float, bend: float
) -> None:
    """No range r from 0 to 2S has a smaller gap, (λ^b · c − 1) · r + λm₀, and one of its ends has this
    one.
    """
    n_in, n_out = pair
    found = bounds.out_mass_bound(n_in, n_out, bounds.self_scaling_gap(share, c, m0, s, bend), tau)
    gaps = [(share**bend * c - 1) * r + share * m0 for r in np.linspace(0, 2 * s, 5)]
    each = [oracle.sigmoid(np.log(n_out / n_in) - gap / tau) if n_out else 0.0 for gap in gaps]
    np.testing.assert_allclose(found, max(each), rtol=1e-9, atol=1e-300)


@given(counts, st.floats(0, 1))
def test_entropy_is_that_of_the_oracle(pair: tuple[int, int], epsilon: float) -> None:
    n_in, n_out = pair
    np.testing.assert_allclose(
        bounds.entropy_bound(n_in, n_out, epsilon),
        oracle.entropy_upper(n_in, n_out, epsilon),
        rtol=1e-9,
        atol=1e-9,
    )
    assert bounds.entropy_bound(n_in, n_out, epsilon) <= np.log2(n_in + n_out) + 1e-12


@given(st.integers(1, 6), st.integers(0, 6), st.floats(0, 1), st.integers(0, 10_000))
def test_no_weights_have_more_entropy(n_in: int, n_out: int, epsilon: float, seed: int) -> None:
    """Any weights with at most ε outside; equal weights on each side attain it."""
    draw = np.random.default_rng(seed)
    outside = min(epsilon, n_out / (n_in + n_out)) * draw.choice([1.0, draw.random()])
    for inside_weights, outside_weights in (
        (np.ones(n_in), np.ones(n_out)),
        (draw.random(n_in), draw.random(n_out)),
    ):
        weights = np.concatenate(
            [
                (1 - outside) * inside_weights / inside_weights.sum(),
                outside * outside_weights / (outside_weights.sum() or 1),
            ]
        )
        entropy = -np.sum(weights[weights > 0] * np.log2(weights[weights > 0]))
        assert entropy <= bounds.entropy_bound(n_in, n_out, epsilon) + 1e-9


@given(st.integers(1, 500), st.integers(1, 500), taus, st.floats(0, 30), st.floats(0.001, 0.999))
def test_the_required_margin_is_just_enough(
    n_in: int, n_out: int, tau: float, s: float, target: float
) -> None:
    needed = float(bounds.required_margin(target, n_in, n_out, s, tau))
    np.testing.assert_allclose(
        needed, max(0.0, oracle.margin_needed(n_in, n_out, s, tau, 1 - target)), rtol=1e-6, atol=1e-6
    )
    mass = oracle.mass_upper(n_in, n_out, needed, s, tau)
    assert mass <= (1 - target) * (1 + 1e-6)
    if needed > 0:
        np.testing.assert_allclose(mass, 1 - target, rtol=1e-6)


def test_everything_broadcasts_over_lambda_tau_and_counts() -> None:
    lam, tau, n_out = np.linspace(0, 1, 5)[:, None, None], np.array([0.5, 1.0])[:, None], np.arange(4)
    found = bounds.block_mass_bound(1, n_out, bounds.fixed_gap(lam * 20.0, 3.0), tau)
    assert found.shape == (5, 2, 4)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found[3, 0, 2], 1 - oracle.mass_upper(1, 2, 15.0, 3.0, 0.5), rtol=1e-12)
    assert (
        bounds.entropy_bound(1, n_out, 1 - found).shape
        == bounds.required_margin(0.9, 1, n_out, lam, tau).shape
        == (5, 2, 4)
    )


def test_edges_are_exact_and_silent() -> None:
    """Margins of 10,000 nats at τ of 0.01, no key outside, hard attention: no warning (they are errors here),
    no NaN.
    """
    assert bounds.out_mass_bound(1, 0, -50.0, 1.0) == 0.0
    assert bounds.block_mass_bound(1, 0, -50.0, 1.0) == 1.0
    assert bounds.out_mass_bound(1, 255, 1e4, 0.01) == 0.0
    assert bounds.out_mass_bound(1, 255, -1e4, 0.01) == 1.0
    assert bounds.block_mass_bound(1, 255, -1e4, 0.01) == 0.0
    assert bounds.out_mass_bound([1, 3], [4, 0], np.inf, 1.0).tolist() == [0.0, 0.0]
    assert bounds.entropy_bound([4, 1, 1], [0, 0, 3], [0.0, 0.0, 1.0]).tolist() == [2.0, 0.0, 2.0]
    np.testing.assert_allclose(
        bounds.out_mass_bound(1, 1, 100.0, 1.0), np.exp(-100.0), rtol=1e-12
    )  # not lost in 1 − (1 − w)
    assert bounds.required_margin(0.9, 1, 0, 5.0) == 0.0
    assert bounds.required_margin(0.1, 10, 1, 0.0) == 0.0


def test_the_guarantee_that_the_method_states() -> None:
    """n_in = 1, n_out = 255, λ = c = 1, m₀ = 8: at least .92, at any S."""
    for s in (0.0, 1e6):
        assert 0.92 < bounds.block_mass_bound(1, 255, bounds.self_scaling_gap(1.0, 1.0, 8.0, s), 1.0) < 0.9215


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bounds.out_mass_bound([1, 0], 3, 1.0, 1.0), r"n_in is .*0.*; it must be at least 1\. Fix"),
        (lambda: bounds.entropy_bound(1, -1, 0.5), r"n_out is .*-1.*; it must be at least 0\. Fix"),
        (
            lambda: bounds.block_mass_bound(1, 3, 1.0, 0.0),
            r"tau is 0\.0; it must be finite and above 0\. Fix",
        ),
        (lambda: bounds.block_mass_bound(1, 3, 1.0, np.nan), r"tau is nan; it must be"),
        (
            lambda: bounds.required_margin(1.0, 1, 3, 1.0),
            r"target_mass is 1\.0; it must be above 0 and below 1\. Fix: 0\.9",
        ),
        (
            lambda: bounds.required_margin([0.5, 0.0], 1, 3, 1.0),
            r"target_mass is \[0\.5, 0\.0\]; it must be above 0",
        ),
    ],
)
def test_bad_input_is_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

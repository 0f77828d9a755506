"""The certificate of docs/method.md (section 2) as properties: any scores, any blocks, S that of the case at
hand.
"""

from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aila_jax.model.attention import locality_attention
from aila_jax.model.margin import SelfScaling
from tests.oracles import bounds
from tests.oracles.attention import score_range
from tests.oracles.cases import exposing

LENGTH = 6
# relative: z reaches 1e3 here, and float32 keeps it to 6e-5; a few such errors add up in the exponent
ROUNDING = 1e-3
TINY = 1e-36  # below it float32 underflows

ids = st.lists(st.sampled_from([-2, 0, 1, 2]), min_size=LENGTH, max_size=LENGTH).map(
    lambda x: np.array([x], np.int32)
)
dial = st.tuples(st.floats(0, 1, width=32), st.sampled_from([0.25, 0.5, 1.0, 2.0]))


@st.composite
def scores(draw) -> np.ndarray:
    """[1, L, L] in ±30: anything from ties and opposite extremes to nearly equal values."""
    size = draw(st.sampled_from([0.1, 3.0, 30.0]))
    flat = draw(
        st.lists(
            st.sampled_from([-1.0, 0.0, 1.0]) | st.floats(-1, 1, width=32),
            min_size=LENGTH**2,
            max_size=LENGTH**2,
        )
    )
    return size * np.array(flat, np.float32).reshape(1, LENGTH, LENGTH)


@partial(jax.jit, static_argnames="margin")
def self_scaled(q, k, v, block_ids, lam, tau, margin):
    return locality_attention(q, k, v, block_ids, lam=lam, tau=tau, margin=margin, scale=1.0, stats=True)


@jax.jit
def fixed(q, k, v, block_ids, lam, tau, margin):
    return locality_attention(q, k, v, block_ids, lam=lam, tau=tau, margin=margin, scale=1.0, stats=True)


def per_query(found, block_ids):
    """(t, n_in, n_out, out-of-block mass, entropy) of each query; the mass is summed outside, since 1 − block
    mass cancels.
    """
    out, stats = found
    weights, row = np.asarray(out, np.float64)[0, :, 0], block_ids[0]
    for t in range(LENGTH):
        same = [row[j] == row[t] or -2 in (row[j], row[t]) for j in range(t + 1)]
        n_in = sum(same)
        yield (
            t,
            n_in,
            t + 1 - n_in,
            sum(w for w, inside in zip(weights[t], same, strict=False) if not inside),
            float(stats.entropy_bits[0, 0, t]),
        )


def check_certificate(
    s: np.ndarray, block_ids: np.ndarray, lam: float, tau: float, margin: float, bound: float
) -> None:
    """Every inequality with |s_tj| ≤ `bound`."""
    found = fixed(*exposing(s), block_ids, np.float32(lam), np.float32(tau), np.float32(margin))
    for _, n_in, n_out, mass, entropy in per_query(found, block_ids):
        upper, lower = (
            f(n_in, n_out, lam * margin, bound, tau) for f in (bounds.mass_upper, bounds.mass_lower)
        )
        assert mass <= upper * (1 + ROUNDING) + TINY
        assert mass >= lower * (1 - ROUNDING) - TINY
        assert entropy <= bounds.entropy_upper(n_in, n_out, upper) + 1e-4


def attaining(sign: float, bound: float) -> tuple[np.ndarray, np.ndarray]:
    """The worst case (sign +1) or the best (−1): keys outside the block at sign · S, those inside at −sign ·
    S.
    """
    block_ids = np.array([[0, 1, 0, 1, 1, 0]], np.int32)
    same = block_ids[0][:, None] == block_ids[0][None, :]
    return np.where(same, -sign * bound, sign * bound)[None].astype(np.float32), block_ids


@given(scores(), ids, dial, st.floats(0, 80, width=32))
@settings(max_examples=60)
def test_certificate_holds(
    s: np.ndarray, block_ids: np.ndarray, dial_values: tuple[float, float], margin: float
) -> None:
    lam, tau = dial_values
    check_certificate(s, block_ids, lam, tau, margin, float(np.abs(s[0][np.tri(LENGTH, dtype=bool)]).max()))


@pytest.mark.parametrize(
    ("sign", "formula"), [(1.0, bounds.mass_upper), (-1.0, bounds.mass_lower)], ids=["upper", "lower"]
)
def test_mass_bounds_are_attained(sign: float, formula) -> None:
    s, block_ids = attaining(sign, 2.5)
    found = fixed(*exposing(s), block_ids, np.float32(0.7), np.float32(0.5), np.float32(6.0))
    for _, n_in, n_out, mass, entropy in per_query(found, block_ids):
        want = formula(n_in, n_out, 0.7 * 6.0, 2.5, 0.5)
        np.testing.assert_allclose(mass, want, rtol=2e-5)
        np.testing.assert_allclose(entropy, bounds.entropy_of_split(want, n_in, n_out), atol=2e-5)


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["upper", "lower"])
def test_certificate_fails_with_an_understated_bound(sign: float) -> None:
    s, block_ids = attaining(sign, 2.5)
    check_certificate(s, block_ids, 0.7, 0.5, 6.0, bound=2.5)
    with pytest.raises(AssertionError):
        check_certificate(s, block_ids, 0.7, 0.5, 6.0, bound=2.49)


@pytest.mark.parametrize("epsilon", [0.5, 0.1, 1e-3])
def test_the_margin_needed_is_just_enough(epsilon: float) -> None:
    s, block_ids = attaining(1.0, 2.5)
    for query in range(1, LENGTH):
        n_in = sum(block_ids[0, j] == block_ids[0, query] for j in range(query + 1))
        n_out = query + 1 - n_in
        if n_out:
            margin = bounds.margin_needed(n_in, n_out, 2.5, 0.5, epsilon)
            found = fixed(*exposing(s), block_ids, np.float32(1), np.float32(0.5), np.float32(margin))
            mass = next(mass for t, *_, mass, _ in per_query(found, block_ids) if t == query)
            np.testing.assert_allclose(mass, epsilon, rtol=2e-5)


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "norms"])
@pytest.mark.parametrize(
    ("c", "m0", "bend"), [(1.0, 8.0, 1.0), (0.25, 1.0, 1.0), (2.0, 0.0, 1.0), (2.0, 4.0, 3.0)]
)
def test_self_scaling_certificate(exact: bool, c: float, m0: float, bend: float) -> None:
    margin = SelfScaling(c, m0, exact=exact, bend=bend)

    @given(scores(), ids, dial)
    @settings(max_examples=40)
    def holds(s, block_ids, dial_values) -> None:
        lam, tau = dial_values
        q, k, v = exposing(s)
        found = self_scaled(q, k, v, block_ids, np.float32(lam), np.float32(tau), margin)
        r = score_range(q, k, block_ids, exact=exact, scale=1.0)
        for t, n_in, n_out, mass, _ in per_query(found, block_ids):
            bent = c * lam ** (bend - 1)
            assert (
                mass
                <= bounds.mass_self_scaling(n_in, n_out, lam, bent, m0, r[0, 0, t], tau) * (1 + ROUNDING)
                + TINY
            )
            if lam * bent >= 1:
                assert (
                    mass
                    <= bounds.mass_self_scaling(n_in, n_out, 1.0, 1.0, lam * m0, 0.0, tau) * (1 + ROUNDING)
                    + TINY
                )

    holds()


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "norms"])
def test_self_scaling_bound_is_attained(exact: bool) -> None:
    """Keys along ±e, queries against their own block's: the scores are −20 inside and 20 outside: r is 40,
    and 1 % more from norms.
    """
    _, block_ids = attaining(1.0, 20.0)
    side = np.where(block_ids[0] == 0, 1.0, -1.0)
    k = np.zeros((1, LENGTH, 1, LENGTH), np.float32)
    k[0, :, 0, 0] = side
    weights = exposing(np.zeros((1, LENGTH, LENGTH)))[2]
    found = self_scaled(
        -20 * k, k, weights, block_ids, np.float32(1), np.float32(1), SelfScaling(1.0, 8.0, exact=exact)
    )
    for _, n_in, n_out, mass, _ in per_query(found, block_ids):
        want = bounds.mass_self_scaling(n_in, n_out, 1.0, 1.0, 8.0 if exact else 8.4, 40.0, 1.0)
        assert want * (1 - 1e-3) <= mass <= want * (1 + 1e-5)


def test_the_guarantee_that_the_method_states() -> None:
    """At n_in = 1, n_out = 255, λ = c = 1, m₀ = 8: at least .92."""
    assert 0.92 < 1 - bounds.mass_self_scaling(1, 255, 1.0, 1.0, 8.0, 1e6, 1.0) < 0.9215

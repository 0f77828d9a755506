"""Tests of the draws of λ and τ, against NumPy moments and curricula worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax.config import LocalityConfig
from aila_jax.training.locality import curriculum, draw_locality, expected_lam, penalty_lam

DRAWS = 40_000
KEY = jax.random.key(5)


def draws(step: int = 0, **settings):
    lam, tau = draw_locality(LocalityConfig(**settings), 100, DRAWS, KEY, step)
    assert lam.dtype == tau.dtype == jnp.float32
    return np.asarray(lam, np.float64), np.asarray(tau, np.float64)


def assert_mean(sample, expected, deviation):
    """The mean lies within five standard errors of what it should be."""
    assert abs(np.mean(sample) - expected) < 5 * deviation / np.sqrt(len(sample))


@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
def test_conditional_draws_have_the_moments_of_a_power_of_a_uniform_number(power):
    lam, tau = draws(power=power)
    assert 0.0 <= lam.min() < 0.01
    assert 0.99 < lam.max() <= 1.0
    mean = 1 / (power + 1)
    assert_mean(lam, mean, np.sqrt(1 / (2 * power + 1) - mean**2))
    assert_mean(lam**2, 1 / (2 * power + 1), np.sqrt(1 / (4 * power + 1) - 1 / (2 * power + 1) ** 2))
    # P(λ ≤ x) = x^(1/power)
    for x in (0.1, 0.5, 0.9):
        share = x ** (1 / power)
        assert_mean(lam <= x, share, np.sqrt(share * (1 - share)))
    np.testing.assert_array_equal(tau, 1.0)


def test_shares_put_on_the_ends_are_exact_and_the_rest_stays_uniform():
    lam, _ = draws(at_zero=0.25, at_one=0.15)
    for share, hit in ((0.25, lam == 0.0), (0.15, lam == 1.0)):
        assert_mean(hit, share, np.sqrt(share * (1 - share)))
    between = lam[(lam > 0) & (lam < 1)]
    assert_mean(between, 0.5, np.sqrt(1 / 12))
    assert abs(np.corrcoef(lam[:-1], lam[1:])[0, 1]) < 5 / np.sqrt(DRAWS)


def test_each_step_has_one_draw_in_every_stratum_in_an_order_of_its_own():
    """Of 32 draws, 8 of each quarter of [0, 1] when λ is uniform, exactly 8 zeros and 4 ones where a quarter
    and an eighth are asked.
    """
    orders = []
    for step in range(20):
        lam, _ = draw_locality(LocalityConfig(power=2.0), 100, 32, KEY, step)
        np.testing.assert_array_equal(np.floor(np.sort(np.sqrt(lam)) * 32 + 1e-4), np.arange(32))
        orders.append(np.argsort(lam))
        ends, _ = draw_locality(LocalityConfig(power=2.0, at_zero=0.25, at_one=0.125), 100, 32, KEY, step)
        assert (np.sum(ends == 0.0), np.sum(ends == 1.0)) == (8, 4)
    # Where a sequence stands in the batch says nothing of its λ: the mean rank of each place is 15.5 within
    # five standard errors.
    ranks = np.argsort(orders, axis=1)
    assert np.abs(ranks.mean(axis=0) - 15.5).max() < 5 * np.sqrt((32**2 - 1) / 12 / 20)


def test_views_of_a_sequence_have_their_own_parts_of_the_distribution():
    """Three views of 8 sequences: a third at 0, the middle third of u², and the upper third, an eighth of all
    at 1; side by side.
    """
    config = LocalityConfig(power=2.0, at_zero=1 / 3, at_one=1 / 8, views=3, draw_tau=True)
    orders = []
    for step in range(20):
        lam, tau = draw_locality(config, 100, 8, KEY, step)
        assert lam.shape == tau.shape == (24,)
        first, middle, last = np.asarray(lam).reshape(8, 3).T
        assert (first == 0.0).all()
        between = 1 - 1 / 3 - 1 / 8
        assert ((middle > 0.0) & (middle <= (1 / 3 / between) ** 2 + 1e-6)).all()
        assert (last >= (1 / 3 / between) ** 2 - 1e-6).all()
        assert np.sum(lam == 1.0) == 3
        orders += [np.argsort(middle), np.argsort(last)]
    assert len({tuple(order) for order in orders}) > 30  # each view in an order of its own


def test_the_distribution_drifts_linearly_over_training():
    """From uniform to a half at 0, an eighth at 1 and the cube of a uniform number between; half-way a
    quarter, a sixteenth and the square.
    """
    config = LocalityConfig(drift=True, end_power=3.0, end_at_zero=0.5, end_at_one=0.125)
    for step, power, at_zero, at_one in ((0, 1.0, 0.0, 0.0), (50, 2.0, 0.25, 0.0625), (100, 3.0, 0.5, 0.125)):
        same = LocalityConfig(power=power, at_zero=at_zero, at_one=at_one)
        found, want = (np.asarray(draw_locality(one, 100, 4000, KEY, step)[0]) for one in (config, same))
        np.testing.assert_allclose(found, want, atol=1e-6)
        assert np.mean(found == 0.0) == pytest.approx(at_zero, abs=1 / 4000)
        # The penalty's λ is the mean of the draws of its step.
        np.testing.assert_allclose(penalty_lam(config, 100, 0, step), found.mean(), atol=1e-3)
    still = LocalityConfig(end_power=3.0, end_at_zero=0.5)
    np.testing.assert_array_equal(
        draw_locality(still, 100, 64, KEY, 90)[0], draw_locality(LocalityConfig(), 100, 64, KEY, 90)[0]
    )


@pytest.mark.parametrize(
    ("shares", "values"), [((1.0, 0.0), {0.0}), ((0.0, 1.0), {1.0}), ((0.5, 0.5), {0.0, 1.0})]
)
def test_shares_that_add_up_to_one_leave_nothing_between(shares, values):
    lam, _ = draws(at_zero=shares[0], at_one=shares[1])
    assert set(lam) == values


def test_tau_is_drawn_log_uniform_and_apart_from_lam():
    lam, tau = draws(draw_tau=True, tau_low=0.5, tau_high=2.0, tau=7.0)
    assert tau.min() >= 0.5 * (1 - 1e-6)
    assert tau.max() <= 2.0 * (1 + 1e-6)
    width = np.log(4.0)
    assert_mean(np.log(tau), 0.0, width / np.sqrt(12))
    assert_mean(np.log(tau) ** 2, width**2 / 12, width**2 * np.sqrt(1 / 80 - 1 / 144))
    assert_mean(tau <= 1.0, 0.5, 0.5)
    assert abs(np.corrcoef(lam, tau)[0, 1]) < 5 / np.sqrt(DRAWS)
    # Drawing τ as well leaves λ as it was.
    np.testing.assert_array_equal(lam, draws()[0])


def test_fixed_mode_gives_its_own_lam_and_tau():
    lam, tau = draws(mode="fixed", lam=0.6, tau=1.5)
    assert set(lam) == {float(np.float32(0.6))}
    assert set(tau) == {1.5}


# Of 100 steps, the rise is from step 20 to step 60 and ends at λ 0.8; a quarter, a half and three quarters of
# the way.
@pytest.mark.parametrize(("step", "linear", "cosine"), [
    (0, 0.0, 0.0),
    (20, 0.0, 0.0),
    (30, 0.2, 0.8 * 0.5 * (1 - np.sqrt(0.5))),
    (40, 0.4, 0.4),
    (50, 0.6, 0.8 * 0.5 * (1 + np.sqrt(0.5))),
    (60, 0.8, 0.8),
    (100, 0.8, 0.8),
])  # fmt: skip
def test_curriculum_rises_as_worked_out_by_hand(step, linear, cosine):
    for shape, expected in (("linear", linear), ("cosine", cosine)):
        config = LocalityConfig(mode="curriculum", lam=0.8, start=0.2, end=0.6, shape=shape)
        lam, _ = draw_locality(config, 100, 3, KEY, step)
        np.testing.assert_allclose(lam, np.full(3, expected), atol=1e-6)
        np.testing.assert_allclose(curriculum(config, step / 100), expected, atol=1e-6)


def test_a_draw_depends_on_key_and_step_and_on_nothing_else():
    config = LocalityConfig(draw_tau=True)

    def draw(key, step):
        return np.stack(draw_locality(config, 100, 16, key, step))

    first = draw(KEY, 3)
    draw(KEY, 50)  # what was drawn before does not matter
    np.testing.assert_array_equal(first, draw(KEY, 3))
    np.testing.assert_array_equal(first, draw(KEY, jnp.int32(3)))
    assert np.all(first != draw(KEY, 4))
    assert np.all(first != draw(jax.random.key(6), 3))


@pytest.mark.parametrize("mode", ["fixed", "curriculum", "conditional"])
def test_one_compilation_serves_every_step(mode):
    config = LocalityConfig(mode=mode, lam=0.5, draw_tau=True)
    draw = jax.jit(lambda key, step: draw_locality(config, 30, 4, key, step))
    for step in (0, 7, 29):
        for found, expected in zip(
            draw(KEY, np.int32(step)), draw_locality(config, 30, 4, KEY, step), strict=True
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert draw._cache_size() == 1


@pytest.mark.parametrize("settings", [
    {},
    {"power": 3.0},
    {"power": 0.5, "at_zero": 0.25},
    {"at_zero": 0.25, "at_one": 0.15},
    {"power": 2.0, "at_zero": 0.1, "at_one": 0.9},
])  # fmt: skip
def test_expected_lam_is_the_mean_of_the_draws(settings):
    lam, _ = draws(**settings)
    assert_mean(lam, expected_lam(LocalityConfig(**settings)), max(lam.std(), 1e-3))


def test_expected_lam_worked_out_by_hand():
    assert expected_lam(LocalityConfig()) == 0.5
    # 25 % at 0, 15 % at 1, the remaining 60 % with mean ¼: 0.15 + 0.15.
    assert expected_lam(LocalityConfig(power=3.0, at_zero=0.25, at_one=0.15)) == pytest.approx(0.3)


def test_lam_of_the_penalty_follows_the_mode_and_the_ramp():
    fixed = LocalityConfig(mode="fixed", lam=0.6)
    rising = LocalityConfig(mode="curriculum", lam=0.8, start=0.2, end=0.6)
    drawn = LocalityConfig(power=3.0)
    for step, fixed_lam, rising_lam, drawn_lam in (
        (0, 0.6, 0.0, 0.25),
        (30, 0.6, 0.2, 0.25),
        (40, 0.6, 0.4, 0.25),
        (99, 0.6, 0.8, 0.25),
    ):
        for config, expected in ((fixed, fixed_lam), (rising, rising_lam), (drawn, drawn_lam)):
            np.testing.assert_allclose(penalty_lam(config, 100, 0, step), expected, rtol=1e-6)
            # A ramp over 60 steps: 0 at step 0, half of it at step 30.
            np.testing.assert_allclose(
                penalty_lam(config, 100, 60, step), expected * min(1, step / 60), rtol=1e-6
            )

"""Exact identities of softmax with a margin (docs/method.md, section 2), used as oracles. Scores and weights
are laid open.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax.model.attention import locality_attention
from tests.oracles.attention import in_block
from tests.oracles.bounds import binary_entropy, sigmoid
from tests.oracles.cases import IDS, exposing

LENGTH = 11
LAM, TAU, MARGIN = 0.6, 0.7, 5.0


@partial(jax.jit, static_argnames="causal")
def attend(q, k, v, ids, lam, tau, margin, causal=True):
    return locality_attention(
        q, k, v, ids, lam=lam, tau=tau, margin=margin, causal=causal, scale=1.0, stats=True, delta=True
    )


class Case:
    """One row of two heads: s[h, t, j], weights[h, t, j], A_t and the block relation."""

    def __init__(self, seed: int, causal: bool, row: int = 1):
        self.s = np.random.default_rng(seed).normal(size=(2, LENGTH, LENGTH), scale=2.0).astype(np.float32)
        self.qkv = exposing(self.s)
        ids = self.ids = IDS[row : row + 1]
        index = np.arange(LENGTH)
        real = ids[0] != -1
        self.mask = (
            real[:, None] & real[None, :] & ((index[None, :] <= index[:, None]) | (not causal))
        ) | np.eye(LENGTH, dtype=bool)
        self.same = np.array([[in_block(a, b) for b in ids[0]] for a in ids[0]])
        out, self.stats = attend(*self.qkv, ids, LAM, TAU, MARGIN, causal)
        self.weights = np.asarray(out, np.float64)[0].transpose(1, 0, 2)
        self.z = np.where(self.mask, (self.s.astype(np.float64) - LAM * MARGIN * ~self.same) / TAU, -np.inf)
        self.w_in = np.asarray(self.stats.block_mass, np.float64)[0]
        self.entropy = np.asarray(self.stats.entropy_bits, np.float64)[0]


@pytest.fixture(params=[(0, True), (1, False)], ids=["causal", "bidirectional"], scope="module")
def case(request) -> Case:
    return Case(*request.param)


def log_sum_exp(z: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Over the last axis; −inf where nothing is there."""
    return np.array(
        [
            np.logaddexp.reduce(row[keep]) if keep.any() else -np.inf
            for row, keep in zip(z, where, strict=True)
        ]
    )


def entropy_bits(weights: np.ndarray) -> float:
    """Of weights that are normalised here; 0 for no weight at all."""
    weights = weights[weights > 0] / max(weights.sum(), 1e-300)
    return float(-np.sum(weights * np.log2(weights)))


def test_block_mass_is_one_plus_tau_times_the_slope_of_lse() -> None:
    """LSE_t = z_tt − ln α_tt, and z_tt does not depend on the margin, since t is in its own block."""
    case = Case(seed=2, causal=True)

    def lse(pushed):
        out, _ = locality_attention(*case.qkv, case.ids, lam=1.0, tau=TAU, margin=pushed, scale=1.0)
        return jnp.diagonal(jnp.asarray(case.s), axis1=1, axis2=2) / TAU - jnp.log(
            jnp.diagonal(out[0], axis1=0, axis2=2)
        )

    _, slope = jax.jit(lambda pushed: jax.jvp(lse, (pushed,), (jnp.float32(1),)))(jnp.float32(LAM * MARGIN))
    np.testing.assert_allclose(case.w_in, 1 + TAU * slope, atol=2e-5)
    assert 0.01 < case.w_in.min() < 0.9


def test_block_mass_is_the_sigmoid_of_the_lse_difference(case: Case) -> None:
    for h in range(2):
        inside, outside = (
            log_sum_exp(case.z[h], case.mask & case.same),
            log_sum_exp(case.z[h], case.mask & ~case.same),
        )
        np.testing.assert_allclose(
            case.w_in[h],
            [sigmoid(a - b) if b > -np.inf else 1.0 for a, b in zip(inside, outside, strict=True)],
            atol=1e-5,
        )


def test_entropy_splits_into_the_choice_of_side_and_the_sides(case: Case) -> None:
    for h, t in np.ndindex(2, LENGTH):
        w = case.w_in[h, t]
        alpha = case.weights[h, t]
        inside, outside = (entropy_bits(alpha[case.mask[t] & side]) for side in (case.same[t], ~case.same[t]))
        whole = binary_entropy(min(w, 1.0)) + w * inside + (1 - w) * outside
        np.testing.assert_allclose(case.entropy[h, t], whole, atol=3e-5)


def test_entropy_is_lse_minus_the_mean_logit(case: Case) -> None:
    for h in range(2):
        lse = log_sum_exp(case.z[h], case.mask)
        mean = np.sum(case.weights[h] * np.where(case.mask, case.z[h], 0.0), axis=-1)
        np.testing.assert_allclose(case.entropy[h] * np.log(2), lse - mean, atol=2e-5)


def test_delta_is_at_least_the_margin_less_twice_the_bound(case: Case) -> None:
    """Per query S is half the range of its scores, since what is constant in j cancels."""
    ranges = np.max(case.s, -1, where=case.mask, initial=-np.inf) - np.min(
        case.s, -1, where=case.mask, initial=np.inf
    )
    crossing = (case.mask & ~case.same).any(axis=-1)
    delta = np.asarray(case.stats.delta)[0]
    assert crossing.sum() >= 4
    assert (delta >= LAM * MARGIN - ranges - 1e-4)[:, crossing].all()
    assert (delta[:, ~crossing] == 0).all()


def test_out_of_block_mass_is_bounded_by_delta(case: Case) -> None:
    for h, t in np.ndindex(2, LENGTH):
        n_in, n_out = (case.mask[t] & case.same[t]).sum(), (case.mask[t] & ~case.same[t]).sum()
        if n_out:
            bound = sigmoid(np.log(n_out / n_in) - float(case.stats.delta[0, h, t]) / TAU)
            assert 1 - case.w_in[h, t] <= bound + 1e-5

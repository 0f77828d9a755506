"""Gradients of locality_attention: against autodiff's own check, against float64 finite differences, and
finite at the edges.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from aila_jax.model.attention import locality_attention
from aila_jax.model.margin import SelfScaling
from tests.oracles import attention as oracle
from tests.oracles.cases import DOCS, IDS, qkv

SHAPE = (1, 5, 2, 2)
BLOCKS = np.array([[0, 0, 1, 1, 0]], np.int32)
LAM, TAU = 0.6, 0.7


def scalar(q, k, v, lam, tau, margin):
    """A smooth number of the output: its product with fixed random weights."""
    out, _ = locality_attention(q, k, v, BLOCKS, lam=lam, tau=tau, margin=margin)
    return jnp.sum(out * np.random.default_rng(9).standard_normal(SHAPE).astype(np.float32))


def test_check_grads() -> None:
    q, k, v = qkv(0, SHAPE, size=1.0)
    check_grads(
        scalar,
        (q, k, v, jnp.float32(LAM), jnp.float32(TAU), jnp.float32(3)),
        order=1,
        modes=("rev",),
        atol=2e-2,
        rtol=2e-2,
        eps=1e-2,
    )


@pytest.mark.parametrize(
    "margin",
    [3.0, SelfScaling(1.0, 2.0), SelfScaling(1.0, 2.0, exact=False)],
    ids=["fixed", "exact", "norms"],
)
def test_gradients_equal_float64_finite_differences(margin) -> None:
    """The self-scaling margin is held at its value, as the gradient is stopped there."""
    arrays = qkv(1, SHAPE, size=1.0)
    found = jax.jit(jax.grad(scalar, argnums=(0, 1, 2, 3, 4)), static_argnums=5)(
        *arrays, jnp.float32(LAM), jnp.float32(TAU), margin
    )
    held = margin
    if isinstance(margin, SelfScaling):
        held = oracle.self_scaling(*arrays[:2], BLOCKS, c=margin.c, m0=margin.m0, exact=margin.exact)
    readout = np.random.default_rng(9).standard_normal(SHAPE).astype(np.float32)

    def value(*numbers) -> float:
        q, k, v, lam, tau = numbers
        return float(np.sum(oracle.attend(q, k, v, BLOCKS, lam=lam, tau=tau, margin=held).out * readout))

    numbers = [np.asarray(x, np.float64) for x in (*arrays, LAM, TAU)]
    step = 1e-6
    for which, gradient in enumerate(found):
        for index in np.ndindex(numbers[which].shape):
            ends = []
            for sign in (1, -1):
                moved = [x.copy() for x in numbers]
                moved[which][index] += sign * step
                ends.append(value(*moved))
            np.testing.assert_allclose(
                np.asarray(gradient)[index], (ends[0] - ends[1]) / (2 * step), atol=2e-5, rtol=2e-5
            )


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize(
    "margin", [8.0, SelfScaling(), SelfScaling(exact=False)], ids=["fixed", "exact", "norms"]
)
def test_gradients_are_finite_where_rows_are_masked(margin, hard: bool) -> None:
    """Padding rows see one key only; zero queries and keys have no norm to differentiate; statistics have
    gradients too.
    """
    q, k, v = qkv(2, size=5.0)
    q[0, :4], k[0, :4] = 0, 0

    def total(q, k, v, tau):
        out, stats = locality_attention(
            q, k, v, IDS, lam=1.0, tau=tau, margin=margin, doc_ids=DOCS, hard=hard, stats=True
        )
        return jnp.sum(out**2) + jnp.sum(stats.entropy_bits) + jnp.sum(stats.block_mass)

    gradients = jax.jit(jax.grad(total, argnums=(0, 1, 2, 3)))(q, k, v, jnp.float32(0.5))
    assert all(bool(jnp.isfinite(x).all()) for x in gradients)
    padded = IDS == -1
    np.testing.assert_array_equal(np.asarray(gradients[0])[padded], 0)
    np.testing.assert_array_equal(np.asarray(gradients[1])[padded], 0)

"""Token losses against float64 loops."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax.loss.cross_entropy import target_logits, target_scores, token_losses
from tests.oracles.losses import losses


@pytest.mark.parametrize("size", [1.0, 1e4], ids=["ordinary", "large"])
def test_token_losses_equal_float64(size: float) -> None:
    rng = np.random.default_rng(0)
    logits = (size * rng.standard_normal((2, 5, 7))).astype(np.float32)
    targets = rng.integers(0, 7, (2, 5)).astype(np.int32)
    np.testing.assert_allclose(token_losses(logits, targets), losses(logits, targets), rtol=1e-5, atol=1e-5)


def test_equal_logits_cost_the_logarithm_of_the_vocabulary() -> None:
    for value in (0.0, 3e4, -3e4):
        np.testing.assert_allclose(
            token_losses(np.full((1, 1, 8), value, np.float32), np.zeros((1, 1), np.int32)),
            math.log(8),
            atol=4e-3,
        )


def test_bfloat16_logits_are_widened_first() -> None:
    logits = jnp.asarray(np.random.default_rng(1).standard_normal((1, 3, 7)), jnp.bfloat16)
    targets = np.array([[0, 3, 6]], np.int32)
    found = token_losses(logits, targets)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, losses(np.asarray(logits, np.float64), targets), rtol=1e-5)


def test_gradient_is_softmax_less_one_hot() -> None:
    rng = np.random.default_rng(2)
    logits = (3 * rng.standard_normal((1, 4, 5))).astype(np.float32)
    targets = np.array([[1, 0, 4, 4]], np.int32)
    found = jax.jit(jax.grad(lambda x: jnp.sum(token_losses(x, targets))))(logits)
    wide = np.exp(logits.astype(np.float64))
    np.testing.assert_allclose(found, wide / wide.sum(-1, keepdims=True) - np.eye(5)[targets], atol=1e-6)


def test_target_logits_are_taken_exactly() -> None:
    logits = np.array([[[1e30, -3.5, 1e-30], [2.0, 4.0, -1e30]]], np.float32)
    np.testing.assert_array_equal(
        target_logits(logits, np.array([[1, 2]], np.int32)), np.float32([[-3.5, -1e30]])
    )


def test_target_scores_rank_a_tie_first() -> None:
    logits = np.array([[[1.0, 3.0, 3.0], [1.0, 3.0, 3.0], [1.0, 3.0, 3.0]]], np.float32)
    targets = np.array([[0, 1, 2]], np.int32)
    found = target_scores(logits, targets)
    np.testing.assert_array_equal(found.first, [[False, True, True]])
    np.testing.assert_allclose(found.losses, losses(logits, targets), rtol=1e-6)

"""Block soft-thresholding by hand and against float64 loops; the prox dial and the share of groups that it
zeroes.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax.loss.group_sparsity import (
    prox_dial,
    prox_dial_scale,
    query_key_kernels,
    shrink,
    sparsity,
    with_query_key_kernels,
)
from aila_jax.loss.importance import group_weights
from tests.oracles.group_sparsity import groups_of, shrunk
from tests.support.tiny import MODEL, fresh_params

GROUPS, HEADS = 3, MODEL.n_heads
A = np.asarray(group_weights(np.random.default_rng(0).random((HEADS, GROUPS)) + 0.1, HEADS, GROUPS))
dial = jax.jit(prox_dial)
shrunken = jax.jit(shrink)


def test_hand_solved_shrinkage():
    """Four groups of norm 5, 1, 0 and 2: less 2.5 halves the first; the second is below 2.5; 0 stays 0;
    threshold 0 keeps the last.
    """
    blocks = np.array([[3.0, 4.0], [0.6, 0.8], [0.0, 0.0], [0.0, -2.0]], np.float32)
    found = shrunken(
        jnp.asarray(blocks.reshape(1, 1, 4, 1, 2)), jnp.array([2.5, 2.5, 2.5, 0.0]).reshape(1, 1, 4, 1)
    )
    np.testing.assert_allclose(
        np.reshape(found, (4, 2)), [[1.5, 2.0], [0.0, 0.0], [0.0, 0.0], [0.0, -2.0]], rtol=1e-6
    )


def test_a_group_at_the_threshold_is_exactly_zero_and_a_zero_group_has_no_nan():
    found = shrunken(
        jnp.array([3.0, 4.0, 0.0, 0.0]).reshape(1, 1, 2, 1, 2), jnp.array([5.0, 0.0]).reshape(1, 1, 2, 1)
    )
    np.testing.assert_array_equal(found, 0.0)


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_dial_is_that_of_the_loops(lam):
    c = prox_dial_scale(fresh_params(), A, 0.5)
    after = groups_of(dial(fresh_params(), lam, A, c), GROUPS)
    for (layer, projection, group, head), block in groups_of(fresh_params(), GROUPS).items():
        expected = shrunk(block, lam * c * float(A[head, group]))
        np.testing.assert_allclose(after[layer, projection, group, head], expected, rtol=1e-4, atol=1e-6)


def test_dial_leaves_everything_else_and_lam_zero_leaves_all():
    after = dial(fresh_params(), 1.0, A, 10.0)
    same = with_query_key_kernels(after, query_key_kernels(fresh_params()))
    for old, new, untouched in zip(
        *map(jax.tree.leaves, (fresh_params(), same, dial(fresh_params(), 0.0, A, 10.0))), strict=True
    ):
        np.testing.assert_array_equal(old, new)
        np.testing.assert_array_equal(old, untouched)


@pytest.mark.parametrize(
    ("share", "count"), [(0.0, 0), (0.01, 1), (0.25, 6), (0.5, 12), (0.9, 22), (1.0, 24)]
)
def test_lam_one_zeroes_the_stated_share_of_all_groups(share, count):
    found = sparsity(dial(fresh_params(), 1.0, A, prox_dial_scale(fresh_params(), A, share)), GROUPS)
    assert (
        round(12 * float(found.zero_query + found.zero_key)) == count
    )  # of 2 layers · 2 heads · 3 groups each


def test_shares_out_of_reach_are_refused():
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=re.escape(f"share is {share!r}; it must be in [0, 1]. Fix: ")):
            prox_dial_scale(fresh_params(), A, share)
    unweighted = np.asarray(group_weights(np.array([1.0, 0.0, 1.0]), HEADS, GROUPS))
    assert prox_dial_scale(fresh_params(), unweighted, 2 / 3) > 0
    with pytest.raises(
        ValueError,
        match=r"share is 0.7; it must be at most 0.6667, since the other groups have a_i = 0. Fix: ",
    ):
        prox_dial_scale(fresh_params(), unweighted, 0.7)


def test_one_compilation_serves_every_setting():
    traced = []
    counted = jax.jit(lambda *arguments: traced.append(1) or prox_dial(*arguments))
    for lam, c in ((0.1, 0.2), (0.9, 3.0)):
        counted(fresh_params(), jnp.float32(lam), A * c, jnp.float32(c))
    assert len(traced) == 1

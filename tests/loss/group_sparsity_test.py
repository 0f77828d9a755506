"""The penalty against float64 loops; its gradient at 0; what it counts; that its strengths are traced."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax.loss.group_sparsity import (
    PenaltyArgs,
    Strength,
    group_norms,
    group_penalty,
    query_key_kernels,
    sparsity,
    value_penalty,
    with_query_key_kernels,
)
from aila_jax.loss.importance import anchor_weights, group_weights, size_weights
from aila_jax.model.feature_groups import group_sizes, group_sum, localist_support, spread
from tests.oracles.group_sparsity import groups_of, penalty
from tests.support.tiny import MODEL, fresh_params

GROUPS, HEADS, WIDTH, LAYERS = 3, MODEL.n_heads, MODEL.d_model, MODEL.n_layers
SCALE = np.array([0.25, 1.0], np.float32)
A = np.asarray(group_weights(np.random.default_rng(0).random((HEADS, GROUPS)), HEADS, GROUPS))


def args(lam=0.6, eta=0.05, nu=0.01, importance=A):
    return PenaltyArgs(
        Strength(jnp.float32(lam), jnp.float32(eta), jnp.float32(nu)),
        jnp.asarray(importance),
        jnp.asarray(SCALE),
    )


def zeroed(params, *places, value=0.0):
    """The parameters with these (layer, projection, coordinates, head) parts of the kernels set to 0."""
    kernels = np.array(query_key_kernels(params))
    for layer, projection, coordinates, head in places:
        kernels[layer, projection, coordinates, head] = value
    return with_query_key_kernels(params, jnp.asarray(kernels))


@pytest.mark.parametrize("scale_free", [False, True])
@pytest.mark.parametrize("groups", [1, 3, WIDTH])
def test_penalty_is_that_of_the_loops(groups, scale_free):
    importance = np.asarray(
        group_weights(np.random.default_rng(groups).random((HEADS, groups)), HEADS, groups)
    )
    found = jax.jit(group_penalty, static_argnums=2)(fresh_params(), args(importance=importance), scale_free)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(
        found, penalty(fresh_params(), importance, SCALE, 0.6 * 0.05, scale_free), rtol=1e-5
    )


def test_hand_solved_penalty():
    """One layer, one head, D 4 in two groups; W_Q groups have norms 5 and 0, W_K groups 1 and 2; a = (½,
    3/2): R = 2.5 + .5 + 3.
    """
    query = np.array([3.0, 4.0, 0.0, 0.0]).reshape(4, 1, 1)
    key = np.array([1.0, 0.0, 0.0, 2.0]).reshape(4, 1, 1)
    attention = {
        name: {"kernel": jnp.asarray(x, jnp.float32)}
        for name, x in (("query", query), ("key", key), ("value", key))
    }
    params = {"layer_0": {"attention": attention}}
    strength = Strength(jnp.float32(0.5), jnp.float32(0.1), jnp.float32(0.2))
    found = PenaltyArgs(strength, group_weights(np.array([1.0, 3.0]), 1, 2), jnp.ones(1))
    np.testing.assert_allclose(group_penalty(params, found), 0.5 * 0.1 * 6.0, rtol=1e-6)
    np.testing.assert_allclose(value_penalty(params, found), 0.2 * 5.0, rtol=1e-6)
    counts = sparsity(params, 2)
    assert (float(counts.zero_query), float(counts.zero_key), int(counts.dead_heads)) == (0.5, 0.0, 0)


def test_norms_and_groups_are_those_of_array_split():
    norms = np.asarray(group_norms(query_key_kernels(fresh_params()), GROUPS))
    assert norms.shape == (LAYERS, 2, GROUPS, HEADS)
    for place, block in groups_of(fresh_params(), GROUPS).items():
        np.testing.assert_allclose(norms[place], np.linalg.norm(block), rtol=1e-5)
    x = np.random.default_rng(1).random((2, WIDTH, 3)).astype(np.float32)
    for groups in (1, 3, 7, WIDTH):
        parts = np.array_split(x, groups, axis=1)
        assert [part.shape[1] for part in parts] == group_sizes(WIDTH, groups).tolist()
        np.testing.assert_allclose(
            group_sum(jnp.asarray(x), groups), np.stack([part.sum(1) for part in parts], 1), rtol=1e-6
        )
        owner = np.concatenate([np.full(part.shape[1], index) for index, part in enumerate(parts)])
        value = np.arange(groups, dtype=np.float32)[:, None]
        np.testing.assert_array_equal(spread(jnp.asarray(value), WIDTH)[:, 0], owner)


def test_kernels_make_the_trip_and_back_in_their_type():
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), fresh_params())
    kernels = query_key_kernels(half)
    assert kernels.dtype == jnp.float32
    again = with_query_key_kernels(half, kernels)
    assert jax.tree.structure(again) == jax.tree.structure(half)
    for old, new in zip(jax.tree.leaves(half), jax.tree.leaves(again), strict=True):
        assert old.dtype == new.dtype
        np.testing.assert_array_equal(old.astype(jnp.float32), new.astype(jnp.float32))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("scale_free", [False, True])
def test_gradient_is_finite_everywhere_and_zero_at_zero(dtype, scale_free):
    # Group 1 (coordinates 6 to 10) of one W_Q is 0, one head is dead, and one group is so small that its
    # square underflows.
    params = zeroed(fresh_params(), (0, 0, slice(6, 11), 1), (1, slice(None), slice(None), 0))
    params = zeroed(params, (0, 1, slice(0, 6), 0), value=1e-25)
    params = jax.tree.map(lambda x: x.astype(dtype), params)
    gradient = jax.jit(jax.grad(lambda p: group_penalty(p, args(), scale_free) + value_penalty(p, args())))(
        params
    )
    for leaf in jax.tree.leaves(gradient):
        assert leaf.dtype == dtype
        assert np.all(np.isfinite(np.asarray(leaf, np.float32)))
    kernels = np.asarray(query_key_kernels(gradient))
    np.testing.assert_array_equal(kernels[0, 0, 6:11, 1], 0.0)
    np.testing.assert_array_equal(kernels[1, :, :, 0], 0.0)
    assert np.abs(kernels[0, 0, :6, 1]).max() > 0


@pytest.mark.parametrize("scale_free", [False, True])
def test_gradient_away_from_zero_is_that_of_differences(scale_free):
    draw = np.random.default_rng(3)
    wide = jax.tree.map(lambda x: np.asarray(x, np.float64), fresh_params())
    direction = jax.tree.map(lambda x: draw.standard_normal(x.shape), wide)

    def along(t):
        moved = jax.tree.map(lambda x, towards: x + t * towards, wide, direction)
        return penalty(moved, A, SCALE, 0.03, scale_free)

    expected = (along(1e-5) - along(-1e-5)) / 2e-5
    gradient = jax.jit(jax.grad(lambda p: group_penalty(p, args(), scale_free)))(fresh_params())
    found = sum(
        np.sum(np.asarray(g) * d)
        for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_scale_free_form_does_not_change_with_the_scale_of_any_head():
    kernels = np.array(query_key_kernels(fresh_params()))
    factors = np.random.default_rng(2).uniform(0.01, 50, (LAYERS, 2, 1, HEADS, 1)).astype(np.float32)
    scaled = with_query_key_kernels(fresh_params(), jnp.asarray(kernels * factors))
    both = jax.jit(lambda p: (group_penalty(p, args()), *jax.value_and_grad(group_penalty)(p, args(), True)))
    (plain, one, gradient), (plain_scaled, other, _) = both(fresh_params()), both(scaled)
    np.testing.assert_allclose(one, other, rtol=1e-5)
    assert plain_scaled > 2 * plain
    # Its gradient is therefore orthogonal to each head's own weights, and does not shrink them.
    gradient = np.asarray(query_key_kernels(gradient))
    np.testing.assert_allclose(np.sum(gradient * kernels, axis=(2, 4)), 0.0, atol=1e-6)


def test_counts_zero_groups_of_query_and_key_apart_and_dead_heads():
    everything = slice(None)
    params = zeroed(fresh_params(), (0, 0, slice(0, 6), 1), (1, 1, everything, 0), (0, 1, slice(0, 5), 0))
    counts = sparsity(params, GROUPS)
    # 12 groups each: one of W_Q; of W_K the three of a head, and a group with five of its six coordinates at
    # 0, which is none.
    assert (float(counts.zero_query), float(counts.zero_key), int(counts.dead_heads)) == (
        np.float32(1 / 12),
        0.25,
        0,
    )
    dead = zeroed(params, (1, 0, everything, 0), (0, everything, everything, 1))
    assert int(sparsity(dead, GROUPS).dead_heads) == 2
    tiny = jax.tree.map(lambda x: x * 0 + 1e-30, fresh_params())  # their squares underflow; they are not 0
    assert float(sparsity(tiny, GROUPS).zero_query) == 0.0


def test_strengths_and_weights_are_traced():
    traces = []

    @jax.jit
    def value(params, given):
        traces.append(1)
        return group_penalty(params, given) + value_penalty(params, given)

    found = [
        float(value(fresh_params(), args(*setting)))
        for setting in ((0.0, 0.1, 0.0), (1.0, 0.1, 0.0), (1.0, 0.2, 0.0), (1.0, 0.2, 0.5))
    ]
    found.append(float(value(fresh_params(), args(1.0, 0.2, 0.5, importance=A[::-1]))))
    assert found[0] == 0.0
    assert found[2] == pytest.approx(2 * found[1], rel=1e-6)
    assert len(set(found)) == 5
    assert len(traces) == 1


def test_size_weights_are_roots_of_sizes_with_mean_one():
    found = np.asarray(size_weights(16, 2, 3))
    np.testing.assert_allclose(found[0], np.sqrt([6, 5, 5]) / np.mean(np.sqrt([6, 5, 5])), rtol=1e-6)
    np.testing.assert_array_equal(found[0], found[1])


def test_anchor_weights_and_their_inverse():
    np.testing.assert_allclose(
        anchor_weights(np.array([1.0, 3.0]), 2, 2, inverse=False), [[0.5, 1.5]] * 2, rtol=1e-6
    )
    np.testing.assert_allclose(
        anchor_weights(np.array([1.0, 3.0]), 2, 2, inverse=True), [[1.5, 0.5]] * 2, rtol=1e-6
    )
    heads = np.array([[1.0, 1.0], [2.0, 4.0]])
    np.testing.assert_allclose(anchor_weights(heads, 2, 2, inverse=False), heads / 2, rtol=1e-6)
    with pytest.raises(
        ValueError, match=re.escape("importance is 0.0; it must be above 0 for inverse weights. Fix: ")
    ):
        anchor_weights(np.array([0.0, 3.0]), 2, 2, inverse=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones(4), "importance.shape is (4,); it must be (3,) or (2, 3)"),
        (np.ones((3, 2)), "importance.shape is (3, 2); it must be (3,) or (2, 3)"),
        (np.ones(()), "importance.shape is (); it must be (3,) or (2, 3)"),
        (np.array([1.0, -0.5, 1.0]), "importance is -0.5; it must be finite and at least 0"),
        (np.array([1.0, np.nan, 1.0]), "importance is nan; it must be finite and at least 0"),
        (np.array([1.0, np.inf, 1.0]), "importance is inf; it must be finite and at least 0"),
        (np.zeros(3), "importance is 0.0; it must be above 0 for one group at least"),
    ],
)
def test_bad_weights_are_refused(values, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        group_weights(values, 2, 3)
    assert "Fix: " in str(caught.value)


@pytest.mark.parametrize("groups", [0, -1, 17])
def test_an_impossible_number_of_groups_is_refused(groups):
    with pytest.raises(
        ValueError, match=re.escape(f"groups is {groups}; it must be from 1 to the model's width (16). Fix: ")
    ):
        group_sizes(16, groups)


def test_localist_support_worked_out_by_hand():
    # D 8 in groups of 3, 3, 2; a third shared: the first of each group of 3, round(2/3) = 1 of the last.
    found = localist_support(8, 3, 1 / 3).astype(int)
    np.testing.assert_array_equal(
        found, [[1, 1, 1, 1, 0, 0, 1, 0], [1, 0, 0, 1, 1, 1, 1, 0], [1, 0, 0, 1, 0, 0, 1, 1]]
    )
    np.testing.assert_array_equal(localist_support(8, 3, 0.0).sum(0), 1)
    assert localist_support(8, 3, 1.0).all()


def test_a_group_of_weights_that_turn_with_the_dial_holds_both_parts():
    """One head, D 4 in two groups: of W_Q 3 and 0, of W′_Q 4 and 2, so norms 5 and 2; W_K and its W′ 0 and 1;
    a = 1: R = 5 + 2 + 0 + 1.
    """

    def kernel(*values):
        return {"kernel": jnp.asarray(values, jnp.float32).reshape(4, 1, 1)}

    attention = {
        "query": kernel(3, 0, 0, 0),
        "query_dial": kernel(0, 4, 0, 2),
        "key": kernel(0, 0, 0, 0),
        "key_dial": kernel(0, 0, 1, 0),
    }
    params = {
        "layer_0": {"attention": {**attention, "value": kernel(1, 0, 0, 0), "value_dial": kernel(0, 2, 0, 0)}}
    }
    found = PenaltyArgs(
        Strength(jnp.float32(1.0), jnp.float32(0.5), jnp.float32(0.1)), jnp.ones((1, 2)), jnp.ones(1)
    )
    np.testing.assert_allclose(group_penalty(params, found), 0.5 * 8.0, rtol=1e-6)
    np.testing.assert_allclose(value_penalty(params, found), 0.1 * 5.0, rtol=1e-6)
    counted = sparsity(params, 2)
    assert (counted.zero_query, counted.zero_key, counted.dead_heads) == (0.0, 0.5, 0.0)
    kernels = query_key_kernels(params)
    assert kernels.shape == (1, 2, 4, 1, 2)
    jax.tree.map(np.testing.assert_array_equal, with_query_key_kernels(params, kernels), params)
    doubled = with_query_key_kernels(params, 2 * kernels)["layer_0"]["attention"]
    for name, part in attention.items():
        np.testing.assert_array_equal(doubled[name]["kernel"], 2 * part["kernel"])
    np.testing.assert_array_equal(
        doubled["value_dial"]["kernel"], params["layer_0"]["attention"]["value_dial"]["kernel"]
    )

"""Tests of the schedule, of what is decayed, and of clipping, against AdamW written out in NumPy."""

from dataclasses import replace

import jax
import numpy as np
import optax
import pytest

from aila_jax.config import AdapterConfig, OptimizerKind, PenaltyConfig, TrainConfig
from aila_jax.training.optimizer import (
    build_optimizer,
    decayed,
    layer_matrices,
    learning_rate,
    learning_rates,
)
from tests.support.tiny import MODEL, fresh_params


def offset(**settings) -> optax.Schedule:
    """The schedule of runs from before `train.schedule` was a setting."""
    return learning_rate(TrainConfig(learning_rate=0.4, schedule="offset", **settings))


def test_the_offset_schedule_has_the_values_of_its_formula():
    rate = offset(steps=100, warmup_steps=20, final_rate=0.1)
    # Linear to step 20; then cosine from 0.4 to 0.04 over 80 steps, half way at step 60.
    for step, expected in ((0, 0.0), (5, 0.1), (10, 0.2), (20, 0.4), (60, 0.22), (100, 0.04), (500, 0.04)):
        np.testing.assert_allclose(rate(step), expected, rtol=1e-6, err_msg=f"step {step}")
    quarter = 0.04 + 0.36 * 0.5 * (1 + np.cos(np.pi / 4))
    np.testing.assert_allclose(rate(40), quarter, rtol=1e-6)


def test_without_warm_up_the_first_step_has_the_highest_rate():
    rate = offset(steps=10, warmup_steps=0, final_rate=0.0)
    np.testing.assert_allclose([rate(0), rate(5), rate(10)], [0.4, 0.2, 0.0], atol=1e-7)
    exact = learning_rates(TrainConfig(steps=11, learning_rate=0.4, warmup_steps=0, final_rate=0.0))
    np.testing.assert_allclose(exact[[0, 5, 10]], [0.4, 0.2, 0.0], atol=1e-7)


def test_an_offset_warm_up_longer_than_the_run_only_rises():
    rate = offset(steps=10, warmup_steps=100)
    np.testing.assert_allclose([rate(0), rate(5), rate(10)], [0.0, 0.2, 0.4], rtol=1e-6)


def test_step_k_of_the_warm_up_has_k_nths_and_the_last_step_the_final_rate():
    rates = learning_rates(TrainConfig(steps=10, warmup_steps=4, learning_rate=0.4, final_rate=0.1))
    np.testing.assert_allclose(rates[:4], [0.1, 0.2, 0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(rates[6], 0.22, rtol=1e-6)  # step 7, half way from step 4 to step 10
    np.testing.assert_allclose(rates[9], 0.04, rtol=1e-6)


@pytest.mark.parametrize(("steps", "warmup"), [(10, 3), (10, 0), (10, 9), (5, 100), (2, 1), (2, 100)])
def test_every_run_reaches_the_highest_rate_and_ends_at_the_final_one(steps, warmup):
    rates = learning_rates(TrainConfig(steps=steps, warmup_steps=warmup, learning_rate=1.0, final_rate=0.1))
    np.testing.assert_allclose([rates.max(), rates[-1]], [1.0, 0.1], rtol=1e-6)
    assert rates.min() >= 0.1


@pytest.mark.parametrize(("final_rate", "expected"), [(0.1, 0.1), (0.0, 1.0)])
@pytest.mark.parametrize("warmup", [0, 1, 100])
def test_a_run_of_one_step_learns(final_rate, expected, warmup):
    config = TrainConfig(steps=1, warmup_steps=warmup, learning_rate=1.0, final_rate=final_rate)
    np.testing.assert_allclose(learning_rates(config), [expected], rtol=1e-6)


def test_the_rates_of_all_steps_are_those_of_the_schedule():
    config = TrainConfig(steps=13, learning_rate=0.4, warmup_steps=5)
    rates = learning_rates(config)
    assert isinstance(rates, np.ndarray)  # read from the host, step by step
    np.testing.assert_allclose(rates, [learning_rate(config)(step) for step in range(13)], rtol=1e-6)


def test_matrices_are_decayed_and_vectors_are_not():
    names = {
        jax.tree_util.keystr(path, simple=True, separator="/"): (flag, leaf.ndim)
        for (path, flag), leaf in zip(
            jax.tree_util.tree_leaves_with_path(decayed(fresh_params())),
            jax.tree.leaves(fresh_params()),
            strict=True,
        )
    }
    assert all(flag == (rank >= 2) for flag, rank in names.values())
    vectors = {name.rpartition("/")[2] for name, (flag, _) in names.items() if not flag}
    assert vectors == {"bias", "scale", "film_scale", "film_shift"}
    assert {name for name, (flag, _) in names.items() if flag} >= {
        "embedding",
        "position",
        "layer_0/attention/query/kernel",
    }


def test_biases_of_heads_are_no_matrices_though_they_have_two_axes():
    projection = {"kernel": np.zeros((4, 2, 3)), "bias": np.zeros((2, 3))}
    assert decayed({"layer_0": {"attention": {"query": projection}}})["layer_0"]["attention"]["query"] == {
        "kernel": True,
        "bias": False,
    }


def adamw(params, gradients, config, rates):
    """AdamW after clipping by the global norm, in float64: the parameters after each of the gradients."""
    first = {name: np.zeros_like(x) for name, x in params.items()}
    second = {name: np.zeros_like(x) for name, x in params.items()}
    for count, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        norm = np.sqrt(sum(np.sum(x**2) for x in gradient.values()))
        gradient = {name: x * min(1.0, config.clip_norm / norm) for name, x in gradient.items()}
        for name, x in gradient.items():
            first[name] = 0.9 * first[name] + 0.1 * x
            second[name] = config.beta2 * second[name] + (1 - config.beta2) * x**2
            step = first[name] / (1 - 0.9**count) / (np.sqrt(second[name] / (1 - config.beta2**count)) + 1e-8)
            decay = config.weight_decay * params[name] if params[name].ndim >= 2 else 0.0
            params[name] = params[name] - rate * (step + decay)
    return params


@pytest.mark.parametrize("clip_norm", [0.5, 1e6])
def test_three_updates_are_those_of_adamw_with_clipping_and_decay_on_matrices(clip_norm):
    config = TrainConfig(
        steps=10,
        learning_rate=0.1,
        warmup_steps=0,
        final_rate=0.5,
        weight_decay=0.3,
        beta2=0.9,
        clip_norm=clip_norm,
    )
    draw = np.random.default_rng(0)
    params = {"matrix": draw.normal(size=(3, 2)), "vector": draw.normal(size=3)}
    gradients = [
        {name: draw.normal(size=x.shape) * scale for name, x in params.items()} for scale in (1.0, 0.01, 30.0)
    ]
    rates = [0.05 + 0.05 * 0.5 * (1 + np.cos(np.pi * step / 9)) for step in range(3)]

    optimizer = build_optimizer(config)
    found = jax.tree.map(lambda x: np.asarray(x, np.float32), params)
    state = optimizer.init(found)
    for gradient in gradients:
        updates, state = optimizer.update(
            jax.tree.map(lambda x: np.asarray(x, np.float32), gradient), state, found
        )
        found = optax.apply_updates(found, updates)
    expected = adamw(dict(params), gradients, config, rates)
    for name in params:
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-5, err_msg=name)


def test_the_dial_rate_scales_the_updates_of_dial_weights_and_of_nothing_else():
    params = fresh_params(replace(MODEL, dial_weights="qkv"))
    grads = jax.tree.map(lambda x: np.cos(np.arange(x.size, dtype=np.float32)).reshape(x.shape), params)
    updates = []
    for rate in (1.0, 0.25):
        optimizer = build_optimizer(TrainConfig(steps=10, warmup_steps=0, dial_rate=rate))
        updates.append(optimizer.update(grads, optimizer.init(params), params)[0])
    scaled = set()
    for (path, whole), part in zip(
        jax.tree_util.tree_leaves_with_path(updates[0]), jax.tree.leaves(updates[1]), strict=True
    ):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        turns = name.endswith("_dial/kernel")
        np.testing.assert_allclose(part, (0.25 if turns else 1.0) * whole, rtol=1e-6, err_msg=name)
        if turns:
            scaled.add(name.split("/")[-2])
    assert scaled == {"query_dial", "key_dial", "value_dial"}


def orthogonal(matrix):
    """Muon's five Newton-Schulz steps, in float64."""
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T).T
    x = matrix / np.linalg.norm(matrix)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.775 * square + 2.0315 * square @ square) @ x
    return x


def muon_steps(start, gradients, config, rates):
    """A matrix after each of the gradients: momentum 0.95, looked ahead, its mean corrected."""
    first = np.zeros_like(start)
    for count, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        first = 0.95 * first + 0.05 * gradient
        ahead = 0.95 * first / (1 - 0.95 ** (count + 1)) + 0.05 * gradient / (1 - 0.95**count)
        step = 0.2 * np.sqrt(max(start.shape)) * orthogonal(ahead)
        start = start - rate * (step + config.weight_decay * start)
    return start


@pytest.mark.parametrize(
    ("name", "shape", "matrix"),
    [
        ("query", (6, 2, 4), (6, 8)),
        ("out", (2, 4, 6), (8, 6)),
        ("out_down", (2, 4, 3), (8, 3)),
        ("out_up", (3, 6), (3, 6)),
        ("value_up", (3, 2, 4), (3, 8)),
        ("mlp_in", (6, 10), (6, 10)),
    ],
)
def test_three_updates_of_a_layers_matrix_are_those_of_muon(name, shape, matrix):
    config = TrainConfig(
        steps=10, learning_rate=0.1, warmup_steps=0, final_rate=0.5, weight_decay=0.3, clip_norm=1e6,
        optimizer="muon",
    )  # fmt: skip
    draw = np.random.default_rng(0)
    start, *gradients = draw.normal(size=(4, *shape))
    found = {"layer_1": {"attention": {name: {"kernel": np.asarray(start, np.float32)}}}}
    optimizer = build_optimizer(config)
    state = optimizer.init(found)
    for gradient in gradients:
        given = jax.tree.map(lambda _, one=gradient: np.asarray(one, np.float32), found)
        updates, state = optimizer.update(given, state, found)
        found = optax.apply_updates(found, updates)
    rates = [0.05 + 0.05 * 0.5 * (1 + np.cos(np.pi * step / 9)) for step in range(3)]
    expected = muon_steps(start.reshape(matrix), [one.reshape(matrix) for one in gradients], config, rates)
    np.testing.assert_allclose(jax.tree.leaves(found)[0].reshape(matrix), expected, rtol=2e-4, atol=2e-5)


def test_muon_moves_the_matrices_of_layers_and_all_else_as_adamw_does():
    params = fresh_params(replace(MODEL, film=True, adapters=AdapterConfig(rank=2)))
    grads = jax.tree.map(lambda x: np.cos(np.arange(x.size, dtype=np.float32)).reshape(x.shape), params)
    updates = []
    for kind in OptimizerKind:
        optimizer = build_optimizer(TrainConfig(steps=10, warmup_steps=0, optimizer=kind))
        updates.append(optimizer.update(grads, optimizer.init(params), params)[0])
    other = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for (path, one), two in zip(
            jax.tree_util.tree_leaves_with_path(updates[0]), jax.tree.leaves(updates[1]), strict=True
        )
        if not np.array_equal(one, two)
    }
    names = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree_util.tree_leaves_with_path(params)
    }
    assert other == {name for name in names if name.startswith("layer_") and name.endswith("kernel")}


def test_muon_decays_no_kernel_that_the_penalty_acts_on():
    params = fresh_params()
    still = jax.tree.map(np.zeros_like, params)
    config = TrainConfig(steps=10, warmup_steps=0, optimizer="muon")
    for penalty, moves in ((PenaltyConfig(), True), (PenaltyConfig(solver="subgradient", eta=1.0), False)):
        optimizer = build_optimizer(config, penalty)
        updates = optimizer.update(still, optimizer.init(params), params)[0]
        assert np.any(updates["layer_0"]["attention"]["query"]["kernel"]) == moves
        assert np.any(updates["layer_0"]["mlp_in"]["kernel"])


def test_a_matrix_is_read_along_its_input_axes():
    axes = layer_matrices(fresh_params(replace(MODEL, qkv_bias=True)))["layer_0"]["attention"]
    assert axes["query"]["kernel"] == ((0,), (1, 2))
    assert axes["out"]["kernel"] == ((0, 1), (2,))
    assert axes["query"]["bias"] is None

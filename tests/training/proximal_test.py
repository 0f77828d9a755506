"""The proximal solvers: single steps against NumPy, a group lasso solved in closed form, and what a naive
threshold does.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aila_jax.config import PenaltyConfig, TrainConfig
from aila_jax.loss.group_sparsity import (
    PenaltyArgs,
    Strength,
    query_key_kernels,
    shrink,
    with_query_key_kernels,
)
from aila_jax.loss.importance import group_weights
from aila_jax.training.optimizer import build_optimizer
from aila_jax.training.proximal import proximal_adamw
from tests.oracles.group_sparsity import shrunk

GROUPS, SIZE, WIDTH = 12, 2, 24  # 12 groups of 2 coordinates, one head with K = 2: 4 numbers a group
LEVEL = 0.1  # λη
A = np.asarray(group_weights(np.linspace(0.5, 1.5, GROUPS), 1, GROUPS))


def proximal_sgd(learning_rate):
    """The plainest solver, for comparison: W_i ← prox of lr · λ_ℓηa_i ‖·‖_F at W_i − lr · ∂loss/∂W_i on query
    and key kernels, plain descent on the rest.
    """

    def update(updates, state, params=None, *, penalty):
        old = query_key_kernels(params)
        new = shrink(old - learning_rate * query_key_kernels(updates), learning_rate * penalty.per_group())
        return with_query_key_kernels(jax.tree.map(lambda x: -learning_rate * x, updates), new - old), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def args(lam_eta, importance=A, layers=1):
    strength = Strength(jnp.float32(1.0), jnp.float32(lam_eta), jnp.float32(0.0))
    return PenaltyArgs(strength, jnp.asarray(importance), jnp.ones(layers, jnp.float32))


def tree(query, key):
    """Parameters with these kernels, and one more of each kind that the optimizer treats apart."""
    attention = {
        "query": {"kernel": query},
        "key": {"kernel": key},
        "value": {"kernel": jnp.ones_like(query)},
    }
    return {"layer_0": {"attention": attention}, "embedding": jnp.ones((3, 2))}


def group_lasso():
    """min ½‖W − Y‖² + λη Σ a_i ‖W_i‖ (an orthogonal design): Y and the solution max(0, 1 − λη a_i / ‖Y_i‖) ·
    Y_i.

    Nine of twelve groups are 0 in the solution of W_Q, and none in that of W_K; the gradients there are far
    below 1, as they are in training.
    """
    draw = np.random.default_rng(0)
    y = draw.standard_normal((2, GROUPS, SIZE, 1, 2))
    y /= np.sqrt(np.sum(y**2, axis=(2, 4), keepdims=True))
    factor = np.full((2, GROUPS), 0.6)
    factor[0, [1, 5, 10]] = 2.0
    factor[1] = np.linspace(1.5, 3, GROUPS)
    y *= (factor * LEVEL * A[0])[:, :, None, None, None]
    solution = np.stack([[shrunk(block, LEVEL * A[0, i]) for i, block in enumerate(part)] for part in y])
    return y.reshape(1, 2, WIDTH, 1, 2), solution.reshape(1, 2, WIDTH, 1, 2)


def solve(optimizer, target, steps):
    """`steps` updates from 2Y, with the gradient W − Y on query and key and none elsewhere."""
    start = tree(*jnp.asarray(2 * target[0], jnp.float32))

    def body(carry, _):
        params, state = carry
        zeros = jax.tree.map(jnp.zeros_like, params)
        gradients = with_query_key_kernels(
            zeros, query_key_kernels(params) - jnp.asarray(target, jnp.float32)
        )
        updates, state = optimizer.update(gradients, state, params, penalty=args(LEVEL))
        return (optax.apply_updates(params, updates), state), None

    params, _ = jax.jit(lambda carry: jax.lax.scan(body, carry, None, length=steps)[0])(
        (start, optimizer.init(start))
    )
    return np.asarray(query_key_kernels(params), np.float64)


def zero_groups(kernels):
    """Which of the groups of W_Q and W_K are exactly 0, [2, G]."""
    return np.all(kernels.reshape(2, GROUPS, -1) == 0, axis=-1)


SCHEDULE = optax.cosine_decay_schedule(0.02, 400)
SOLVERS = {
    "sgd": lambda: proximal_sgd(0.3),
    "adam": lambda: proximal_adamw(SCHEDULE, optax.adamw(SCHEDULE), GROUPS),
    # Here the whole gradient is longer than the limit at every step, also at the solution.
    "adam, clipped": lambda: proximal_adamw(SCHEDULE, optax.adamw(SCHEDULE), GROUPS, clip_norm=0.05),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_group_lasso_is_solved_to_the_exact_zero_pattern(name):
    target, solution = group_lasso()
    found = solve(SOLVERS[name](), target, 400)
    expected = zero_groups(solution)
    assert expected.sum(axis=1).tolist() == [9, 0]
    np.testing.assert_array_equal(zero_groups(found), expected)
    np.testing.assert_allclose(found, solution, atol=2e-4)
    # Stationarity, exactly what the zero pattern means: ‖∂f/∂W_i‖ ≤ λη a_i there, and equality elsewhere.
    size = np.sqrt(np.sum((found - target).reshape(2, GROUPS, -1) ** 2, axis=-1)) / (LEVEL * A)
    assert size[expected].max() < 1.0
    np.testing.assert_allclose(size[~expected], 1.0, atol=0.01)


def test_soft_thresholding_after_an_ordinary_adam_step_is_no_proximal_operator():
    """With elementwise d and the threshold lr · λη · a_i it finds none of the nine zero groups."""
    adam = optax.adam(SCHEDULE)

    def update(updates, state, params, *, penalty):
        updates, inner = adam.update(updates, state[0], params)
        old = query_key_kernels(params)
        new = shrink(old + query_key_kernels(updates), SCHEDULE(state[1]) * penalty.per_group())
        return with_query_key_kernels(updates, new - old), (inner, state[1] + 1)

    naive = optax.GradientTransformationExtraArgs(
        lambda params: (adam.init(params), jnp.zeros((), jnp.int32)), update
    )
    target, _ = group_lasso()
    assert zero_groups(solve(naive, target, 400)).sum() == 0


def adam_loops(params, gradients, config, lam_eta, a):
    """Three steps in float64, one parameter after another: (query, key) as [G, size, K] blocks, the rest
    elementwise.
    """
    rates = [
        config.learning_rate * (0.55 + 0.45 * np.cos(np.pi * step / (config.steps - 1)))
        for step in range(len(gradients))
    ]
    moments = {
        name: (np.zeros_like(x), np.zeros(GROUPS) if name in ("query", "key") else np.zeros_like(x))
        for name, x in params.items()
    }
    clip = 0.0
    for count, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        factor = min(1.0, config.clip_norm / np.sqrt(sum(np.sum(x**2) for x in gradient.values())))
        clip = 0.9 * clip + 0.1 * factor
        for name, x in gradient.items():
            x = x * factor
            first, second = moments[name]
            first = 0.9 * first + 0.1 * x
            square = np.mean(x.reshape(GROUPS, -1) ** 2, axis=1) if name in ("query", "key") else x**2
            second = config.beta2 * second + (1 - config.beta2) * square
            moments[name] = (first, second)
            d = np.sqrt(second / (1 - config.beta2**count)) + 1e-8
            unbiased = first / (1 - 0.9**count)
            if name not in ("query", "key"):
                params[name] = params[name] - rate * (
                    unbiased / d + (config.weight_decay * params[name] if name != "value" else 0.0)
                )
                continue
            for group in range(GROUPS):
                moved = params[name][group] - rate * unbiased[group] / d[group]
                params[name][group] = shrunk(
                    moved, rate * lam_eta * a[0, group] / d[group] * clip / (1 - 0.9**count)
                )
    return params


def test_three_updates_are_those_of_the_loops_with_clipping_and_no_decay_on_penalised_kernels():
    train = TrainConfig(
        steps=10,
        learning_rate=0.1,
        warmup_steps=0,
        final_rate=0.1,
        weight_decay=0.3,
        beta2=0.9,
        clip_norm=1.5,
    )
    penalty = PenaltyConfig(solver="proximal", eta=1.0, nu=1.0, groups=GROUPS)
    draw = np.random.default_rng(1)
    shapes = {
        "query": (GROUPS, SIZE, 2),
        "key": (GROUPS, SIZE, 2),
        "value": (WIDTH, 1, 2),
        "embedding": (3, 2),
    }
    params = {name: draw.standard_normal(shape) for name, shape in shapes.items()}
    gradients = [
        {name: scale * draw.standard_normal(shape) for name, shape in shapes.items()}
        for scale in (0.1, 0.5, 0.02)
    ]

    def as_tree(values):
        attention = {
            name: {"kernel": jnp.asarray(values[name].reshape(WIDTH, 1, 2), jnp.float32)}
            for name in ("query", "key", "value")
        }
        return {
            "layer_0": {"attention": attention},
            "embedding": jnp.asarray(values["embedding"], jnp.float32),
        }

    optimizer = build_optimizer(train, penalty, GROUPS)
    found = as_tree(params)
    state = optimizer.init(found)
    update = jax.jit(
        lambda gradients, state, params: optimizer.update(gradients, state, params, penalty=args(0.3))
    )
    for gradient in gradients:
        updates, state = update(as_tree(gradient), state, found)
        found = optax.apply_updates(found, updates)
    expected = as_tree(adam_loops({name: x.copy() for name, x in params.items()}, gradients, train, 0.3, A))
    for (path, one), other in zip(
        jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5, err_msg=jax.tree_util.keystr(path))
    zeros = zero_groups(np.asarray(query_key_kernels(found)))
    assert 0 < zeros.sum() < zeros.size


@pytest.mark.parametrize("solver", ["subgradient", "proximal"])
def test_weights_that_turn_with_the_dial_move_as_one_matrix_beside_theirs(solver):
    """W with W′ beside it gets the updates of one kernel of twice the width: one norm a group, no decay on
    either.
    """
    train = TrainConfig(steps=10, learning_rate=0.1, warmup_steps=0, weight_decay=0.3, clip_norm=1.5)
    penalty = PenaltyConfig(solver=solver, eta=1.0, nu=1.0, groups=GROUPS)
    draw = np.random.default_rng(2)

    def drawn():
        return {
            name: jnp.asarray(draw.standard_normal((WIDTH, 1, 4)), jnp.float32)
            for name in ("query", "key", "value")
        }

    def whole(kernels):
        return {"layer_0": {"attention": {name: {"kernel": x} for name, x in kernels.items()}}}

    def parted(kernels):
        parts = {
            name + end: part
            for name, x in kernels.items()
            for end, part in zip(("", "_dial"), jnp.split(x, 2, -1), strict=True)
        }
        return whole(parts)

    params, gradients = drawn(), [drawn() for _ in range(3)]
    found = {}
    for form in (whole, parted):
        optimizer, values = build_optimizer(train, penalty, GROUPS), form(params)
        state = optimizer.init(values)
        for gradient in gradients:
            updates, state = optimizer.update(form(gradient), state, values, penalty=args(0.3))
            values = optax.apply_updates(values, updates)
        found[form] = values
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7),
        found[parted],
        parted(unwrapped(found[whole])),
    )


def unwrapped(params):
    return {name: part["kernel"] for name, part in params["layer_0"]["attention"].items()}


def test_a_zero_group_comes_back_where_the_gradient_asks_for_it():
    kernel = jnp.zeros((WIDTH, 1, 2))
    params = tree(kernel, kernel)
    pull = jnp.zeros((WIDTH, 1, 2)).at[0:2].set(-1.0)  # group 0: norm 2
    gradients = jax.tree.map(jnp.zeros_like, params)
    gradients["layer_0"]["attention"]["query"]["kernel"] = pull
    for optimizer in (
        proximal_sgd(0.1),
        proximal_adamw(optax.constant_schedule(0.1), optax.sgd(0.1), GROUPS),
    ):
        update = jax.jit(lambda g, p, a, o=optimizer: o.update(g, o.init(p), p, penalty=a)[0])
        for level, back in ((1.9, True), (2.1, False)):
            updates = update(gradients, params, args(level, np.ones((1, GROUPS), np.float32)))
            changed = query_key_kernels(updates) != 0
            assert bool(changed[0, 0, 0:2].all()) == back
            assert int(changed.sum()) == (4 if back else 0)


def test_strength_and_weights_never_recompile_and_donated_state_is_fine():
    optimizer = build_optimizer(TrainConfig(), PenaltyConfig(solver="proximal", eta=0.1), GROUPS)
    traced = []

    def update(gradients, state, params, penalty):
        traced.append(1)
        updates, state = optimizer.update(gradients, state, params, penalty=penalty)
        return optax.apply_updates(params, updates), state

    update = jax.jit(update, donate_argnums=(1, 2))
    target, _ = group_lasso()
    params = tree(*jnp.asarray(target[0], jnp.float32))
    gradients, state = jax.tree.map(jnp.ones_like, params), optimizer.init(params)
    for level in (0.0, 0.1, 5.0):
        params, state = update(gradients, state, params, args(level, A[:, ::-1] if level else A))
    assert len(traced) == 1
    assert int(state.count) == 3

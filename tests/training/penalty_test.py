"""The penalty inside a step: its terms and gradients against the pure functions, its strength at each
step.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax.config import Config, LocalityConfig, ModelConfig, PenaltyConfig, TrainConfig
from aila_jax.loss.group_sparsity import Strength
from aila_jax.training.penalty import initial_importance, penalty_rule, penalty_strength
from tests.oracles.group_sparsity import penalty
from tests.support.tiny import MODEL, fresh_params


def config(solver, **settings):
    return Config(
        model=ModelConfig(**{**vars(MODEL), "layer_beta": 1.0}),
        penalty=PenaltyConfig(solver=solver, **settings),
    )


@pytest.mark.parametrize(
    ("solver", "scale_free"), [("subgradient", False), ("subgradient", True), ("proximal", False)]
)
def test_terms_and_gradients(solver, scale_free):
    made = config(solver, scale_free=scale_free)
    rule, importance = penalty_rule(made), initial_importance(made)
    args = rule.args(Strength(jnp.float32(0.5), jnp.float32(0.2), jnp.float32(0.3)), importance)
    start = jax.tree.map(lambda x: jnp.full_like(x, 7.0), fresh_params())
    gradients, terms = jax.jit(rule.add)(fresh_params(), start, args)
    expected = penalty(
        fresh_params(), np.asarray(importance), [0.5, 1.0], 0.1, scale_free
    )  # layer_beta 1: ½ and 1
    np.testing.assert_allclose(terms.group, expected, rtol=1e-5)
    values = [
        np.asarray(fresh_params()[layer]["attention"]["value"]["kernel"], np.float64)
        for layer in ("layer_0", "layer_1")
    ]
    np.testing.assert_allclose(terms.value, 0.3 * sum(np.sum(x**2) for x in values), rtol=1e-5)

    added = jax.tree.map(lambda x: np.asarray(x) - 7.0, gradients)
    for path, x in jax.tree_util.tree_leaves_with_path(added):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        touched = name.endswith("value/kernel") or (
            solver == "subgradient" and name.endswith(("query/kernel", "key/kernel"))
        )
        assert bool(np.any(x != 0)) == touched, name
    for layer, value in zip(("layer_0", "layer_1"), values, strict=True):
        np.testing.assert_allclose(
            added[layer]["attention"]["value"]["kernel"], 0.3 * 2 * value, rtol=1e-4, atol=1e-5
        )


def test_nothing_where_the_solver_is_none():
    assert penalty_rule(config("none")) is None
    assert initial_importance(config("none")) is None


@pytest.mark.parametrize(("ramp", "lams"), [(True, (0.0, 0.125, 0.25, 0.25)), (False, (0.25,) * 4)])
def test_strength_ramps_over_warm_up(ramp, lams):
    made = Config(
        locality=LocalityConfig(power=3.0),
        penalty=PenaltyConfig(solver="subgradient", eta=0.4, nu=0.1, ramp=ramp),
        train=TrainConfig(steps=100, warmup_steps=20),
    )
    for step, lam in zip((0, 10, 20, 99), lams, strict=True):
        found = penalty_strength(made, step)
        np.testing.assert_allclose([found.lam, found.eta, found.nu], [lam, 0.4, 0.1], rtol=1e-6)


def test_where_training_is_shorter_than_warm_up_the_ramp_ends_with_it():
    """As the learning rate's does: at the last of 20 steps λη has 19/20 of its strength, not 19/100."""
    made = Config(
        locality=LocalityConfig(power=3.0),
        penalty=PenaltyConfig(solver="subgradient", eta=0.4),
        train=TrainConfig(steps=20, warmup_steps=100),
    )
    np.testing.assert_allclose(penalty_strength(made, 19).lam, 0.25 * 19 / 20, rtol=1e-6)

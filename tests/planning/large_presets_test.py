"""The presets for accelerators: their sizes, that they compile, and one real step of the smallest.

sh launch/test.sh -m slow tests/planning/large_presets_test.py
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aila_jax as aila
from aila_jax import presets
from aila_jax.config import Config, MarginForm
from aila_jax.inference.inputs import example_batch
from aila_jax.model.network import Network
from aila_jax.model.transformer import build_transformer
from aila_jax.partition.kinds import Windows
from aila_jax.partition.rule_tables import build_rules
from aila_jax.planning.devices import this_cpu
from aila_jax.planning.memory import step_memory
from aila_jax.planning.mesh import Mesh
from aila_jax.runs.setup import initial_state
from aila_jax.training.optimizer import build_optimizer
from aila_jax.training.sharding import AXIS, batch_sharding, map_step
from aila_jax.training.step import Objective, make_train_step

SIZES = {"base": 124e6, "large": 350e6, "xl": 1.3e9}


@pytest.mark.parametrize("name", SIZES)
def test_they_are_as_large_as_they_are_called(name):
    config = presets.preset(name)
    assert aila.plan(config).parameters.total == pytest.approx(SIZES[name], rel=0.01)
    assert config.data.vocab_size % 128 == config.model.d_ff % 64 == 0


@pytest.mark.parametrize("name", SIZES)
def test_their_dial_is_certified_without_a_cap(name):
    config = presets.preset(name)
    model, certified = config.model, presets.certified()
    assert (config.partition, config.relation) == (certified.partition, certified.relation)
    assert (config.locality, model.margin.gate) == (certified.locality, certified.model.margin.gate)
    assert (model.score_cap, model.qk_norm, model.margin.form) == (0.0, False, MarginForm.SELF_SCALING)
    # At λ = 1 nine tenths of the mass is inside by the margin alone, with one key beside the query's own.
    outside = model.length - 2
    assert 2 / (2 + outside * np.exp(-model.margin.m0)) >= 0.9
    assert model.margin.c >= 1.0


def of_batch(name: str, batch: int, dtype: str) -> Config:
    config = presets.preset(name)
    return replace(
        config,
        model=replace(config.model, dtype=dtype),
        train=replace(config.train, batch_size=batch, loss_chunk=512),
    )


def step_of(config: Config) -> tuple:
    """The mapped step, its state as shapes, and how to make it."""
    network = Network(
        build_transformer(config, config.data.vocab_size),
        Windows(config.partition.size),
        build_rules(config, None),
    )
    optimizer = build_optimizer(config.train, config.penalty, config.feature_groups)
    made = make_train_step(network, optimizer, Objective.of(config), axis_name=AXIS)
    sharding = batch_sharding(config.train.batch_size)
    return map_step(made, sharding), sharding, lambda: initial_state(config, network.module, optimizer)


def batch_of(config: Config) -> object:
    rows = config.train.batch_size
    return jax.tree.map(lambda x: jnp.repeat(x, rows, axis=0), example_batch(config))


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_they_compile_and_need_what_their_plan_says(name):
    """Abstractly: no parameter is made. Batches of one sequence, read twice, in float32."""
    config = of_batch(name, 1, "float32")
    step, _, make = step_of(config)
    lam = jax.ShapeDtypeStruct((config.locality.views,), jnp.float32)
    found = step.lower(jax.eval_shape(make), jax.eval_shape(lambda: batch_of(config)), lam, lam).compile()
    memory = found.memory_analysis()
    held = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes
    planned = step_memory(config, config.data.vocab_size, Mesh(), this_cpu()).total
    assert planned == pytest.approx(held - memory.alias_size_in_bytes, rel=0.1)


@pytest.mark.slow
def test_base_takes_one_step():
    """About 3 GB. The loss of a model that knows nothing is ln V, and the step changes every weight."""
    config = of_batch("base", 1, "float32")
    step, sharding, make = step_of(config)
    state = sharding.replicate(jax.jit(make)())
    before = jax.tree.map(np.asarray, state.params["layer_11"])
    tokens = np.random.default_rng(0).integers(0, config.data.vocab_size, (1, config.model.length))
    batch = replace(batch_of(config), tokens=jnp.asarray(tokens, jnp.int32))
    lam, tau = sharding.shard((np.array([0.0, 1.0], np.float32), np.ones(2, np.float32)))
    state, metrics = step(state, sharding.shard(batch), lam, tau)
    assert float(metrics.loss) == pytest.approx(np.log(config.data.vocab_size), rel=0.05)
    assert (int(state.step), int(metrics.skipped)) == (1, 0)
    changed = jax.tree.map(
        lambda old, new: bool(np.any(old != np.asarray(new))), before, state.params["layer_11"]
    )
    assert changed["attention"]["query"]["kernel"] and changed["mlp_out"]["kernel"]

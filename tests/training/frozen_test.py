"""A frozen base: what is trained, what the base teaches, and that no gradient of it is made."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax.config import AdapterConfig
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.parts import base_part, dial_part, is_turning, merged
from aila_jax.model.transformer import Transformer
from aila_jax.partition.kinds import Windows
from aila_jax.training.forecast import tried
from aila_jax.training.sharding import AXIS, batch_sharding, map_step
from aila_jax.training.state import create_state
from aila_jax.training.step import Objective, make_train_step
from benchmarks.flops import step_flops
from tests.support.tiny import MODEL, VOCAB_SIZE, fresh_params, random_batch, sgd

ADAPTED = replace(MODEL, adapters=AdapterConfig(rank=2))
NETWORK = Network(Transformer(ADAPTED, VOCAB_SIZE), Windows())
LAM = np.array([0.0, 0.3, 0.7, 1.0], np.float32)
TAU = np.array([1.0, 0.5, 2.0, 1.0], np.float32)
TAUGHT = 0.4


def parts():
    params = fresh_params(ADAPTED)
    return dial_part(params), base_part(params)


def new_state(trained, base):
    return create_state(trained, sgd(), jax.random.key_data(jax.random.key(0)), base=base)


def named(tree):
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}  # fmt: skip


def test_the_two_parts_are_the_whole_and_share_nothing():
    params = fresh_params(ADAPTED)
    turning, base = named(dial_part(params)), named(base_part(params))
    assert not turning.keys() & base.keys()
    assert turning.keys() | base.keys() == named(params).keys()
    assert all(map(is_turning, turning)) and not any(map(is_turning, base))
    assert {name.split("/")[-2] for name in turning if "attention/" in name} == {
        f"{name}_{way}" for name in ("query", "key", "value", "out") for way in ("down", "up")
    }
    again = named(merged(base_part(params), dial_part(params)))
    assert all(again[name] is leaf for name, leaf in named(params).items())


def test_what_turns_does_nothing_at_zero():
    """The names say which parameters act times λ: at λ = 0 any numbers there change no bit."""
    turning, base = parts()
    other = jax.tree.map(lambda x: 3.0 * x + 1.0, turning)
    batch = random_batch(4)
    run = jax.jit(lambda p, lam: NETWORK(p, batch, Dial(lam, 1.0), Request()).logits)
    np.testing.assert_array_equal(run(merged(base, turning), 0.0), run(merged(base, other), 0.0))
    assert np.abs(run(merged(base, turning), 1.0) - run(merged(base, other), 1.0)).max() > 0.01


def expected(trained, base, batch):
    """The objective, written out: the text and, as TAUGHT of it, what the base says at λ = 0."""
    said = NETWORK(merged(trained, base), batch, Dial(0.0, 1.0), Request()).logits
    teacher = jax.lax.stop_gradient(jnp.exp(said) / jnp.sum(jnp.exp(said), axis=-1, keepdims=True))
    logits = NETWORK(merged(base, trained), batch, Dial(jnp.asarray(LAM), jnp.asarray(TAU)), Request()).logits
    log_p = logits - jnp.log(jnp.sum(jnp.exp(logits), axis=-1, keepdims=True))
    text = jnp.take_along_axis(log_p, batch.targets[..., None], axis=-1)[..., 0]
    learned = (1 - TAUGHT) * text + TAUGHT * jnp.sum(teacher * log_p, axis=-1)
    return -jnp.sum(learned * batch.weights) / np.sum(batch.weights)


@pytest.mark.parametrize("chunk", [0, 7])
@pytest.mark.parametrize("frozen", [True, False])
def test_the_gradient_is_that_of_an_eager_computation(chunk, frozen):
    turning, base = parts()
    trained = turning if frozen else jax.tree.map(lambda x: 1.1 * x, fresh_params(ADAPTED))
    batch = random_batch(4)
    step = jax.jit(make_train_step(NETWORK, sgd(), Objective(loss_chunk=chunk, taught=TAUGHT, frozen=frozen)))
    after, _ = step(new_state(trained, base), batch, LAM, TAU)
    wanted = jax.grad(expected)(trained, base, batch)
    assert named(after.params).keys() == named(trained).keys()
    for (name, old), new, want in zip(
        named(trained).items(), jax.tree.leaves(after.params), jax.tree.leaves(wanted), strict=True
    ):
        np.testing.assert_allclose(old - new, want, rtol=2e-3, atol=3e-6, err_msg=name)


def test_views_and_microbatches_are_taught_as_whole_batches_are():
    turning, base = parts()
    batch = random_batch(2)
    twice = jax.tree.map(lambda x: np.repeat(x, 2, axis=0), batch)
    objective = Objective(loss_chunk=7, taught=TAUGHT, frozen=True)
    whole = jax.jit(make_train_step(NETWORK, sgd(), objective))
    cut = jax.jit(make_train_step(NETWORK, sgd(), objective, accumulate=2))
    want, _ = whole(new_state(turning, base), twice, LAM, TAU)
    for step in (whole, cut):
        found, _ = step(new_state(turning, base), batch, LAM, TAU)
        for (name, one), other in zip(named(want.params).items(), jax.tree.leaves(found.params), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6, err_msg=name)


def test_no_gradient_of_the_base_is_made():
    """What a step of adapters leaves out is one product of each base kernel's size a token, and one of the
    output layer's.
    """
    model = replace(MODEL, d_model=64, d_ff=128, n_layers=6, adapters=AdapterConfig(rank=1))
    rows, vocabulary = 4, 500
    frozen, whole = (
        step_flops(model, vocabulary, rows, one, Objective(loss_chunk=12, frozen=one))
        for one in (True, False)
    )
    base = base_part(jax.eval_shape(
        lambda: Network(Transformer(model, vocabulary), Windows()).init(random_batch(1), jax.random.key(0))
    ))  # fmt: skip
    kernels = sum(x.size for name, x in named(base).items() if name.endswith(("kernel", "embedding")))
    assert whole - frozen == 2 * kernels * rows * model.length


@pytest.mark.parametrize("parallel", ["jit", "pmap"])
def test_a_step_that_is_thrown_away_leaves_the_state_as_it_was(parallel):
    turning, base = parts()
    sharding = batch_sharding(4)
    # Copies: the step takes its state's buffers, which others have too.
    state = sharding.replicate(jax.tree.map(np.array, new_state(turning, base)))
    before = jax.tree.map(lambda x: np.array(x, copy=True), state)
    step = make_train_step(NETWORK, sgd(), Objective(taught=TAUGHT, frozen=True), axis_name=AXIS)
    inputs = sharding.shard((random_batch(4), LAM, TAU))
    step, after, forecast = tried(map_step(step, sharding, parallel), state, inputs, 48, sharding)
    for one, other in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(one, other)
    assert forecast.seconds > 0
    assert (forecast.megabytes is not None) == (parallel == "jit")
    later, _ = step(after, *inputs)
    assert int(later.step) == 1

"""Tests of data parallelism: refusal of uneven batches, and eight simulated devices against one."""

import json
import re
import warnings
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from aila_jax.training import sharding
from aila_jax.training.sharding import AXIS, batch_sharding, describe_devices, map_step


def test_one_device_takes_any_batch():
    placed = batch_sharding(3)
    array = placed.shard(np.arange(6, dtype=np.float32).reshape(3, 2))
    np.testing.assert_array_equal(array, np.arange(6).reshape(3, 2))
    assert placed.replicate({"x": np.ones(2, np.float32)})["x"].sharding.is_fully_replicated


@pytest.mark.parametrize(("size", "fix"), [(12, 8), (3, 8), (17, 16)])
def test_a_batch_that_devices_cannot_share_is_refused(monkeypatch, size, fix):
    monkeypatch.setattr(sharding, "all_devices", lambda: [object()] * 8)
    with pytest.raises(
        ValueError,
        match=re.escape(
            f"train.batch_size is {size}; it must be divisible by the 8 devices. Fix: set it to {fix}."
        ),
    ):
        batch_sharding(size)
    with pytest.raises(ValueError, match=r"sweep\.batch_size is"):
        batch_sharding(size, "sweep.batch_size")


def test_microbatches_that_do_not_divide_a_devices_share_are_refused(monkeypatch):
    monkeypatch.setattr(sharding, "all_devices", lambda: [object()] * 8)
    limit = (
        "train.batch_size is 40; it must be divisible by the 8 devices times train.accumulate (2). Fix: set"
        " it to 32."
    )
    with pytest.raises(ValueError, match=re.escape(limit)):
        batch_sharding(40, accumulate=2)


def test_the_cpu_is_described_in_words():
    assert describe_devices() == "1 × cpu (cpu)"


@pytest.mark.parametrize(
    ("installed", "platforms", "warned"), [(True, "", True), (True, "cpu", False), (False, "", False)]
)
def test_falling_back_to_the_cpu_is_said(monkeypatch, installed, platforms, warned):
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name: object() if installed and name == "jax_cuda13_plugin" else None,
    )
    monkeypatch.setattr(
        sharding.jax, "local_devices", lambda: [SimpleNamespace(platform="cpu", device_kind="cpu")]
    )
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        describe_devices()
    assert [("JAX runs on the CPU" in str(one.message)) for one in caught] == ([True] if warned else [])


ONE_STEP = """
    import json
    from dataclasses import replace
    import jax
    import numpy as np
    import optax
    from jax.sharding import Mesh
    from aila_jax.config import Config, PenaltyConfig, TrainConfig
    from aila_jax.evaluation.evaluator import Evaluation, evaluate
    from aila_jax.metrics.sums import MetricSums
    from aila_jax.model.interface import Dial
    from aila_jax.model.network import Network
    from aila_jax.model.transformer import Transformer
    from aila_jax.partition.kinds import Segments
    from aila_jax.training.optimizer import build_optimizer
    from aila_jax.training.penalty import initial_importance, penalty_rule, penalty_strength
    from aila_jax.training.sharding import AXIS, Sharding, map_step, batch_sharding
    from aila_jax.training.state import create_state
    from aila_jax.training.step import Objective, make_train_step
    from tests.support.tiny import MODEL, VOCAB_SIZE, fresh_params, random_batch

    ROWS = 32
    LAM, TAU = np.linspace(0, 1, ROWS, dtype=np.float32), np.linspace(0.5, 2, ROWS, dtype=np.float32)
    # The partition's table must be whole on every device.
    network = Network(Transformer(replace(MODEL, dropout=0.2), VOCAB_SIZE), Segments(np.arange(VOCAB_SIZE) % 4 == 0))
    momentum = optax.sgd(1.0, momentum=0.9)
    PROXIMAL = Config(model=MODEL, penalty=PenaltyConfig(solver="proximal", eta=0.02, nu=0.01), train=TrainConfig(warmup_steps=1))

    def numbers(tree):
        return [np.asarray(leaf).tolist() for leaf in jax.tree.leaves(tree)]

    def updates(placed, devices, parallel, chunk, accumulate, config=None, views=1, distill=0.0, pressure=0.0):
        optimizer, rule, whole = momentum, None, ()
        if config is not None:
            optimizer = build_optimizer(config.train, config.penalty, config.feature_groups)
            rule, whole = penalty_rule(config), (placed.replicate(penalty_strength(config, 1)),)
        objective = Objective(loss_chunk=chunk, distill=distill, pressure=pressure)
        step = make_train_step(network, optimizer, objective, accumulate=accumulate, axis_name=AXIS, penalty=rule)
        train_step = map_step(step, placed, parallel, whole=len(whole))
        params = jax.tree.map(np.asarray, fresh_params())  # host arrays, since a step takes the buffers of its state
        importance = None if config is None else initial_importance(config)
        state = placed.replicate(create_state(params, optimizer, jax.random.key_data(jax.random.key(0)), importance))
        lam, tau = placed.shard((LAM, TAU))
        assert lam.addressable_shards[0].data.shape == (ROWS // devices,)
        seen = []
        for seed in range(2):
            state, metrics = train_step(state, placed.shard(random_batch(ROWS // views, seed)), lam, tau, *whole)
            seen.append(metrics)
        assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state))
        return numbers((state, seen))

    def measured(placed, chunk):
        batches = [random_batch(ROWS, seed) for seed in range(2)]
        return numbers(evaluate(network, fresh_params(), batches, Dial(LAM, TAU), placed, Evaluation(delta=True, loss_chunk=chunk)))

    one = Sharding(Mesh(np.asarray(jax.devices()[:1]), (AXIS,)))
    assert len(jax.devices()) == 8
    cases = [("jit", 0, 1), ("jit", 50, 2), ("pmap", 0, 1), ("pmap", 50, 4)]
    print(json.dumps({
        "updates": [updates(one, 1, "jit", 0, 1)] + [updates(batch_sharding(ROWS, accumulate=case[2]), 8, *case) for case in cases],
        "views": [updates(one, 1, "jit", 0, 1, views=2), updates(batch_sharding(ROWS // 2), 8, "pmap", 0, 2, views=2)],
        "distilled": [updates(one, 1, "jit", 0, 1, views=2, distill=0.5), updates(batch_sharding(ROWS // 2), 8, "pmap", 51, 2, views=2, distill=0.5)],
        "pressed": [updates(one, 1, "jit", 0, 1, pressure=0.5), updates(batch_sharding(ROWS // 4), 8, "pmap", 51, 4, pressure=0.5)],
        "proximal": [updates(one, 1, "jit", 0, 1, PROXIMAL), updates(batch_sharding(ROWS), 8, "pmap", 0, 1, PROXIMAL)],
        "sums": [measured(one, 0), measured(batch_sharding(ROWS), 0), measured(batch_sharding(ROWS), 50)],
    }))
"""


@pytest.mark.medium
def test_eight_devices_make_the_update_and_the_sums_of_one_however_the_batch_is_cut(
    run_in_subprocess_with_devices,
):
    """Under jit and pmap, with a partition that has a table, dropout, whole and chunked losses, microbatches,
    a penalty, its proximal solver.
    """
    found = json.loads(run_in_subprocess_with_devices(8, ONE_STEP))
    for expected, *others in found.values():
        assert len(others) >= 1
        for other in others:
            for one, eight in zip(expected, other, strict=True):
                np.testing.assert_allclose(eight, one, rtol=2e-5, atol=5e-6)


def test_pmap_gives_the_state_back_whole_and_reuses_its_buffers():
    placed = batch_sharding(4)
    step = map_step(
        lambda state, x, lam, tau: (
            state + jax.lax.psum(x.sum(), AXIS),
            jax.lax.pmean(lam.mean() * tau.mean(), AXIS),
        ),
        placed,
        "pmap",
    )
    start = placed.replicate(np.float32(1))
    x, lam, tau = placed.shard(
        (np.arange(8, dtype=np.float32).reshape(4, 2), np.full(4, 0.5, np.float32), np.full(4, 3, np.float32))
    )
    state, mean = step(start, x, lam, tau)
    assert (float(state), float(mean)) == (29.0, 1.5)
    assert start.is_deleted()
    assert state.shape == ()

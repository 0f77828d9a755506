"""Tests of data parallelism: refusal of uneven batches, and eight simulated devices against one."""

import json
import re
import warnings
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from aila_jax.training import placement
from aila_jax.training.placement import describe_devices, place


def test_one_device_takes_any_batch():
    placed = place(3)
    array = placed.shard(np.arange(6, dtype=np.float32).reshape(3, 2))
    np.testing.assert_array_equal(array, np.arange(6).reshape(3, 2))
    assert placed.replicate({"x": np.ones(2, np.float32)})["x"].sharding.is_fully_replicated


@pytest.mark.parametrize(("size", "fix"), [(12, 8), (3, 8), (17, 16)])
def test_a_batch_that_devices_cannot_share_is_refused(monkeypatch, size, fix):
    monkeypatch.setattr(jax, "local_devices", lambda: [object()] * 8)
    with pytest.raises(
        ValueError, match=re.escape(f"train.batch_size is {size}; it must be divisible by the 8 devices. Fix: set it to {fix}.")
    ):
        place(size)
    with pytest.raises(ValueError, match=r"sweep\.batch_size is"):
        place(size, "sweep.batch_size")


def test_the_cpu_is_described_in_words():
    assert describe_devices() == "1 × cpu (cpu)"


@pytest.mark.parametrize(("installed", "platforms", "warned"), [(True, "", True), (True, "cpu", False), (False, "", False)])
def test_falling_back_to_the_cpu_is_said(monkeypatch, installed, platforms, warned):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed and name == "jax_cuda13_plugin" else None)
    monkeypatch.setattr(placement.jax, "local_devices", lambda: [SimpleNamespace(platform="cpu", device_kind="cpu")])
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        describe_devices()
    assert [("JAX runs on the CPU" in str(one.message)) for one in caught] == ([True] if warned else [])


ONE_STEP = """
    import json
    import jax
    import numpy as np
    from jax.sharding import Mesh
    from aila_jax.config import PartitionConfig
    from aila_jax.model.transformer import Transformer
    from aila_jax.partition.build import build_partition
    from aila_jax.training.placement import Placement, place
    from aila_jax.training.state import create_state
    from aila_jax.training.step import make_train_step
    from tests.training.tiny import MODEL, VOCAB_SIZE, fresh_params, random_batch, sgd

    def update(placed, devices, chunk):
        step = make_train_step(Transformer(MODEL, VOCAB_SIZE), build_partition(PartitionConfig()), sgd(), loss_chunk=chunk)
        state = placed.replicate(create_state(fresh_params(), sgd(), jax.random.key_data(jax.random.key(0))))
        batch = placed.shard(random_batch(16))
        lam, tau = placed.shard((np.linspace(0, 1, 16, dtype=np.float32), np.linspace(0.5, 2, 16, dtype=np.float32)))
        assert batch.tokens.addressable_shards[0].data.shape == (16 // devices, MODEL.length)
        state, metrics = jax.jit(step, out_shardings=placed.replicated)(state, batch, lam, tau)
        assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state.params))
        flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.params)])
        numbers = [metrics.loss, metrics.grad_norm, metrics.bin_loss, metrics.bin_targets, flat]
        return [np.asarray(number).tolist() for number in numbers]

    one = Placement(Mesh(np.asarray(jax.devices()[:1]), ("data",)))
    assert len(jax.devices()) == 8
    print(json.dumps([[update(one, 1, chunk), update(place(16), 8, chunk)] for chunk in (0, 50)]))
"""


def test_eight_devices_make_the_update_of_one(run_in_subprocess_with_devices):
    for pair in json.loads(run_in_subprocess_with_devices(8, ONE_STEP)):
        for one, eight in zip(*pair, strict=True):
            np.testing.assert_allclose(eight, one, rtol=2e-5, atol=2e-6)
        assert sum(pair[0][3]) > 100

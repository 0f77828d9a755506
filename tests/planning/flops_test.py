"""FLOPs by formula against the program's own matrix products, and XLA's count of an unrolled model."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aila_jax.config import AdapterConfig, Config, LocalityConfig, MarginConfig, ModelConfig, TrainConfig
from aila_jax.inference.inputs import example_batch
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.parts import base_part, dial_part
from aila_jax.model.transformer import Transformer
from aila_jax.partition.kinds import Windows
from aila_jax.planning.flops import forward_flops, keys_a_query, step_flops
from aila_jax.training.state import create_state
from aila_jax.training.step import Objective, make_train_step
from benchmarks.flops import matmul_flops

V, ROWS = 96, 2
MODEL = ModelConfig(length=24, d_model=32, n_heads=4, d_ff=48, n_layers=2, attention="reference")
LLAMA = replace(
    MODEL, norm="rms_norm", feed_forward="swiglu", mlp_bias=False, out_bias=False, learned_positions=False,
    rotary_base=1e4, n_kv_heads=2,
)  # fmt: skip
ADAPTED = replace(LLAMA, n_layers=4, adapters=AdapterConfig(rank=3))
CASES = {
    "default": Config(model=MODEL),
    "llama": Config(model=LLAMA),
    "untied": Config(model=replace(MODEL, tied=False, parallel=True)),
    "dial": Config(model=replace(MODEL, film=True, dial_weights="qkv"),
                   locality=LocalityConfig(views=2, distill=0.5)),
    "loop": Config(model=replace(LLAMA, n_layers=6)),
    "loop_dial": Config(model=replace(MODEL, n_layers=5, dial_weights="qk", film=True)),
    "frozen": Config(model=ADAPTED, train=TrainConfig(trained="dial", loss_chunk=16)),
    "taught": Config(model=ADAPTED, train=TrainConfig(trained="dial", loss_chunk=16),
                     locality=LocalityConfig(taught=0.5)),
}  # fmt: skip


def network(config: Config) -> Network:
    return Network(Transformer(config.model, V), Windows())


def step_program(config: Config) -> Any:
    """Of one step on ROWS sequences, read as often as the configuration says."""
    net, batch = network(config), jax.tree.map(lambda x: jnp.repeat(x, ROWS, axis=0), example_batch(config))

    def state():
        params = net.init(batch, jax.random.key(0))
        frozen = config.train.trained == "dial"
        trained = dial_part(params) if frozen else params
        base = base_part(params) if frozen or config.locality.taught else None
        return create_state(trained, optax.sgd(1.0), jax.random.key_data(jax.random.key(0)), base=base)

    ones = np.ones(ROWS * config.locality.views, np.float32)
    step = make_train_step(net, optax.sgd(1.0), Objective.of(config))
    return jax.make_jaxpr(step)(jax.eval_shape(state), batch, ones, ones)


@pytest.mark.parametrize("name", CASES)
def test_a_forward_pass_has_the_products_of_its_program(name):
    config = CASES[name]
    net, batch = network(config), example_batch(config)
    params = jax.eval_shape(lambda: net.init(batch, jax.random.key(0)))
    program = jax.make_jaxpr(lambda p, b: net(p, b, Dial(1.0, 1.0), Request()).logits)(params, batch)
    found = matmul_flops(program.jaxpr) / config.model.length
    assert forward_flops(config, V, None).total == found


@pytest.mark.parametrize("name", CASES)
def test_a_step_has_the_products_of_its_program(name):
    """But for two thousandths: sums of losses by λ are products too, and what distillation expects of whole
    logits; and the first layer needs no gradient of what nothing trained comes before.
    """
    config = CASES[name]
    found = matmul_flops(step_program(config).jaxpr) / (ROWS * config.model.length)
    wanted = step_flops(config, V, None).total
    np.testing.assert_allclose(wanted, found, rtol=2e-3 if config.train.trained == "all" else 0.03)


def test_xla_counts_the_same_for_an_unrolled_model():
    """XLA counts every operation, not products alone: a wide model has few others."""
    model = replace(MODEL, d_model=256, d_ff=1024, length=64, n_heads=4)
    config = Config(model=model)
    net, batch = network(config), example_batch(config)
    params = jax.eval_shape(lambda: net.init(batch, jax.random.key(0)))
    run = jax.jit(lambda p, b: net(p, b, Dial(1.0, 1.0), Request()).logits).lower(params, batch)
    found = run.compile().cost_analysis()["flops"] / model.length
    assert forward_flops(config, V, None).total == pytest.approx(found, rel=0.05)


def test_the_dials_share_is_what_it_adds():
    plain = Config(model=MODEL)
    dialled = CASES["dial"]
    assert step_flops(plain, V, None).dial == 0.0
    more = step_flops(dialled, V, None).total - step_flops(plain, V, None).total
    assert step_flops(dialled, V, None).dial == pytest.approx(more)


@pytest.mark.parametrize(
    ("length", "tile", "keys"), [(64, None, 64), (64, 16, 40), (60, 16, 42.666667), (8, 8, 8)]
)
def test_keys_that_a_query_is_compared_with(length, tile, keys):
    """64 tokens in tiles of 16: 10 of 16 tiles are at or below the diagonal."""
    model = replace(MODEL, length=length)
    assert keys_a_query(model, tile) == pytest.approx(keys)
    both = replace(model, bidirectional=True)
    assert keys_a_query(both, tile) >= length


def test_the_second_look_at_scores_is_the_dials():
    exact = Config(model=replace(MODEL, margin=MarginConfig(form="self_scaling")))
    norms = Config(model=replace(MODEL, margin=MarginConfig(form="self_scaling", range="norms")))
    assert forward_flops(norms, V, 8).dial == 0.0
    assert (
        forward_flops(exact, V, 8).dial == 2 * 2.0 * 16 * 32
    )  # layers · 2 · keys a query · all heads' width
    assert forward_flops(exact, V, None).dial == 0.0

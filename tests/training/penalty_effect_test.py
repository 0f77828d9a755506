"""What the penalty does to a small model: uniform attention, dead heads, and zero groups that are
stationary.
"""

from functools import cache, partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aila_jax.config import ModelConfig, PartitionConfig, PenaltyConfig, TrainConfig
from aila_jax.loss.cross_entropy import token_losses
from aila_jax.loss.group_sparsity import (
    PenaltyArgs,
    Strength,
    group_penalty,
    query_key_kernels,
    sparsity,
    with_query_key_kernels,
)
from aila_jax.loss.importance import size_weights
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.stats import StatsRequest
from aila_jax.model.transformer import Transformer
from aila_jax.partition.build import build_partition
from aila_jax.training.optimizer import build_optimizer, decayed, penalised_kernels
from aila_jax.types import Batch

MODEL = ModelConfig(length=12, d_model=16, n_heads=2, d_ff=16, n_layers=1)
GROUPS, VOCAB, PERIOD, STEPS, RAMP = 4, 6, 3, 400, 200
NETWORK = Network(Transformer(MODEL, VOCAB), build_partition(PartitionConfig()))
WEIGHTS = size_weights(MODEL.d_model, MODEL.n_heads, GROUPS)
UNIFORM_BITS = np.mean(np.log2(np.arange(1, MODEL.length + 1)))  # uniform causal attention
NONE, SOME, MUCH = 0.0, 0.03, 0.3  # λη


@cache
def repeating() -> Batch:
    """Rows that repeat three random tokens: who attends two tokens back knows the next one, all but the first
    three times.
    """
    draw = np.random.default_rng(0)
    row = np.tile(draw.integers(0, VOCAB, (48, PERIOD)), MODEL.length // PERIOD).astype(np.int32)
    batch = Batch.from_tokens(row)
    return batch.replace(weights=(batch.weights * (batch.positions >= PERIOD - 1)).astype(np.float32))


def cross_entropy(params):
    logits = NETWORK(params, repeating(), Dial(0.0, 1.0), Request()).logits
    losses = token_losses(logits, repeating().targets)
    return jnp.sum(losses * repeating().weights) / np.sum(repeating().weights)


@partial(jax.jit, static_argnums=0)
def train(solver, lam_eta, start, others):
    """Full-batch training from `start` (with `others` 0, of W_Q and W_K only): the parameters at the end and
    what they give.
    """
    config = TrainConfig(steps=STEPS, learning_rate=0.03, warmup_steps=20, final_rate=0.0, weight_decay=0.0)
    optimizer = build_optimizer(config, PenaltyConfig(solver=solver, eta=1.0), GROUPS)

    def loss(params, args):
        return cross_entropy(params) + (group_penalty(params, args) if solver == "subgradient" else 0.0)

    def body(carry, step):
        params, state = carry
        ramp = jnp.clip(
            step / RAMP, 0.0, 1.0
        )  # at full strength from the start, every head would be dead within a few steps
        args = PenaltyArgs(Strength(ramp, lam_eta, jnp.float32(0.0)), WEIGHTS, jnp.ones(MODEL.n_layers))
        gradients = jax.grad(loss)(params, args)
        gradients = with_query_key_kernels(
            jax.tree.map(lambda x: others * x, gradients), query_key_kernels(gradients)
        )
        updates, state = optimizer.update(gradients, state, params, penalty=args)
        return (optax.apply_updates(params, updates), state), None

    params, _ = jax.lax.scan(body, (start, optimizer.init(start)), jnp.arange(STEPS))[0]
    stats = NETWORK(params, repeating(), Dial(0.0, 1.0), Request(stats=StatsRequest())).stats
    return params, stats.entropy_bits, jax.value_and_grad(cross_entropy)(params)


@cache
def fresh():
    return jax.jit(lambda key: NETWORK.init(repeating(), key))(jax.random.key(0))


@cache
def trained(solver, lam_eta, onward=False):
    """Trained from the beginning, or (`onward`) W_Q and W_K trained on from what came out without a
    penalty.
    """
    start = trained(solver, NONE).params if onward else fresh()
    params, entropy, (loss, gradient) = train(solver, jnp.float32(lam_eta), start, jnp.float32(not onward))
    return SimpleNamespace(
        params=params, entropy=float(jnp.mean(entropy)), loss=float(loss), gradient=gradient
    )


@pytest.mark.parametrize("solver", ["subgradient", "proximal"])
def test_penalty_alone_makes_attention_uniform_and_training_without_it_does_not(solver):
    plain, penalised = trained(solver, NONE), trained(solver, MUCH)
    assert penalised.entropy == pytest.approx(UNIFORM_BITS, abs=1e-3)
    assert plain.entropy < UNIFORM_BITS - 0.5


def test_a_dead_head_has_no_gradient_and_averages():
    dead = trained("proximal", MUCH)
    assert int(sparsity(dead.params, GROUPS).dead_heads) == MODEL.n_heads
    np.testing.assert_array_equal(query_key_kernels(dead.gradient), 0.0)
    assert dead.entropy == pytest.approx(UNIFORM_BITS, abs=1e-5)  # of float32


def test_zero_groups_are_stationary():
    """At convergence ‖∂CE/∂W_i‖_F ≤ λη a_i wherever W_i = 0, and = λη a_i elsewhere."""
    found = trained("proximal", SOME, onward=True)
    gradient, kernels = (np.asarray(query_key_kernels(x), np.float64) for x in (found.gradient, found.params))
    ratios = {True: [], False: []}
    for layer, projection, head in np.ndindex(MODEL.n_layers, 2, MODEL.n_heads):
        if not kernels[layer, :, :, head].any(axis=(1, 2)).all():
            continue  # with W_K = 0 the gradient of W_Q is 0 whatever the penalty
        blocks = (np.array_split(x[layer, projection, :, head], GROUPS) for x in (gradient, kernels))
        for index, (slope, block) in enumerate(zip(*blocks, strict=True)):
            ratios[not block.any()].append(np.linalg.norm(slope) / (SOME * float(WEIGHTS[head, index])))
    assert len(ratios[True]) >= 2
    assert len(ratios[False]) >= 2
    assert max(ratios[True]) <= 1.0
    assert min(ratios[True]) > 0.1  # zero because of the penalty, not because nothing pulls
    np.testing.assert_allclose(ratios[False], 1.0, atol=0.01)


def test_weight_decay_is_off_where_the_penalty_acts():
    params = fresh()
    for penalty, spared in (
        (PenaltyConfig(), set()),
        (PenaltyConfig(solver="subgradient", eta=0.1), {"query", "key"}),
        (PenaltyConfig(solver="subgradient", nu=0.1), {"value"}),
        (PenaltyConfig(solver="proximal", eta=0.1, nu=0.1), {"query", "key", "value"}),
        (PenaltyConfig(solver="proximal"), set()),
    ):
        flags = decayed(params, penalised_kernels(penalty))
        kernels = flags["layer_0"]["attention"]
        assert {name for name in ("query", "key", "value", "out") if not kernels[name]["kernel"]} == spared
        assert flags["embedding"]
        assert flags["layer_0"]["mlp_in"]["kernel"]
        assert not flags["layer_0"]["mlp_in"]["bias"]

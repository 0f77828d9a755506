"""The whole model under rules: hard at λ = 1 with a gate, heads that turn in turn, layers, devices."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from aila_jax.config import MarginConfig
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.stats import StatsRequest
from aila_jax.model.transformer import Transformer
from aila_jax.partition.kinds import Windows
from aila_jax.partition.pointers import Ends
from aila_jax.partition.rules import Rules
from tests.support.tiny import MODEL, VOCAB_SIZE, fresh_params, random_batch

BATCH = random_batch(3)
RULES = Rules(sink=True, shift=2, pointers=Ends(1), layers=2)
MARGINS = {
    "fixed": MarginConfig(gate=1.0, nats=1.0),
    "staggered": MarginConfig(gate=1.0, nats=1.0, stagger=0.75),
    "bent": MarginConfig(gate=0.5, nats=1.0, power=3.0, linear=0.1),
    "self scaling": MarginConfig(gate=1.0, form="self_scaling", c=0.5, m0=1.0),
}


def run(margin: MarginConfig, lam, request: Request, rules: Rules = RULES, **options):
    config = replace(MODEL, margin=margin, **options)
    network = Network(Transformer(config, VOCAB_SIZE), Windows(4), rules)
    return jax.jit(lambda params: network(params, BATCH, Dial(np.float32(lam), np.float32(1.0)), request))(
        fresh_params()
    )


@pytest.mark.parametrize("name", MARGINS)
def test_the_model_at_full_lam_is_hard(name: str) -> None:
    """Logits of `hard`, and no attention outside in any head; a little below λ = 1 there is some."""
    soft = run(MARGINS[name], 1.0, Request(stats=StatsRequest(), weights=True))
    hard = run(MARGINS[name], 1.0, Request(hard=True))
    np.testing.assert_allclose(soft.logits, hard.logits, atol=1e-4)
    np.testing.assert_allclose(soft.stats.block_mass, 1.0, atol=1e-6)
    blocks = RULES(BATCH, Windows(4))
    for layer in range(2):
        relation = blocks.of_layer(layer)
        outside = np.broadcast_to(relation.attendable() & ~relation.inside(), soft.weights[layer].shape)
        assert outside.any() and not np.asarray(soft.weights)[layer][outside].any()
    below = run(MARGINS[name], 0.99, Request(stats=StatsRequest()))
    assert float(np.min(below.stats.block_mass)) < 1 - 1e-6
    assert np.isfinite(below.logits).all()


def test_lower_layers_are_not_hard_where_their_share_is_below_one() -> None:
    """β = 1: the lower of two layers imposes half of λ, and keeps (1 − ½)^κ of what is outside."""
    found = run(MARGINS["fixed"], 1.0, Request(stats=StatsRequest()), layer_beta=1.0)
    lower, upper = np.asarray(found.stats.block_mass)
    assert lower.min() < 0.99 and upper.min() > 1 - 1e-6


def test_at_no_lam_rules_and_gate_change_no_bit() -> None:
    plain = run(MarginConfig(nats=1.0), 0.0, Request(), Rules())
    for rules in (RULES, Rules(pointers=Ends()), Rules()):
        np.testing.assert_array_equal(run(MARGINS["fixed"], 0.0, Request(), rules).logits, plain.logits)


def test_gradients_of_the_model_are_finite_at_both_ends() -> None:
    network = Network(
        Transformer(replace(MODEL, margin=MARGINS["self scaling"]), VOCAB_SIZE), Windows(4), RULES
    )

    @jax.jit
    @jax.grad
    def gradient(params, lam):
        output = network(
            params, BATCH, Dial(lam, np.float32(0.1)), Request(stats=StatsRequest(in_block=True))
        )
        return (
            output.logits.std() + output.stats.entropy_bits.sum() + output.stats.in_block_entropy_bits.sum()
        )

    for lam in (0.0, 0.5, 1.0):
        found = gradient(fresh_params(), np.float32(lam))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


ON_DEVICES = """
    import json
    import jax
    import numpy as np
    import optax
    from dataclasses import replace
    from jax.sharding import Mesh
    from aila_jax.evaluation.evaluator import Evaluation, evaluate
    from aila_jax.model.interface import Dial
    from aila_jax.model.network import Network
    from aila_jax.model.transformer import Transformer
    from aila_jax.partition.kinds import Windows
    from aila_jax.partition.pointers import LowestEntropy
    from aila_jax.partition.rules import Rules
    from aila_jax.training.sharding import AXIS, Sharding, batch_sharding, map_step
    from aila_jax.training.state import create_state
    from aila_jax.training.step import Objective, make_train_step
    from aila_jax.config import MarginConfig
    from tests.support.tiny import MODEL, VOCAB_SIZE, fresh_params, random_batch

    ROWS = 16
    LAM, TAU = np.linspace(0, 1, ROWS, dtype=np.float32), np.linspace(0.5, 2, ROWS, dtype=np.float32)
    entropy = np.random.default_rng(0).random(VOCAB_SIZE).astype(np.float32)  # whole on every device
    rules = Rules(sink=True, shift=1, pointers=LowestEntropy(entropy, 2, 2), layers=2)
    network = Network(Transformer(replace(MODEL, margin=MarginConfig(gate=1.0)), VOCAB_SIZE), Windows(4), rules)

    def numbers(placed, parallel):
        step = map_step(make_train_step(network, optax.sgd(1.0), Objective(), axis_name=AXIS), placed, parallel)
        params = jax.tree.map(np.asarray, fresh_params())
        state = placed.replicate(create_state(params, optax.sgd(1.0), jax.random.key_data(jax.random.key(0)), None))
        state, metrics = step(state, placed.shard(random_batch(ROWS)), *placed.shard((LAM, TAU)))
        sums = evaluate(network, fresh_params(), [random_batch(ROWS)], Dial(LAM, TAU), placed, Evaluation(delta=True))
        return [np.asarray(leaf).tolist() for leaf in jax.tree.leaves((state, metrics, sums))]

    assert len(jax.devices()) == 8
    one = Sharding(Mesh(np.asarray(jax.devices()[:1]), (AXIS,)))
    print(json.dumps([numbers(one, "jit"), numbers(batch_sharding(ROWS), "jit"), numbers(batch_sharding(ROWS), "pmap")]))
"""


@pytest.mark.medium
def test_eight_devices_make_the_update_and_the_sums_of_one(run_in_subprocess_with_devices) -> None:
    one, *others = json.loads(run_in_subprocess_with_devices(8, ON_DEVICES))
    for other in others:
        for expected, found in zip(one, other, strict=True):
            np.testing.assert_allclose(found, expected, rtol=2e-5, atol=5e-6)

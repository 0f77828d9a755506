import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax.config import Config, InitKind, ModelConfig, RotaryConfig, RotaryLayout
from aila_jax.inference.inputs import example_batch
from aila_jax.model.interface import Dial, Request
from aila_jax.model.mimetic import LEAD, biases_before
from aila_jax.model.network import Network
from aila_jax.model.transformer import Transformer
from aila_jax.partition.kinds import Windows

SHAPES = {
    "halves": {},
    "interleaved": {"rotary": RotaryConfig(layout=RotaryLayout.INTERLEAVED)},
    "a half of them turns": {"rotary": RotaryConfig(share=0.5)},
    "few heads of keys": {"n_kv_heads": 2},
    "wide heads": {"head_width": 16},
}


def model_config(init, **settings):
    sizes = {"length": 12, "d_model": 32, "n_heads": 4, "d_ff": 8, "n_layers": 2}
    return ModelConfig(**sizes, init=init, init_std=0.1, rotary_base=1000.0, qkv_bias=True, **settings)


def drawn(config, seed=0):
    network = Network(Transformer(config, 16), Windows())
    return network, network.init(example_batch(Config(model=config)), jax.random.key(seed))


@pytest.mark.parametrize("settings", SHAPES.values(), ids=SHAPES)
def test_queries_are_keys_and_outputs_are_values(settings):
    config = model_config(InitKind.MIMETIC, **settings)
    _, params = drawn(config)
    served = config.n_heads // config.kv_heads
    for layer in ("layer_0", "layer_1"):
        parts = {name: np.asarray(part["kernel"]) for name, part in params[layer]["attention"].items()}
        for head in range(config.n_heads):
            kept = head // served
            np.testing.assert_array_equal(parts["query"][:, head], parts["key"][:, kept])
            np.testing.assert_allclose(parts["out"][head], parts["value"][:, kept].T / 2, rtol=1e-6)


def test_all_else_is_drawn_as_ever():
    _, made = drawn(model_config(InitKind.MIMETIC))
    _, plain = drawn(model_config(InitKind.NORMAL))
    for part, names in (("kernel", ("query", "out")), ("bias", ("query", "key"))):
        for name in names:
            for layer in ("layer_0", "layer_1"):
                made[layer]["attention"][name][part] = plain[layer]["attention"][name][part]
    assert jax.tree.all(jax.tree.map(lambda one, other: bool(jnp.array_equal(one, other)), made, plain))


@pytest.mark.parametrize("settings", SHAPES.values(), ids=SHAPES)
def test_the_first_head_puts_the_token_before_first(settings):
    """By positions alone: the weights of queries and keys are taken away."""
    config = model_config(InitKind.MIMETIC, **settings)
    network, params = drawn(config)
    attention = params["layer_0"]["attention"]
    for name in ("query", "key"):
        attention[name]["kernel"] = jnp.zeros_like(attention[name]["kernel"])
    batch = example_batch(Config(model=config))
    output = network(params, batch, Dial(0.0, 1.0), Request(weights=True))
    weights = np.asarray(output.weights, np.float64)[0, 0, 0]
    for query in range(2, config.length):
        scores = np.log(weights[query, : query + 1])
        assert np.argmax(scores) == query - 1
        assert scores[query - 1] - scores[query - 2] == pytest.approx(LEAD, abs=1e-3)


def test_only_one_head_begins_with_biases():
    config = model_config(InitKind.MIMETIC)
    _, params = drawn(config)
    biases = np.stack([params[layer]["attention"]["query"]["bias"] for layer in ("layer_0", "layer_1")])
    assert np.count_nonzero(biases.any(axis=-1)) == 1
    np.testing.assert_array_equal(biases[0, 0], biases_before(config)[0])


@pytest.mark.parametrize("settings", [{"rotary_base": 0.0}, {"qkv_bias": False}])
def test_a_model_without_turned_positions_or_biases_is_refused(settings):
    with pytest.raises(
        ValueError, match=r"model.init is 'mimetic'; it must be normal without model.rotary_base"
    ):
        ModelConfig(**{"init": InitKind.MIMETIC, "rotary_base": 1000.0, "qkv_bias": True, **settings})

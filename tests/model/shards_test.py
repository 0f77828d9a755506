"""The table of how arrays lie on a mesh, against what is written out by hand."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from aila_jax.config import AdapterConfig, Config, ModelConfig, TrainConfig
from aila_jax.inference.inputs import example_batch
from aila_jax.model import shards
from aila_jax.model.network import Network
from aila_jax.model.shards import axes_of, gathered, placed, spec_of, specs_of
from aila_jax.model.transformer import Transformer
from aila_jax.partition.kinds import Windows
from aila_jax.training.optimizer import build_optimizer

SIZES = {"data": 2, "fsdp": 2, "tensor": 4}
USUAL = ModelConfig(length=12, d_model=16, n_heads=4, d_ff=32, n_layers=1)
LLAMA = replace(
    USUAL, n_kv_heads=2, norm="rms_norm", feed_forward="swiglu", tied=False, learned_positions=False,
    rotary_base=1e4, qkv_bias=False, out_bias=False, mlp_bias=False,
)  # fmt: skip
TURNING = replace(USUAL, film=True, adapters=AdapterConfig(rank=3), dial_weights="qkv", qk_norm=True)
MODELS = {"usual": USUAL, "llama": LLAMA, "turning": TURNING}


def shapes(model: ModelConfig, vocabulary: int = 40):
    network = Network(Transformer(model, vocabulary), Windows())
    batch = example_batch(Config(model=model))
    return jax.eval_shape(lambda: network.init(batch, jax.random.key(0)))


def named(tree):
    found = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda one: isinstance(one, P))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in found}


def test_every_parameter_lies_where_it_is_said_to_by_hand():
    layer, attention = "layer_0", "layer_0/attention"
    assert named(specs_of(shapes(replace(USUAL, qkv_bias=True)), SIZES)) == {
        "embedding": P("tensor", "fsdp"),
        "position": P(None, "fsdp"),
        f"{attention}/query/kernel": P("fsdp", "tensor"),
        f"{attention}/key/kernel": P("fsdp", "tensor"),
        f"{attention}/value/kernel": P("fsdp", "tensor"),
        f"{attention}/query/bias": P("tensor"),
        f"{attention}/key/bias": P("tensor"),
        f"{attention}/value/bias": P("tensor"),
        f"{attention}/out/kernel": P("tensor", None, "fsdp"),
        f"{attention}/out/bias": P("fsdp"),
        f"{layer}/mlp_in/kernel": P("fsdp", "tensor"),
        f"{layer}/mlp_in/bias": P("tensor"),
        f"{layer}/mlp_norm/LayerNorm_0/scale": P("fsdp"),
        f"{layer}/mlp_norm/LayerNorm_0/bias": P("fsdp"),
        f"{layer}/mlp_out/kernel": P("tensor", "fsdp"),
        f"{layer}/mlp_out/bias": P("fsdp"),
        "final_norm/LayerNorm_0/scale": P("fsdp"),
        "final_norm/LayerNorm_0/bias": P("fsdp"),
    }


def test_grouped_key_heads_and_the_vocabulary_stay_whole_where_they_are_not_divisible():
    found = named(specs_of(shapes(LLAMA, vocabulary=39), SIZES))
    assert found["embedding"] == found["output"] == P(None, "fsdp")
    assert found["layer_0/attention/key/kernel"] == found["layer_0/attention/value/kernel"] == P("fsdp")
    assert found["layer_0/attention/query/kernel"] == P("fsdp", "tensor")
    assert found["layer_0/mlp_gate/kernel"] == P("fsdp", "tensor")
    two = named(specs_of(shapes(LLAMA), {**SIZES, "tensor": 2}))
    assert two["layer_0/attention/key/kernel"] == P("fsdp", "tensor")
    assert two["output"] == P("tensor", "fsdp")


def test_adapters_film_and_dial_weights_lie_by_their_own_rows():
    found, layer = named(specs_of(shapes(TURNING), SIZES)), "layer_0/attention"
    assert found[f"{layer}/query_down/kernel"] == found[f"{layer}/value_down/kernel"] == P("fsdp")
    assert found[f"{layer}/query_up/kernel"] == found[f"{layer}/key_up/kernel"] == P(None, "tensor")
    assert found[f"{layer}/out_down/kernel"] == P("tensor")
    assert found[f"{layer}/out_up/kernel"] == P(None, "fsdp")
    assert found[f"{layer}/key_dial/kernel"] == P("fsdp", "tensor")
    assert found[f"{layer}/qk_scale"] == P("tensor")
    assert found["layer_0/attention_norm/film_scale"] == found["final_norm/film_shift"] == P("fsdp")


@pytest.mark.parametrize("model", MODELS)
def test_each_parameter_is_in_one_row_that_has_its_axes(model):
    for name, leaf in named(shapes(MODELS[model])).items():
        rows = [axes for pattern, axes in shards.RULES if re.search(rf"(^|/)({pattern})$", name)]
        assert len(rows) == 1, name
        assert len(rows[0]) == len(leaf.shape), name


@pytest.mark.parametrize("model", MODELS)
def test_the_optimizer_follows_the_parameters(model):
    params = shapes(MODELS[model])
    state = jax.eval_shape(build_optimizer(TrainConfig()).init, params)
    found, moments = named(specs_of(state, SIZES)), 0
    for name, spec in named(specs_of(params, SIZES)).items():
        own = {there: at for there, at in found.items() if there.endswith(f"/{name}")}
        assert len(own) == 2 and set(own.values()) == {spec}, name
        moments += len(own)
    rest = [at for there, at in found.items() if there.endswith("count")]
    assert rest and set(rest) == {P()} and moments + len(rest) == len(found)


@pytest.mark.parametrize(("path", "shape", "words"), [
    ("layer_0/attention/query/kernel", (16, 6, 4), r"the heads of .*query/kernel is 6; it must be divisible by mesh.tensor \(4\). Fix"),
    ("mu/layer_0/mlp_out/kernel", (32, 15), r"the width of .* is 15; it must be divisible by mesh.fsdp \(2\). Fix"),
])  # fmt: skip
def test_a_size_that_must_be_divisible_is_refused(path, shape, words):
    with pytest.raises(ValueError, match=words):
        spec_of(path, shape, SIZES)


def test_what_is_in_no_row_is_whole():
    for name in ("key", "step", "importance", "bad_parts", "opt_state/1/0/count", "layer_0/other"):
        assert axes_of(name) == () and spec_of(name, (3, 5), SIZES) == P()


def test_without_a_mesh_arrays_stay_as_they_are():
    params, x = {"embedding": jnp.ones((4, 6))}, jnp.ones((2, 3, 6))
    jaxpr = jax.make_jaxpr(lambda tree, x: (gathered(tree), placed("residual", x)))(params, x)
    assert not jaxpr.eqns
    np.testing.assert_array_equal(gathered(params)["embedding"], params["embedding"])

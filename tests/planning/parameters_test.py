"""Parameters by formula are those of an initialised model, name by name."""

from dataclasses import replace

import jax
import pytest

from aila_jax import presets
from aila_jax.config import AdapterConfig, Config, ModelConfig
from aila_jax.model.parts import dial_part
from aila_jax.model.transformer import build_transformer
from aila_jax.planning.parameters import PARTS, parameters
from aila_jax.runs.setup import drawn_params

SMALL = ModelConfig(length=12, d_model=16, n_heads=4, d_ff=24, n_layers=2)
LLAMA = replace(
    SMALL, norm="rms_norm", feed_forward="swiglu", mlp_bias=False, out_bias=False, learned_positions=False,
    rotary_base=1e4,
)  # fmt: skip
MODELS = {
    "default": SMALL,
    "untied": replace(SMALL, tied=False),
    "gpt2": replace(SMALL, norm="layer_norm", qkv_bias=True),
    "neox": replace(
        SMALL, norm="layer_norm", qkv_bias=True, parallel=True, tied=False, learned_positions=False
    ),
    "llama": LLAMA,
    "grouped": replace(LLAMA, n_kv_heads=2, head_width=6, tied=False),
    "qwen": replace(LLAMA, n_kv_heads=1, qkv_bias=True, n_layers=6),
    "gelu_exact": replace(SMALL, feed_forward="gelu_exact", mlp_bias=False),
    "qk_norm": replace(SMALL, qk_norm=True),
    "dial": replace(LLAMA, film=True, dial_weights="qkv", n_kv_heads=2),
    "dial_qk": replace(SMALL, film=True, dial_weights="qk"),
    "adapters": replace(LLAMA, n_kv_heads=2, adapters=AdapterConfig(rank=3)),
    "some_adapters": replace(SMALL, adapters=AdapterConfig(rank=2, on=("query", "out"))),
}


def initialised(config: Config, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of each parameter of the model; nothing is allocated."""
    tree = jax.eval_shape(lambda: drawn_params(config, build_transformer(config, vocabulary)))
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape for path, leaf in found}


@pytest.mark.parametrize("name", MODELS)
def test_of_every_family(name):
    config = Config(model=MODELS[name])
    planned = {one.name: one.shape for one in parameters(config.model, 31)}
    assert planned == initialised(config, 31)


# A deep model's shapes take a second or more to trace.
DEEP = ("base", "large", "xl")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.medium if name in DEEP else ()) for name in presets.PRESETS]
)
def test_of_every_preset(name):
    config = presets.preset(name)
    planned = list(parameters(config.model, config.data.vocab_size))
    assert {one.name: one.shape for one in planned} == initialised(config, config.data.vocab_size)
    assert all(one.part in PARTS for one in planned)


@pytest.mark.parametrize("name", ["dial", "dial_qk", "adapters", "some_adapters"])
def test_what_turns_with_the_dial(name):
    config = Config(model=MODELS[name])
    tree = jax.eval_shape(lambda: dial_part(drawn_params(config, build_transformer(config, 31))))
    turning = [one for one in parameters(config.model, 31) if one.part == "dial"]
    assert len(turning) == len(jax.tree.leaves(tree)) > 0
    assert sum(one.size for one in turning) == sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_parts_by_hand():
    """D 16, H 4 of width 4, F 24, two layers, V 31, twelve positions."""
    sizes = {part: sum(one.size for one in parameters(SMALL, 31) if one.part == part) for part in PARTS}
    assert sizes == {
        "embedding": 31 * 16 + 12 * 16,
        "attention": 2 * (4 * 16 * 16 + 16),
        "feed_forward": 2 * (16 * 24 + 24 + 24 * 16 + 16),
        "output": 0,
        "norms": 2 * 2 * 16 + 2 * 16,
        "dial": 0,
    }

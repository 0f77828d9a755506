"""Models whose insides the tests look at: two plain layers, and six in a loop with all that a forward pass
has.
"""

from dataclasses import replace
from functools import cache

import jax

from aila_jax.config import Config, MarginConfig, ModelConfig, PartitionConfig, RelationConfig
from aila_jax.inference.inputs import example_batch
from aila_jax.inference.language_model import LanguageModel
from tests.support.untrained import untrained_model

DEEP = ModelConfig(
    length=24, d_model=16, n_heads=4, n_kv_heads=2, d_ff=20, n_layers=6, norm="rms_norm", feed_forward="swiglu",  # type: ignore[arg-type]
    rotary_base=1e3, learned_positions=False, tied=False, qkv_bias=True, document_mask=True,
    margin=MarginConfig(nats=3.0, gate=1.0),
)  # fmt: skip
TEXTS = ("the cat saw the old owl", "my dog")
OTHER = "the dog saw a red hen ."


@cache
def deep_model() -> LanguageModel:
    """Six layers, more than are compiled one by one; windows of four tokens, with a sink."""
    config = Config(
        data=untrained_model().config.data,
        model=DEEP,
        partition=PartitionConfig(size=4),
        relation=RelationConfig(sink=True),
    )
    empty = LanguageModel(None, config, untrained_model().tokenizer, "deep", 0, {})
    params = jax.jit(lambda key: empty.network.init(example_batch(config), key))(jax.random.key(0))
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    drawn = [x + 0.3 * jax.random.normal(key, x.shape) for key, x in zip(keys, leaves, strict=True)]
    return replace(empty, params=jax.tree.unflatten(tree, drawn))


MODELS = {"two layers": untrained_model, "six in a loop": deep_model}


def equal_texts(model: LanguageModel) -> tuple[list[int], list[int]]:
    """Two texts of as many tokens, that differ in some."""
    clean, other = (model.tokenizer.encode(text) for text in (TEXTS[0], OTHER))
    length = min(len(clean), len(other))
    return clean[:length], other[:length]

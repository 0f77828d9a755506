"""A model with drawn parameters, for tests that need no learned ones: attention far from uniform, a real
tokenizer, no training.
"""

from dataclasses import replace
from functools import cache

import jax

from aila_jax.config import Config, DataConfig, ModelConfig
from aila_jax.data.documents import Document
from aila_jax.data.tokenizer import train_tokenizer
from aila_jax.inference.inputs import example_batch
from aila_jax.inference.language_model import LanguageModel
from tests.support.tiny import sentences


@cache
def untrained_model() -> LanguageModel:
    """2 layers of 2 heads, length 24, 300 byte-pair types of the small grammar."""
    data = DataConfig(corpus="text", files=("never read",), vocab_size=300)
    config = Config(data=data, model=ModelConfig(length=24, d_model=16, n_heads=2, d_ff=32, n_layers=2))
    empty = LanguageModel(
        None, config, train_tokenizer(data, [Document("grammar", (sentences(50, 0),))]), "untrained", 0, {}
    )
    params = jax.jit(lambda key: empty.network.init(example_batch(config), key))(jax.random.key(0))
    return replace(empty, params=jax.tree.map(lambda x: 12 * x if x.ndim > 1 else x, params))


def with_dial_weights(model: LanguageModel) -> LanguageModel:
    """The same function of text and λ: queries, keys and values turn with the dial, and every W′ is 0."""
    params = dict(model.params)
    for name in [name for name in params if name.startswith("layer_")]:
        attention = params[name]["attention"]
        turned = {
            f"{part}_dial": {"kernel": 0 * attention[part]["kernel"]} for part in ("query", "key", "value")
        }
        params[name] = {**params[name], "attention": {**attention, **turned}}
    return replace(
        model,
        params=params,
        config=replace(model.config, model=replace(model.config.model, dial_weights="qkv")),
    )

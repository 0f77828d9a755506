"""Tiny pretrained models with adapters that do something, for the tests of what is exported."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import aila_jax as aila
from aila_jax.config import AdapterConfig, MarginConfig, PartitionConfig, RelationConfig
from aila_jax.inference.language_model import LanguageModel

FILES = Path(__file__).parents[1] / "pretrained" / "files"
NAMES = ("llama", "llama_biases", "mistral", "qwen2", "gpt2", "neox", "neox_in_turn")
RANK, LENGTH = 3, 32
SINK, PLAIN = RelationConfig(sink=True), RelationConfig()
OPEN = MarginConfig(nats=0.0)  # a margin that does nothing: the weights alone turn
WINDOWS, SENTENCES = PartitionConfig(size=5), PartitionConfig(kind="segments", unit="sentence")
FIXED = MarginConfig(nats=3.0, gate=0.5, power=2.0, linear=0.25)
SELF = MarginConfig("self_scaling", c=0.5, m0=2.0, gate=1.0, range_bend=2.0)


def pretrained(
    name: str,
    partition: PartitionConfig = SENTENCES,
    relation: RelationConfig = SINK,
    margin: MarginConfig | None = None,
) -> LanguageModel:
    return aila.from_pretrained(
        FILES / name, length=LENGTH, partition=partition, relation=relation, margin=margin
    )


def adapted(model: LanguageModel, on: tuple[str, ...] = ("query", "key", "value", "out")) -> LanguageModel:
    """The same model with adapters of drawn numbers, which change its logits by about their own size."""
    adapters = AdapterConfig(RANK, on)
    config = replace(model.config, model=replace(model.config.model, adapters=adapters))
    whole = replace(model, config=config)
    batch = whole.batch(np.zeros((1, 2), np.int32))
    shapes = jax.eval_shape(lambda: whole.network.init(batch, jax.random.key(0)))
    draw = np.random.default_rng(5)
    params = jax.tree.map(lambda one: one, model.params)
    for name in [name for name in shapes if name.startswith("layer_")]:
        for part, held in shapes[name]["attention"].items():
            if part.endswith(("_down", "_up")):
                values = 0.3 * draw.standard_normal(held["kernel"].shape)
                params[name]["attention"][part] = {"kernel": jnp.asarray(values, jnp.float32)}
    return replace(whole, params=params)


def with_margin(model: LanguageModel, margin: MarginConfig, **settings: float) -> LanguageModel:
    """The same weights, dialled by another margin, or other settings of the decoder."""
    shape = replace(model.config.model, margin=margin, **settings)
    return replace(model, config=replace(model.config, model=shape))


def tokens_of(model: LanguageModel, count: int = 24, seed: int = 0) -> np.ndarray:
    """Drawn types, with full stops among them so that there are sentences."""
    draw = np.random.default_rng(seed)
    ids = draw.integers(0, model.tokenizer.vocab_size, count)
    ids[[4, 9, 10, 17]] = model.tokenizer.encode(".")[0]
    return ids.astype(np.int32)[None]

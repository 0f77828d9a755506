"""The same tokens and the same weights for every contestant, as NumPy arrays."""

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from aila_jax.config import FeedForwardKind, ModelConfig, NormKind, require
from benchmarks.shapes import Shape

BATCHES = 4  # different batches, used in turn


def load_tokens(shape: Shape, data_dir: str = "") -> Int[np.ndarray, "batches B L+1"]:
    """Tokens for `shape`: from WikiText-2's train split in `data_dir`, or random ones."""
    if not data_dir:
        return draw_tokens(shape)
    from aila_jax.data.dataset import load_dataset

    require(
        shape.config.data.corpus == "wikitext2",
        "data_dir",
        data_dir,
        f"empty for the shape {shape.name!r}",
        "leave it out",
    )
    config = replace(shape.config.data, data_dir=data_dir)
    return cut_tokens(load_dataset(config).splits["train"].tokens, shape)


def draw_tokens(shape: Shape, seed: int = 0) -> Int[np.ndarray, "batches B L+1"]:
    """Random token ids whose frequencies fall as those of words do (Zipf, p ∝ 1 / (rank + 2.7))."""
    share = 1.0 / (np.arange(shape.vocab_size) + 2.7)
    draw = np.random.default_rng(seed)
    size = (BATCHES, shape.batch_size, shape.config.model.length + 1)
    return draw.choice(shape.vocab_size, size=size, p=share / share.sum()).astype(np.int32)


def cut_tokens(stream: Int[np.ndarray, "T"], shape: Shape) -> Int[np.ndarray, "batches B L+1"]:
    """The first tokens of an encoded text, in pieces of L + 1."""
    size = (BATCHES, shape.batch_size, shape.config.model.length + 1)
    count = int(np.prod(size))
    require(
        len(stream) >= count, "tokens in data_dir", len(stream), f"at least {count}", "lower --batch_size"
    )
    tokens = np.asarray(stream[:count], np.int32).reshape(size)
    require(
        int(tokens.max()) < shape.vocab_size,
        "largest token id",
        int(tokens.max()),
        f"below {shape.vocab_size}",
        "use other data",
    )
    return tokens


def draw_weights(config: ModelConfig, vocab_size: int, seed: int = 0) -> dict[str, Any]:
    """A parameter tree of `aila_jax.model.transformer.Transformer` with normal entries.

    They are larger than at initialisation, so that attention is far from uniform and equal losses mean equal
    models.
    """
    draw = np.random.default_rng(seed)
    width, heads, size = config.d_model, config.n_heads, config.d_model // config.n_heads

    def normal(std: float, *shape: int) -> Float[np.ndarray, "..."]:
        return (std * draw.standard_normal(shape, dtype=np.float32)).astype(np.float32)

    def norm() -> dict[str, Any]:
        if config.norm == NormKind.RMS:
            return {"RMSNorm_0": {"scale": 1 + normal(0.1, width)}}
        return {"LayerNorm_0": {"scale": 1 + normal(0.1, width), "bias": normal(0.1, width)}}

    def dense(biased: bool, std: float, shape: tuple[int, ...], bias: tuple[int, ...]) -> dict[str, Any]:
        kernel = {"kernel": normal(std, *shape)}
        return {**kernel, "bias": normal(0.1, *bias)} if biased else kernel

    def layer() -> dict[str, Any]:
        attention = {
            name: {"kernel": normal(1.5 * width**-0.5, width, heads, size)}
            for name in ("query", "key", "value")
        }
        attention["out"] = dense(config.out_bias, width**-0.5, (heads, size, width), (width,))
        inner = ["mlp_in", *(["mlp_gate"] if config.feed_forward == FeedForwardKind.SWIGLU else [])]
        parts = {"attention": attention, "mlp_norm": norm()}
        for name in inner:
            shape = (width, config.d_ff)
            parts[name] = dense(config.mlp_bias, width**-0.5, shape, (config.d_ff,))
        parts["mlp_out"] = dense(config.mlp_bias, config.d_ff**-0.5, (config.d_ff, width), (width,))
        return parts if config.norm == NormKind.CENTRED else {**parts, "attention_norm": norm()}

    layers = {f"layer_{index}": layer() for index in range(config.n_layers)}
    weights = {"embedding": normal(0.05, vocab_size, width)}
    if config.learned_positions:
        weights["position"] = normal(0.05, config.length, width)
    return {**weights, **layers, "final_norm": norm()}

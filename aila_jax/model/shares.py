"""How much of its margin each layer and head imposes at λ: the dial's curve, factors of layers, and heads
that turn one after another.
"""

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from aila_jax.config import ModelConfig
from aila_jax.types import Array


def default_layer_scale(config: ModelConfig) -> Float[Array, "N"]:
    """((ℓ + 1) / N)^β for layers ℓ = 0 … N − 1 (arXiv 2511.18375: β 0 uniform; 1, 3, 5 progressive)."""
    return (jnp.arange(1, config.n_layers + 1, dtype=jnp.float32) / config.n_layers) ** config.layer_beta


def check_layer_scale(scale: Any, n_layers: int) -> Float[Array, "N"]:
    """layer_scale as float32 [N]; raises ValueError for another shape or, where the values are known, one
    outside [0, 1].
    """
    array = jnp.asarray(scale, jnp.float32)
    known = not isinstance(array, jax.core.Tracer)
    if array.shape != (n_layers,) or (known and not bool(jnp.all((array >= 0) & (array <= 1)))):
        raise ValueError(
            f"layer_scale is {scale!r}; it must be {n_layers} numbers in [0, 1], one a layer. Fix: leave it"
            " out for the configuration's"
        )
    return array


def head_ranks(config: ModelConfig) -> Float[np.ndarray, "N H"]:
    """Place of each head in the order in which a staggered margin turns them, from 0 to 1.

    Head 0 of every layer comes first, then head 1 of every layer, every second time from the last layer to
    the first: so every layer keeps a share of its heads as long as the others do.
    """
    layers, heads = config.n_layers, config.n_heads
    order = np.arange(heads)[None, :] * layers + np.arange(layers)[:, None]
    order[:, 1::2] = order[::-1, 1::2]
    return order / max(layers * heads - 1, 1)


def imposed_share(
    config: ModelConfig, layer: int, lam: Float[Array, "..."], scale: Any
) -> Float[Array, "..."]:
    """Share of the margin that a layer imposes at λ: of λ's shape, or, where heads are staggered, [B, H] ([1,
    H] for a scalar λ).
    """
    stagger = config.margin.stagger
    if stagger:
        lam = turned(
            jnp.reshape(lam, (-1, 1)), head_ranks(config)[layer : layer + 1].astype(np.float32), stagger, jnp
        )
    return config.margin.share(lam * scale)


def head_shares(
    config: ModelConfig, lam: float, less: float = 0.0, layer_scale: Any = None
) -> Float[np.ndarray, "N H"]:
    """The share of its margin that each head imposes at λ, in float64: `imposed_share` of all layers.

    `less` is taken off each head's own λ, down to 0, unless λ = 1, where all are turned exactly.
    `layer_scale`: N factors of λ in [0, 1]; the configuration's by default.
    """
    scale_N = (
        default_layer_scale(config)
        if layer_scale is None
        else check_layer_scale(layer_scale, config.n_layers)
    )
    lam_NxH = np.full((config.n_layers, config.n_heads), lam)
    if config.margin.stagger:
        lam_NxH = turned(lam_NxH, head_ranks(config), config.margin.stagger, np)
        lam_NxH = lam_NxH if lam >= 1.0 else np.maximum(lam_NxH - less, 0.0)
    return np.asarray(config.margin.share(lam_NxH * np.asarray(scale_N, np.float64)[:, None]))


def turned(lam: Any, rank: Any, stagger: float, xp: ModuleType) -> Any:
    """λ of a head of rank r: 0 up to λ = σr, then rising to 1 at λ = σr + 1 − σ; exactly 0 at λ = 0 and
    exactly 1 at λ = 1.
    """
    rising = xp.clip((lam - stagger * rank) / (1.0 - stagger), 0.0, 1.0)
    return xp.where(lam >= 1.0, 1.0, rising)

"""The output layer: next-token logits of the last norm's output."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
from jaxtyping import Float

from aila_jax.config import ModelConfig
from aila_jax.model.interface import Dial, ModelOutput, Request
from aila_jax.model.layers import Norm
from aila_jax.model.shards import gathered, placed
from aila_jax.model.stats import AttentionStats
from aila_jax.types import Array


def output_weights(params: Any) -> Float[Array, "V D"]:
    """The output layer's weights: its own, or the embeddings of tokens where they are tied."""
    name = "output" if "output" in params else "embedding"
    return gathered(params[name], name)


def final_norm(
    config: ModelConfig,
    params: Any,
    x_BxTxD: Float[Array, "B T D"],
    dial: Dial,
) -> Float[Array, "B T D"]:
    """The residual stream after the last layer as the output layer reads it, in the compute type."""
    lam = jnp.asarray(dial.lam, jnp.float32)
    last_BxTxD: Array = Norm.elsewhere(config, None).apply(
        {"params": gathered(params["final_norm"])}, x_BxTxD, lam
    )
    return last_BxTxD.astype(jnp.dtype(config.dtype))


def output_of(
    features_BxLxD: Float[Array, "B L D"],
    params: Any,
    request: Request,
    stats: AttentionStats | None,
) -> ModelOutput:
    """What is asked for of the last norm's output and the layers' statistics."""
    logits_BxLxV = None
    if request.logits:
        weights_VxD = output_weights(params).astype(features_BxLxD.dtype)
        logits_BxLxV = jnp.einsum(
            "bld,vd->blv", features_BxLxD, weights_VxD, preferred_element_type=jnp.float32
        )
        logits_BxLxV = placed("logits", logits_BxLxV)
    if stats is None:
        return ModelOutput(features_BxLxD, logits_BxLxV)
    wanted = None if request.stats is None else replace(stats, weights=None)
    return ModelOutput(features_BxLxD, logits_BxLxV, wanted, stats.weights)

"""Weights that begin where trained ones end: `model.init = mimetic`.

A small model that is to look words up spends most of its training on finding out how. Here its heads begin
with what such models come to: like finds like, what is found is handed on as it is, and one head reads the
token before. Source: queries and keys, values and output as multiples of the identity, Trockman and Kolter
(arXiv 2305.09828); a head that reads the token before, Olsson et al. (arXiv 2209.11895). Ours: as one start.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Float

from aila_jax.config import ModelConfig, RotaryLayout
from aila_jax.model.rotary import Rotation, rotary_rates, turned_width
from aila_jax.types import Array

LEAD = 3.5  # nats of the score of the token before over that of the one before it


def mimetic(params: Any, config: ModelConfig) -> Any:
    """Drawn parameters, and of them other queries, outputs and two biases of attention; pure.

    A query's weights are those of its key. The output's are the transposed values', times
    `residual_std / init_std`, so that they write no more than before. The first head of the first layer gets
    biases of its queries and keys by which positions alone put the token before first, by `LEAD`.

    Args:
      params: as `Network.init` draws them.
      config: with rotary positions and biases.
    """
    made = dict(params)
    for name in (f"layer_{layer}" for layer in range(config.n_layers)):
        made[name] = {**params[name], "attention": _attention(params[name]["attention"], config)}
    first = made["layer_0"]["attention"]
    for name, bias_K in zip(("query", "key"), biases_before(config), strict=True):
        first[name] = {**first[name], "bias": first[name]["bias"].at[0].set(bias_K)}
    return made


def _attention(drawn: Any, config: ModelConfig) -> Any:
    """Of one layer; each head of keys and values serves so many of the queries."""
    served = config.n_heads // config.kv_heads
    key_DxHxK, value_DxHxK = (jnp.repeat(drawn[name]["kernel"], served, axis=1) for name in ("key", "value"))
    share = config.residual_std / config.init_std
    return {
        **drawn,
        "query": {**drawn["query"], "kernel": key_DxHxK},
        "out": {**drawn["out"], "kernel": share * jnp.transpose(value_DxHxK, (1, 2, 0))},
    }


def biases_before(config: ModelConfig) -> tuple[Float[Array, "K"], Float[Array, "K"]]:
    """Biases of a query and a key whose score, once they are turned, is largest at the token before, and
    there `LEAD` above the next. A query's may stand in a head alone; they are 0 where nothing turns.
    """
    width, rotary = config.head_size, config.rotary
    turned = turned_width(width, rotary.share)
    rates = rotary_rates(turned, config.rotary_base, rotary)
    # At a distance d from the best the score is a² Σ cos(d · rate) / √K.
    size = jnp.sqrt(LEAD * width**0.5 / jnp.sum(1.0 - jnp.cos(rates)))
    first = jnp.arange(width)
    first = first % 2 == 0 if rotary.layout == RotaryLayout.INTERLEAVED else first < turned // 2
    query_K = jnp.where(first & (jnp.arange(width) < turned), size, 0.0)
    step = Rotation.of(jnp.ones((1, 1), jnp.int32), width, config.rotary_base, rotary)
    return query_K, step(query_K[None, None, None, :])[0, 0, 0]

"""Attention weights of chosen layers, heads and queries, and no others."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from aila_jax.model.attention import attention_logits, scale_of
from aila_jax.model.interface import Dial, Request
from aila_jax.model.layers import head_scale
from aila_jax.model.network import Network
from aila_jax.model.push import Push
from aila_jax.model.tap import Watch
from aila_jax.model.tapped import apply_tapped
from aila_jax.model.transformer import build_margin
from aila_jax.types import Array, Batch


@dataclass(frozen=True)
class WhichWeights:
    """Of which heads weights are wanted; static.

    Attributes:
      layers: counted from 0.
      heads: of each of them, counted from 0.
      hard: of block attention only.
    """

    layers: tuple[int, ...]
    heads: tuple[int, ...]
    hard: bool = False


@partial(jax.jit, static_argnames="which")
def chosen_weights(
    network: Network, params: Any, batch: Batch, dial: Dial, which: WhichWeights, at: Int[Array, "T"]
) -> Float[Array, "N B H T L"]:
    """α of the chosen layers and heads, at these positions of every row; 0 outside A_t.

    The forward pass is that of the model, with its route of attention; the rows are made from its queries and
    keys.
    """
    config = network.module.config
    names = [f"layer_{layer}.attention.{kind}" for layer in which.layers for kind in ("queries", "keys")]
    watch, request = Watch(frozenset(names)), Request(logits=False, hard=which.hard)
    apply_tapped(network, params, batch, dial, request, watch)
    blocks, heads = network.blocks(batch), jnp.asarray(which.heads)
    settings = network.module.settings(batch.positions, blocks, batch.doc_ids, dial, request, None)
    rows = jnp.broadcast_to(at, (batch.tokens.shape[0], *at.shape))
    found = []
    for layer in which.layers:
        share, setting = settings[layer]
        q, k = (watch.found[f"layer_{layer}.attention.{kind}"] for kind in ("queries", "keys"))
        scale = None
        if config.qk_norm:
            scale = head_scale(params[f"layer_{layer}"]["attention"]["qk_scale"], config.g_max)
        push = Push(
            share if jnp.ndim(share) < 2 else share[:, heads],
            setting.tau,
            build_margin(config.margin),
            0.0 if which.hard else config.margin.gate,
            scale_of(scale, q)[heads],
            config.score_cap,
        )
        masks = setting.relation.rows(rows).masks(which.hard)
        served = heads // (config.n_heads // config.kv_heads)
        logits = attention_logits(q[:, at][:, :, heads], k[:, :, served], masks, push)
        found.append(jax.nn.softmax(logits.gated, axis=-1))
    return jnp.stack(found)

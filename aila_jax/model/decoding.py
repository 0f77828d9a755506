"""A forward pass in two parts: a text's keys and values once, and then one position a token.

The layers of a single position are compiled one by one, however many they are: a loop over them would copy
every weight of the model for each token.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from aila_jax.model.interface import Dial, Request
from aila_jax.model.kept import COLLECTION, Kept, KeysValues, kept_of
from aila_jax.model.network import Network
from aila_jax.model.output import final_norm, output_of
from aila_jax.model.scanned import scan_layers, scans
from aila_jax.model.transformer import Block
from aila_jax.types import Array, Batch


def keys_and_values(network: Network, params: Any, batch: Batch, dial: Dial, request: Request) -> Kept:
    """Those of every position and layer of `batch`. Pure, and meant to run inside jit; nothing after the last
    layer's keys and values is computed there.
    """
    module, blocks = network.module, network.blocks(batch)
    cfg = module.config
    x_BxLxD = module.embedded(params, batch.tokens, batch.positions, blocks, None)
    settings = module.settings(batch.positions, blocks, batch.doc_ids, dial, request, None)
    if scans(module):
        _, (_, kept) = scan_layers(cfg, params, x_BxLxD, settings, len(blocks.layers) == 1, keeps=True)
        return tuple(_layer(kept, layer) for layer in range(cfg.n_layers))
    found = []
    for layer, (share, setting) in enumerate(settings):
        (x_BxLxD, _), variables = Block(cfg).apply(
            {"params": params[f"layer_{layer}"]}, x_BxLxD, share, setting, None, mutable=[COLLECTION]
        )
        found.append(kept_of(variables))
    return tuple(found)


def _layer(kept: Any, layer: int) -> KeysValues:
    return jax.tree.map(lambda every: every[layer], kept)


def next_logits(
    network: Network,
    params: Any,
    batch: Batch,
    dial: Dial,
    request: Request,
    at_B: Int[Array, "B"],
    kept: Kept,
) -> tuple[Float[Array, "B V"], Kept]:
    """The logits after position `at_B` of each example, whose earlier keys and values are kept; and what is
    kept with those of that position. Pure, and meant to run inside jit.

    Args:
      network: what runs.
      params: its parameters.
      batch: the whole windows up to that position, padding after it: what is inside for the query is made of
        them.
      dial: λ and τ.
      request: hard or not; nothing beside logits is returned.
      at_B: the position, whose token is read.
      kept: of every position before it.
    """
    module, at = network.module, at_B[:, None]
    cfg, blocks = module.config, network.blocks(batch).rows(at)
    tokens, positions = (
        jnp.take_along_axis(jnp.asarray(ids), at, axis=1) for ids in (batch.tokens, batch.positions)
    )
    x_Bx1xD = module.embedded(params, tokens, positions, blocks, None)
    settings = module.settings(positions, blocks, batch.doc_ids, dial, request, None)
    fresh = []
    for layer, ((share, setting), read) in enumerate(zip(settings, kept, strict=True)):
        (x_Bx1xD, _), variables = Block(cfg).apply(
            {"params": params[f"layer_{layer}"]},
            x_Bx1xD,
            share,
            replace(setting, kept=read),
            None,
            mutable=[COLLECTION],
        )
        fresh.append(kept_of(variables))
    output = output_of(final_norm(cfg, params, x_Bx1xD, dial), params, request, None)
    assert output.logits is not None, "request asks for logits"
    return output.logits[:, 0], tuple(fresh)

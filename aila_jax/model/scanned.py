"""A deep model's layers as one loop of the compiled program, so that it compiles in the time of a few.

The parameters stay `layer_0`, `layer_1` and so on; they are stacked inside the program alone.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Key

from aila_jax.config import ModelConfig
from aila_jax.model.interface import Dial, ModelOutput, Request
from aila_jax.model.kept import COLLECTION, KeysValues, kept_of
from aila_jax.model.layers import fold_in_each
from aila_jax.model.output import final_norm, output_of
from aila_jax.model.transformer import Block, Setting, Transformer
from aila_jax.partition.rules import Blocks
from aila_jax.types import Array, Batch

UNROLLED = 4  # layers that are compiled one by one: up to so many a loop saves nothing


def scans(module: Transformer) -> bool:
    """Whether the layers of a model run as a loop."""
    return module.config.n_layers > UNROLLED


def apply_scanned(
    module: Transformer,
    params: Any,
    batch: Batch,
    blocks: Blocks,
    dial: Dial,
    request: Request,
    dropout_keys_B: Key[Array, "B"] | None = None,
    pointers: Bool[Array, "B L L"] | None = None,
) -> ModelOutput:
    """`Transformer.__call__` with its layers in a loop. Each layer is computed again for the gradient, so
    that memory for it grows by one residual stream a layer.
    """
    cfg = module.config
    x_BxLxD = module.embedded(params, batch.tokens, batch.positions, blocks, dropout_keys_B)
    settings = module.settings(batch.positions, blocks, batch.doc_ids, dial, request, pointers)
    alike = len(blocks.layers) == 1
    x_BxLxD, (stats, _) = scan_layers(cfg, params, x_BxLxD, settings, alike, dropout_keys_B)
    features_BxLxD = final_norm(cfg, params, x_BxLxD, dial)
    return output_of(features_BxLxD, params, request, stats if request.reads_attention else None)


def scan_layers(
    config: ModelConfig,
    params: Any,
    x_BxLxD: Float[Array, "B L D"],
    settings: list[tuple[Float[Array, "..."], Setting]],
    alike: bool,
    dropout_keys_B: Key[Array, "B"] | None = None,
    keeps: bool = False,
) -> tuple[Float[Array, "B L D"], tuple[Any, KeysValues | None]]:
    """The residual stream after all layers; and, with a leading layer axis, their statistics and, where it
    `keeps` them, keys and values.

    Args:
      settings: of `Transformer.settings`.
      alike: one relation serves all layers.
    """
    block = Block(config)
    # What is the same in all layers is closed over: the relation too, where one serves all.
    shared = settings[0][1]
    relations = None if alike else stacked([setting.relation for _, setting in settings])

    @jax.checkpoint
    def layer(x_BxLxD: Float[Array, "B L D"], per: tuple[Any, ...]) -> tuple[Any, Any]:
        weights, share, relation, index = per
        setting = shared if relation is None else replace(shared, relation=relation)
        keys_B = fold_in_each(dropout_keys_B, index)
        (y_BxLxD, stats), variables = block.apply(
            {"params": weights}, x_BxLxD, share, setting, keys_B, mutable=[COLLECTION]
        )
        return y_BxLxD, (stats, kept_of(variables) if keeps else None)

    layers = [params[f"layer_{index}"] for index in range(config.n_layers)]
    shares = jnp.stack([jnp.asarray(share, jnp.float32) for share, _ in settings])
    per_layer = (stacked(layers), shares, relations, jnp.arange(config.n_layers))
    return jax.lax.scan(layer, x_BxLxD, per_layer)


def stacked(trees: list[Any]) -> Any:
    """Trees of one form as one, with a leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

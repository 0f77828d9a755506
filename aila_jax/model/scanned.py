"""The layers as functions of their weights: one after another, or as one loop of the compiled program, so
that a deep model compiles in the time of a few.

The parameters stay `layer_0`, `layer_1` and so on; they are stacked inside the program alone.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Key

from aila_jax.config import ModelConfig, Remat
from aila_jax.model.interface import Dial, ModelOutput, Request
from aila_jax.model.kept import COLLECTION, KeysValues, kept_of
from aila_jax.model.layers import fold_in_each
from aila_jax.model.output import final_norm, output_of
from aila_jax.model.shards import gathered, in_parts
from aila_jax.model.transformer import Block, Setting, Transformer
from aila_jax.partition.pairs import Pairs
from aila_jax.partition.rules import Blocks
from aila_jax.types import Array, Batch

UNROLLED = 4  # layers that are compiled one by one: up to so many a loop saves nothing


def scans(module: Transformer) -> bool:
    """Whether the layers of a model run as a loop."""
    return module.config.n_layers > UNROLLED


def by_layers(module: Transformer) -> bool:
    """Whether `apply_layers` is what runs a model: for a loop, to compute layers again, and where a device
    has a part of each layer's weights.
    """
    return scans(module) or module.remat in (Remat.DOTS, Remat.FULL) or in_parts()


def apply_layers(
    module: Transformer,
    params: Any,
    batch: Batch,
    blocks: Blocks,
    dial: Dial,
    request: Request,
    dropout_keys_B: Key[Array, "B"] | None = None,
    pointers: Pairs | None = None,
) -> ModelOutput:
    """`Transformer.__call__` layer by layer, with what `module.remat` says computed again for the
    gradient.
    """
    cfg = module.config
    tables = {name: params[name] for name in ("embedding", "position") if name in params}
    x_BxLxD = module.embedded(gathered(tables), batch.tokens, batch.positions, blocks, dropout_keys_B)
    settings = module.settings(batch.positions, blocks, batch.doc_ids, dial, request, pointers)
    alike = len(blocks.layers) == 1
    x_BxLxD, (stats, _) = scan_layers(
        cfg, params, x_BxLxD, settings, alike, dropout_keys_B, remat=module.remat
    )
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
    remat: Remat = Remat.AUTO,
) -> tuple[Float[Array, "B L D"], tuple[Any, KeysValues | None]]:
    """The residual stream after all layers; and, with a leading layer axis, their statistics and, where it
    `keeps` them, keys and values.

    Args:
      settings: of `Transformer.settings`.
      alike: one relation serves all layers.
      remat: what of a layer is computed again for its gradient; with `full`, memory for it grows by one
        residual stream a layer.
    """
    block = Block(config)
    # What is the same in all layers is closed over: the relation too, where one serves all.
    shared = settings[0][1]
    relations = [None if alike else setting.relation for _, setting in settings]

    @partial(recomputed, config, remat)
    def layer(x_BxLxD: Float[Array, "B L D"], per: tuple[Any, ...]) -> tuple[Any, Any]:
        weights, share, relation, index = per
        setting = shared if relation is None else replace(shared, relation=relation)
        keys_B = fold_in_each(dropout_keys_B, index)
        (y_BxLxD, stats), variables = block.apply(
            {"params": gathered(weights)}, x_BxLxD, share, setting, keys_B, mutable=[COLLECTION]
        )
        return y_BxLxD, (stats, kept_of(variables) if keeps else None)

    layers = [params[f"layer_{index}"] for index in range(config.n_layers)]
    shares = [jnp.asarray(share, jnp.float32) for share, _ in settings]
    if config.n_layers > UNROLLED:
        relation = None if alike else stacked(relations)
        per_layer = (stacked(layers), jnp.stack(shares), relation, jnp.arange(config.n_layers))
        return jax.lax.scan(layer, x_BxLxD, per_layer)
    found = []
    for index, per in enumerate(zip(layers, shares, relations, strict=True)):
        x_BxLxD, one = layer(x_BxLxD, (*per, index))
        found.append(one)
    return x_BxLxD, stacked(found)


def recomputed(config: ModelConfig, remat: Remat, layer: Callable[..., Any]) -> Callable[..., Any]:
    """A layer of which the gradient computes again what `remat` says. Weights that a device has a part of are
    always gathered again: kept, they would be whole.
    """
    if remat == Remat.AUTO:
        remat = Remat.FULL if config.n_layers > UNROLLED else Remat.NONE
    if remat == Remat.FULL:
        return jax.checkpoint(layer)
    if remat == Remat.DOTS:
        return jax.checkpoint(layer, policy=jax.checkpoint_policies.dots_with_no_batch_dims_saveable)
    return jax.checkpoint(layer, policy=_all_but_weights) if in_parts() else layer


# What makes whole weights of parts: the gather, and what changes nothing but type and form.
GATHERS = ("all_gather", "convert_element_type", "reshape", "transpose")


def _all_but_weights(primitive: Any, *_: Any, **__: Any) -> bool:
    return primitive.name not in GATHERS


def stacked(trees: list[Any]) -> Any:
    """Trees of one form as one, with a leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

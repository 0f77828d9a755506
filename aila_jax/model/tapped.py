"""A forward pass whose intermediate results run past a tap."""

from dataclasses import replace
from typing import Any

from aila_jax.model.interface import Dial, ModelOutput, Request
from aila_jax.model.network import Network
from aila_jax.model.output import final_norm, output_of
from aila_jax.model.tap import Tap, Watch, sites_of
from aila_jax.model.transformer import Block
from aila_jax.types import Array, Batch


def apply_tapped(
    network: Network, params: Any, batch: Batch, dial: Dial, request: Request, tap: Watch
) -> ModelOutput:
    """The forward pass of `network`, with a tap that every result of `sites_of` runs past, by its whole name.

    Layers are compiled one by one, however many they are, so that a result of one layer does not have to be
    held of all. Pure, but for what the tap does, and meant to run inside jit; what nothing depends on is not
    computed there.

    Args:
      network: what runs.
      params: its parameters.
      batch: what is read.
      dial: λ and τ.
      request: logits and hard or not; there are no statistics.
      tap: takes each result and gives what goes on in its place. Scores and weights are made whole in the
        layers that it sees them in, and in no other.
    """
    module, blocks = network.module, network.blocks(batch)
    cfg, sites = module.config, sites_of(module.config)
    rows, length = batch.tokens.shape

    def whole(layer: str) -> Tap:
        def one(name: str, value: Array) -> Array:
            # Within the feed-forward part positions and examples are one axis.
            shape = sites[f"{layer}{name}"].shape(cfg, rows, length, module.vocab_size)
            return tap(f"{layer}{name}", value.reshape(shape)).reshape(value.shape)

        return one

    x_BxLxD = module.embedded(params, batch.tokens, batch.positions, blocks, None)
    settings = module.settings(batch.positions, blocks, batch.doc_ids, dial, request, None)
    for layer, (share, setting) in enumerate(settings):
        name, weights = f"layer_{layer}.", params[f"layer_{layer}"]
        setting = replace(setting, tap=whole(name), by_rows=tap.sees_pairs(name))
        x_BxLxD, _ = Block(cfg).apply({"params": weights}, x_BxLxD, share, setting, None)
    features_BxLxD = whole("")("final_norm", final_norm(cfg, params, x_BxLxD, dial))
    output = output_of(features_BxLxD, params, request, None)
    return output if output.logits is None else replace(output, logits=whole("")("logits", output.logits))

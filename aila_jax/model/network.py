"""From a batch to logits: partition, then transformer. The one forward pass that training and evaluation
share.
"""

from typing import Any

import flax.struct
from jaxtyping import Float, Int, Key

from aila_jax.config import InitKind
from aila_jax.model.interface import Dial, ModelOutput, Request
from aila_jax.model.mimetic import mimetic
from aila_jax.model.scanned import apply_layers, by_layers
from aila_jax.model.transformer import Transformer
from aila_jax.partition.build import Partition
from aila_jax.partition.pairs import Pairs
from aila_jax.partition.rules import PLAIN, Blocks, Rules
from aila_jax.types import Array, Batch


@flax.struct.dataclass
class GivenBlocks:
    """A partition, and rules, that give these blocks whatever the batch is."""

    blocks: Blocks

    def __call__(self, batch: Batch, partition: Any = None) -> Any:
        """The blocks, and as a partition their ids."""
        return self.blocks.ids if partition is None else self.blocks


@flax.struct.dataclass
class Network:
    """A function of parameters, batch and dial. For jit the module is static and the partition's tables are
    arrays, so one compilation serves all networks of one shape.

    Attributes:
      module: the transformer.
      partition: makes the batch's block ids.
      rules: what is inside beyond a query's block, layer by layer.
    """

    module: Transformer = flax.struct.field(pytree_node=False)
    partition: Partition
    rules: Rules = PLAIN

    def __call__(
        self,
        params: Any,
        batch: Batch,
        dial: Dial,
        request: Request,
        dropout_keys_B: Key[Array, "B"] | None = None,
        pointers: Pairs | None = None,
    ) -> ModelOutput:
        """Runs the model on `batch` at `dial`; dropout is on where each example is given a key. Pure, and
        meant to run inside jit.

        `pointers` are pairs of query and key whose attention the statistics measure.
        """
        blocks, rest = self.blocks(batch), (dial, request, dropout_keys_B, pointers)
        if by_layers(self.module):
            return apply_layers(self.module, params, batch, blocks, *rest)
        read = (batch.tokens, batch.positions, blocks, batch.doc_ids, *rest)
        output = self.module.apply({"params": params}, *read)
        assert isinstance(output, ModelOutput)
        return output

    def blocks(self, batch: Batch) -> Blocks:
        """What the layers read of the blocks of `batch`. Pure."""
        return self.rules(batch, self.partition)

    def on_blocks(self, blocks: Blocks | Int[Array, "B L"]) -> "Network":
        """The same module on blocks that are given, whatever the batch's tokens are; ids are equal blocks in
        all layers.
        """
        given = blocks if isinstance(blocks, Blocks) else Blocks.same(blocks)
        return Network(self.module, GivenBlocks(given), GivenBlocks(given))  # type: ignore[arg-type]

    def init(self, batch: Batch, key: Array) -> Any:
        """Freshly drawn float32 parameters; `batch` gives shapes only."""
        params = self.module.init(
            key,
            batch.tokens,
            batch.positions,
            self.blocks(batch),
            batch.doc_ids,
            Dial(0.0, 1.0),
            Request(),
        )["params"]
        config = self.module.config
        return mimetic(params, config) if config.init == InitKind.MIMETIC else params

    def attention_inputs(
        self, params: Any, batch: Batch, dial: Dial, layer: int = 0, hard: bool = False
    ) -> Float[Array, "B L D"]:
        """The LayerNorm output before a layer's attention, float32. Pure; inside jit nothing after that layer
        is computed.

        Args:
          dial: λ and τ; they matter for layers after the first, and everywhere with `film`.
          layer: 0 is the first.
          hard: block attention in the layers before it.
        """
        wanted = (f"layer_{layer}", "attention_norm")
        _, found = self.module.apply(
            {"params": params},
            batch.tokens,
            batch.positions,
            self.blocks(batch),
            batch.doc_ids,
            dial,
            Request(logits=False, hard=hard),
            capture_intermediates=lambda inner, _: inner.path == wanted,
            mutable=["intermediates"],
        )
        return found["intermediates"][wanted[0]][wanted[1]]["__call__"][0]

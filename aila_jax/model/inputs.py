"""What the query, key and value projections of one layer read."""

from typing import Any

from jaxtyping import Float

from aila_jax.model.interface import Dial, Request
from aila_jax.model.transformer import Transformer
from aila_jax.partition.build import Partition
from aila_jax.types import Array, Batch


def attention_inputs(
    module: Transformer,
    partition: Partition,
    params: Any,
    batch: Batch,
    dial: Dial,
    layer: int = 0,
    hard: bool = False,
) -> Float[Array, "B L D"]:
    """The LayerNorm output before a layer's attention, float32. Pure; inside jit nothing after that layer is
    computed.

    Args:
      dial: λ and τ; they matter for layers after the first, and everywhere with `film`.
      layer: 0 is the first.
      hard: block attention in the layers before it.
    """
    wanted = (f"layer_{layer}", "attention_norm")
    _, found = module.apply(
        {"params": params},
        batch.tokens,
        batch.positions,
        partition(batch),
        batch.doc_ids,
        dial,
        Request(logits=False, hard=hard),
        capture_intermediates=lambda inner, _: inner.path == wanted,
        mutable=["intermediates"],
    )
    return found["intermediates"][wanted[0]][wanted[1]]["__call__"][0]

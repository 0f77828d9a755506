"""From a batch to logits: partition, then transformer. The one forward pass that training and evaluation share."""

from typing import Any

from aila_jax.model.transformer import Dial, ModelOutput, Request, Transformer
from aila_jax.partition.build import Partition
from aila_jax.types import Array, Batch


def forward(
    module: Transformer,
    partition: Partition,
    params: Any,
    batch: Batch,
    dial: Dial,
    request: Request,
    dropout_key: Array | None = None,
) -> ModelOutput:
    """Runs the model on `batch` at `dial`; dropout is on where a key is given. Pure, and meant to run inside jit."""
    output = module.apply(
        {"params": params},
        batch.tokens,
        batch.positions,
        partition(batch),
        batch.doc_ids,
        dial,
        request,
        train=dropout_key is not None,
        rngs=None if dropout_key is None else {"dropout": dropout_key},
    )
    assert isinstance(output, ModelOutput)
    return output


def init_params(module: Transformer, partition: Partition, batch: Batch, key: Array) -> Any:
    """Freshly drawn float32 parameters; `batch` gives shapes only."""
    return module.init(key, batch.tokens, batch.positions, partition(batch), batch.doc_ids, Dial(0.0, 1.0), Request())["params"]

"""What attention is worth to a model: its perplexity with the attention of every layer removed."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from aila_jax.config import check_tau
from aila_jax.config.options import ReadingOptions, are_lams
from aila_jax.data.dataset import Dataset
from aila_jax.data.pipeline import eval_batches
from aila_jax.evaluation.attention_cost import AttentionCost
from aila_jax.inference.corpus import windows_of
from aila_jax.inference.dial import dial_lams, dial_values
from aila_jax.inference.language_model import LanguageModel
from aila_jax.loss.scores import scores_of
from aila_jax.metrics.sums import perplexity
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.shards import over_devices
from aila_jax.training.sharding import AXIS, SPLIT, WHOLE, batch_sharding
from aila_jax.types import Array, Batch


def without_attention(
    model: LanguageModel,
    dataset: Dataset,
    lams: Sequence[float] = (0.0, 1.0),
    tau: float = 1.0,
    options: ReadingOptions = ReadingOptions(),
) -> list[AttentionCost]:
    """Perplexity with attention and with the attention branch of every layer adding 0, at each λ.

    Two compilations, whatever the number of λ. Removing a branch that the layers after it were trained with
    also shifts what they read, so the cost is an upper estimate of what attention carries.

    Args:
      model: a loaded checkpoint.
      dataset: encoded with the model's tokenizer.
      lams: values of λ.
      tau: τ.
      options: which text is read, and how.

    Raises:
      ValueError: a value outside its limits, or another tokenizer than the model's.
    Source: ours (docs/influence.md).
    """
    config, reading = model.config, options.reading(model.config)
    split, batch_size = reading.split, reading.batch_size
    lams, tau = dial_lams(config, are_lams("lams", lams), reading.hard), check_tau(float(tau))
    sharding = batch_sharding(batch_size, "sweep.batch_size")
    windows = windows_of(model, dataset, split)
    batches = list(eval_batches(windows, batch_size, reading.max_batches, reading.part))
    targets = sum(int(np.count_nonzero(batch.weights)) for batch in batches)
    params, chunk = sharding.replicate(model.params), config.train.loss_chunk
    dial_tau = sharding.shard(dial_values(tau, "tau", batch_size))

    def measured(lam: float, removed: bool) -> float:
        request = Request(logits=chunk == 0, hard=reading.hard and not removed, no_attention=removed)
        dial = Dial(sharding.shard(dial_values(lam, "lam", batch_size)), dial_tau)
        parts = [
            float(
                _loss(
                    model.network,
                    params,
                    sharding.shard(batch),
                    dial,
                    request,
                    chunk,
                    sharding.mesh,
                )
            )
            for batch in batches
        ]
        return perplexity(math.fsum(parts) / targets)

    return [
        AttentionCost(lam, tau, split, targets, measured(lam, False), measured(lam, True)) for lam in lams
    ]


@partial(jax.jit, static_argnames=("request", "loss_chunk", "mesh"))
def _loss(
    network: Network,
    params: Any,
    batch: Batch,
    dial: Dial,
    request: Request,
    loss_chunk: int,
    mesh: Mesh,
) -> Float[Array, ""]:
    """Summed loss of a batch's scored targets, nats; no statistics."""

    def on_device(params: Any, batch: Batch, dial: Dial) -> Array:
        output = network(params, batch, dial, request)
        losses = scores_of(output, params, batch, loss_chunk).losses
        return over_devices(jnp.sum(losses, where=batch.weights > 0), AXIS)

    return jax.shard_map(
        on_device, mesh=mesh, in_specs=(WHOLE, SPLIT, SPLIT), out_specs=WHOLE, check_vma=False
    )(params, batch, dial)

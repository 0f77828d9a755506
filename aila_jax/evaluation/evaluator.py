"""Evaluation of parameters on packed windows at one setting of the dial."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from aila_jax.loss.cross_entropy import TargetScores, linear_target_scores, target_scores
from aila_jax.metrics.sums import MetricSums, merge, metric_sums, to_host
from aila_jax.model.forward import forward
from aila_jax.model.interface import Dial, ModelOutput, Request
from aila_jax.model.masks import anchor_pointers, answer_pointers
from aila_jax.model.transformer import Transformer
from aila_jax.partition.anchors import Anchors
from aila_jax.partition.build import Partition
from aila_jax.training.sharding import AXIS, SPLIT, WHOLE, Sharding
from aila_jax.types import Array, Batch

IN_FLIGHT = 8  # batches whose sums may still be on the device: bounds memory without waiting for each


def scores_of(output: ModelOutput, params: Any, batch: Batch, loss_chunk: int) -> TargetScores:
    """How the targets are scored: by the logits where `loss_chunk` is 0, else from the features, so many
    tokens' logits at once.
    """
    if loss_chunk == 0:
        assert output.logits is not None, "without chunks the request must ask for logits"
        return target_scores(output.logits, batch.targets)
    return linear_target_scores(
        output.features, params["embedding"].astype(output.features.dtype), batch.targets, loss_chunk
    )


@partial(jax.jit, static_argnames=("module", "request", "loss_chunk", "mesh", "places", "answers"))
def eval_step(
    module: Transformer,
    partition: Partition,
    params: Any,
    batch: Batch,
    lam: Float[Array, "B"],
    tau: Float[Array, "B"],
    request: Request,
    loss_chunk: int,
    mesh: Mesh,
    places: int = 0,
    answers: bool = False,
    anchors: Anchors | None = None,
) -> MetricSums:
    """Metric sums of one batch at λ and τ, both traced: one compilation serves the whole dial. Devices of
    `mesh` share the batch.

    `request` asks for statistics; for logits only where `loss_chunk` is 0, else so many tokens' logits exist
    at once. `places` above 0 asks for the targets by their query's place in its block, so many places.
    Pointer fidelity is measured on the known answers, or on `anchors`, where one of them is given.
    """

    def on_device(
        partition: Partition, params: Any, batch: Batch, lam: Array, tau: Array, anchors: Anchors | None
    ) -> MetricSums:
        block_ids = partition(batch)
        pointers = None
        if answers:
            pointers = answer_pointers(batch.pointers)
        elif anchors is not None:
            pointers = anchor_pointers(anchors.of(batch, block_ids, module.config.document_mask), block_ids)
        output = forward(module, partition, params, batch, Dial(lam, tau), request, pointers=pointers)
        scores = scores_of(output, params, batch, loss_chunk)
        return jax.lax.psum(metric_sums(output, batch, block_ids, scores, places), AXIS)

    specs = (WHOLE, WHOLE, SPLIT, SPLIT, SPLIT, WHOLE)
    return jax.shard_map(on_device, mesh=mesh, in_specs=specs, out_specs=WHOLE, check_vma=False)(
        partition, params, batch, lam, tau, anchors
    )


def evaluate(
    module: Transformer,
    partition: Partition,
    params: Any,
    batches: Iterable[Batch],
    *,
    lam: Float[Array, "B"],
    tau: Float[Array, "B"],
    sharding: Sharding,
    delta: bool = False,
    hard: bool = False,
    loss_chunk: int = 0,
    places: int = 0,
    answers: bool = False,
    anchors: Anchors | None = None,
) -> MetricSums:
    """Merged sums over all batches, in float64 on the host; `lam` and `tau` hold one value per example of a
    batch.

    `loss_chunk` and `places` as in `eval_step`. `answers` (the batches' own pointers) or `anchors` ask for
    pointer fidelity.
    """
    request = Request(logits=loss_chunk == 0, stats=True, delta=delta, hard=hard)
    lam, tau = sharding.shard((np.asarray(lam, np.float32), np.asarray(tau, np.float32)))
    anchors = None if anchors is None else sharding.replicate(anchors)
    parts: list[MetricSums] = []
    for index, batch in enumerate(batches):
        placed = sharding.shard(batch)
        parts.append(
            eval_step(
                module,
                partition,
                params,
                placed,
                lam,
                tau,
                request,
                loss_chunk,
                sharding.mesh,
                places,
                answers,
                anchors,
            )
        )
        if index >= IN_FLIGHT:
            parts[index - IN_FLIGHT] = to_host(parts[index - IN_FLIGHT])
    return merge([to_host(part) for part in parts])

"""Evaluation of parameters on packed windows at one setting of the dial."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from aila_jax.loss.scores import scores_of
from aila_jax.metrics.pointers import anchor_pointers, answer_pointers
from aila_jax.metrics.sums import MetricSums, merge, metric_sums, to_host
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.shards import over_devices
from aila_jax.model.stats import StatsRequest
from aila_jax.partition.anchors import Anchors
from aila_jax.training.sharding import WHOLE, Sharding
from aila_jax.types import Batch

IN_FLIGHT = 8  # batches whose sums may still be on the device: bounds memory without waiting for each


@dataclass(frozen=True)
class Evaluation:
    """What is measured beside losses and attention, and how.

    Attributes:
      hard: block attention only.
      loss_chunk: tokens whose logits exist at once; 0 makes them all in one.
      delta: also score gaps.
      places: above 0 asks for the targets by their query's place in its block, so many places.
      answers: pointer fidelity on the batches' own pointers, the known answers.
    """

    hard: bool = False
    loss_chunk: int = 0
    delta: bool = False
    places: int = 0
    answers: bool = False

    @property
    def request(self) -> Request:
        """What the forward pass must return for it."""
        return Request(logits=self.loss_chunk == 0, stats=StatsRequest(delta=self.delta), hard=self.hard)


@partial(jax.jit, static_argnames=("evaluation", "mesh"))
def eval_step(
    network: Network,
    params: Any,
    batch: Batch,
    dial: Dial,
    evaluation: Evaluation,
    mesh: Mesh,
    anchors: Anchors | None = None,
) -> MetricSums:
    """Metric sums of one batch at a dial that is traced: one compilation serves all of it. Devices of `mesh`
    share the batch.

    Pointer fidelity is measured on the known answers, or on `anchors`, where one of them is asked for.
    """

    def on_device(
        network: Network, params: Any, batch: Batch, dial: Dial, anchors: Anchors | None
    ) -> MetricSums:
        block_ids = network.partition(batch)
        pointers = None
        if evaluation.answers:
            pointers = answer_pointers(batch.pointers)
        elif anchors is not None:
            document_mask = network.module.config.document_mask
            pointers = anchor_pointers(anchors.of(batch, block_ids, document_mask), block_ids)
        output = network(params, batch, dial, evaluation.request, pointers=pointers)
        scores = scores_of(output, params, batch, evaluation.loss_chunk)
        sums = metric_sums(output, batch, block_ids, scores, evaluation.places)
        return over_devices(sums, sharding.summed)

    sharding = Sharding(mesh)
    split = sharding.split
    params = jax.lax.with_sharding_constraint(params, sharding.shardings(params))
    cuts = (WHOLE, sharding.specs(params), split, Dial(split, split, WHOLE), WHOLE)
    sums: MetricSums = sharding.mapped(on_device, cuts, WHOLE)(network, params, batch, dial, anchors)
    return sums


def evaluate(
    network: Network,
    params: Any,
    batches: Iterable[Batch],
    dial: Dial,
    sharding: Sharding,
    evaluation: Evaluation = Evaluation(),
    anchors: Anchors | None = None,
) -> MetricSums:
    """Merged sums over all batches, in float64 on the host.

    Args:
      network: the model; params: its parameters.
      batches: of one shape.
      dial: λ and τ, one value per example of a batch.
      sharding: where a batch goes.
      evaluation: what is measured.
      anchors: ask for pointer fidelity on them.
    """
    lam, tau = sharding.shard((np.asarray(dial.lam, np.float32), np.asarray(dial.tau, np.float32)))
    dial = Dial(lam, tau, None if dial.layer_scale is None else sharding.replicate(dial.layer_scale))
    anchors = None if anchors is None else sharding.replicate(anchors)
    parts: list[MetricSums] = []
    for index, batch in enumerate(batches):
        placed = sharding.shard(batch)
        parts.append(eval_step(network, params, placed, dial, evaluation, sharding.mesh, anchors))
        if index >= IN_FLIGHT:
            parts[index - IN_FLIGHT] = to_host(parts[index - IN_FLIGHT])
    return merge([to_host(part) for part in parts])

"""Anchors at the end of warm-up: the table of local entropy, and the importance of feature groups."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from aila_jax.config import Config, Estimator, GroupWeights
from aila_jax.data.packing import Windows
from aila_jax.data.pipeline import TrainBatches, take
from aila_jax.loss.importance import anchor_weights
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.stats import StatsRequest
from aila_jax.partition.anchors import Anchors, ImportanceSums
from aila_jax.partition.build import Partition
from aila_jax.partition.type_entropy import EntropySums, TypeEntropy, corpus_entropy
from aila_jax.training.sharding import Sharding, gathered
from aila_jax.training.state import TrainState
from aila_jax.training.step import each_view
from aila_jax.types import PADDING_ID, Array, Batch

Draw = Callable[[int], tuple[Any, ...]]  # step → λ [B], τ [B], and more that is not read here


@partial(jax.jit, static_argnames="hard")
def block_attention_entropy(
    network: Network,
    params: Any,
    batch: Batch,
    lam: Float[Array, "B"],
    tau: Float[Array, "B"],
    hard: bool = False,
) -> tuple[Float[Array, "B L"], Bool[Array, "B L"]]:
    """Entropy of each query's attention inside its block ÷ log2 n_in, mean over layers and heads; and where
    n_in ≥ 2.

    Dropout is off. Source: paper (local entropy), normalisation ours (docs/method.md, section 4).
    """
    request = Request(logits=False, stats=StatsRequest(in_block=True), hard=hard)
    stats = network(params, batch, Dial(lam, tau), request).stats
    assert stats is not None and stats.in_block_entropy_bits is not None
    n_in = stats.n_in
    counted = (batch.doc_ids != PADDING_ID) & jnp.all(n_in >= 2, axis=0)
    largest = jnp.log2(jnp.maximum(n_in, 2).astype(jnp.float32))
    return jnp.mean(jnp.mean(stats.in_block_entropy_bits, axis=2) / largest, axis=0), counted


def attention_entropy(
    network: Network,
    params: Any,
    batches: Iterable[Batch],
    draw: Draw,
    sharding: Sharding,
    *,
    hard: bool = False,
    accumulate: int = 1,
) -> TypeEntropy:
    """The table of `attention`: mean over the occurrences of each type in `batches`, the first steps' batches
    in order.

    `draw` gives λ and τ of a step, so that attention is measured at the settings that it was trained at.
    `accumulate` parts of a batch are read one after another, since the whole may not fit where training cuts
    it up.
    """
    sums = EntropySums(network.module.vocab_size)
    for step, batch in enumerate(batches):
        lam, tau = gathered(draw(step)[:2])
        examples = each_view(batch, len(lam))
        for rows in np.split(np.arange(len(lam)), accumulate):
            part = take(examples, rows)
            placed = sharding.shard((part, lam[rows], tau[rows]))
            values, counted = gathered(block_attention_entropy(network, params, *placed, hard=hard))
            sums.add(np.asarray(part.tokens), values, counted)
    return sums.table()


def corpus_table(windows: Windows, vocab_size: int, prior: float) -> TypeEntropy:
    """The table of `corpus`, from the bigrams that training scores: under a document mask none crosses
    documents.
    """
    scored = windows.batch.weights > 0
    return corpus_entropy(windows.batch.tokens[scored], windows.batch.targets[scored], vocab_size, prior)


def group_importance(
    partition: Partition, batches: Iterable[Batch], anchors: Anchors, groups: int, document_mask: bool
) -> Float[np.ndarray, "G"]:
    """Importance of each feature group over the blocks of `batches` (`ImportanceSums`)."""
    sums = ImportanceSums(groups)
    for batch in batches:
        block_ids, is_anchor = jax.device_get(_block_anchors(partition, batch, anchors, document_mask))
        sums.add(
            np.asarray(batch.tokens),
            block_ids,
            is_anchor,
            anchors.table,
            np.asarray(batch.doc_ids) if document_mask else None,
        )
    return sums.importance()


@partial(jax.jit, static_argnames="document_mask")
def _block_anchors(
    partition: Partition, batch: Batch, anchors: Anchors, document_mask: bool
) -> tuple[Int[Array, "B L"], Bool[Array, "B L"]]:
    block_ids = partition(batch)
    return block_ids, anchors.of(batch, block_ids, document_mask)


def make_anchors(
    config: Config,
    network: Network,
    params: Any,
    *,
    windows: Windows,
    draw: Draw,
    sharding: Sharding,
) -> Anchors:
    """The anchors of a run from its parameters at the end of warm-up.

    A function of these, of the training windows and of what the warm-up steps read, which is read again; so a
    run that was stopped and continued makes the same ones. Without a number of feature groups there is one.

    Args:
      network: the run's.
      params: whole on every device.
      windows: the training split.
      draw: λ and τ of a step.
    """
    asked, document_mask = config.anchors, config.model.document_mask
    steps = max(config.train.warmup_end, 1)
    steps = min(steps, asked.max_batches) if asked.max_batches else steps
    batches = list(itertools.islice(TrainBatches(windows, config.train.batch_size, config.seed), steps))
    if asked.estimator == Estimator.CORPUS:
        measured = corpus_table(windows, network.module.vocab_size, asked.prior)
    else:
        measured = attention_entropy(
            network,
            params,
            batches,
            draw,
            sharding,
            hard=config.model.hard,
            accumulate=config.train.accumulate,
        )
    groups = config.feature_groups or 1
    made = Anchors(
        measured.entropy,
        measured.counts,
        np.ones(groups, np.float32),
        asked.k,
        asked.estimator,
        config.class_blocks,
    )
    return replace(made, importance=group_importance(network.partition, batches, made, groups, document_mask))


@dataclass
class AnchorsAtWarmup:
    """Makes a run's anchors once, after the last step of warm-up, and gives the state the penalty's weights
    that follow from them.

    Attributes:
      config: the run's.
      make: parameters → anchors.
      made: the anchors, or None before.
    """

    config: Config
    make: Callable[[Any], Anchors]
    made: Anchors | None = None

    def __call__(self, step: int, state: TrainState) -> TrainState | None:
        """After `step`: the state to go on with where it changes, which is at the end of warm-up; None at any
        other step.
        """
        if self.config.anchors.estimator == Estimator.NONE or step != self.config.train.warmup_end:
            return None
        self.made = self.make(state.whole)
        if state.importance is None or self.config.penalty.weights == GroupWeights.SIZE:
            return None
        heads, groups = state.importance.shape
        inverse = self.config.penalty.weights == GroupWeights.INVERSE_ANCHORS
        weights = anchor_weights(np.asarray(self.made.importance), heads, groups, inverse)
        return replace(state, importance=jax.device_put(weights, state.importance.sharding))

"""The one training step: loss, gradients, update, and the refusal of an update that is not finite."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float

from aila_jax.loss.cross_entropy import token_losses, weighted_mean
from aila_jax.loss.linear_cross_entropy import linear_cross_entropy
from aila_jax.model.forward import forward
from aila_jax.model.transformer import Dial, Request, Transformer
from aila_jax.partition.build import Partition
from aila_jax.training.state import TrainState, finite_parts
from aila_jax.types import Array, Batch

LAM_BINS = 6  # λ rounded to 0, .2, .4, .6, .8, 1


@flax.struct.dataclass
class StepMetrics:
    """What a step reports, on the device.

    Attributes:
      loss: mean cross-entropy over scored targets, nats. grad_norm: before clipping.
      lam_mean: mean λ of the batch.
      bin_loss, bin_targets: summed loss and scored targets of the sequences whose λ rounds to 0, .2, .4, .6, .8, 1.
      skipped, first_bad_step, bad_parts: as in TrainState.
    """

    loss: Float[Array, ""]
    grad_norm: Float[Array, ""]
    lam_mean: Float[Array, ""]
    bin_loss: Float[Array, "bins"]
    bin_targets: Float[Array, "bins"]
    skipped: Array
    first_bad_step: Array
    bad_parts: Array


TrainStep = Callable[[TrainState, Batch, Array, Array], tuple[TrainState, StepMetrics]]


def make_train_step(
    module: Transformer, partition: Partition, optimizer: optax.GradientTransformation, hard: bool = False, loss_chunk: int = 0
) -> TrainStep:
    """The pure step function (state, batch, lam [B], tau [B]) → (state, metrics); the caller jits it. λ and τ are traced.

    Args:
      hard: block attention only. loss_chunk: tokens whose logits exist at once; 0 makes them all in one.
    """
    request = Request(hard=hard, logits=loss_chunk == 0)

    def loss_fn(params: Any, batch: Batch, dial: Dial, dropout_key: Array) -> tuple[Array, Array]:
        output = forward(module, partition, params, batch, dial, request, dropout_key)
        if loss_chunk:
            embedding = params["embedding"].astype(output.features.dtype)
            total, losses = linear_cross_entropy(output.features, embedding, batch.targets, batch.weights, loss_chunk)
            return total / jnp.maximum(jnp.sum(batch.weights), 1.0), losses
        losses = token_losses(output.logits, batch.targets) * batch.weights
        return weighted_mean(losses, batch.weights), losses

    def train_step(state: TrainState, batch: Batch, lam: Array, tau: Array) -> tuple[TrainState, StepMetrics]:
        dropout_key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        (loss, losses), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params, batch, Dial(lam, tau), dropout_key)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        state = keep_if_finite(state, params, opt_state, finite_parts(loss, grads))
        bins = jax.nn.one_hot(jnp.round(lam * (LAM_BINS - 1)).astype(jnp.int32), LAM_BINS)
        metrics = StepMetrics(
            loss=loss,
            grad_norm=optax.tree.norm(grads),
            lam_mean=jnp.mean(lam),
            bin_loss=bins.T @ jnp.sum(losses, axis=1),
            bin_targets=bins.T @ jnp.sum(batch.weights, axis=1),
            skipped=state.skipped,
            first_bad_step=state.first_bad_step,
            bad_parts=state.bad_parts,
        )
        return state, metrics

    return train_step


def keep_if_finite(state: TrainState, params: Any, opt_state: optax.OptState, finite: Array) -> TrainState:
    """The state after the step: the new parameters where all parts are finite, the old ones and a count where not."""
    good = jnp.all(finite)
    first = ~good & (state.first_bad_step < 0)

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(good, new, old)

    return replace(
        state,
        step=state.step + 1,
        params=jax.tree.map(choose, params, state.params),
        opt_state=jax.tree.map(choose, opt_state, state.opt_state),
        skipped=state.skipped + (~good).astype(jnp.int32),
        first_bad_step=jnp.where(first, state.step, state.first_bad_step),
        bad_parts=jnp.where(first, ~finite, state.bad_parts),
    )

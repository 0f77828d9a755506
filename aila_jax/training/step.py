"""The one training step: loss, gradients, update, and the refusal of an update that is not finite."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Key

from aila_jax.config import Config, TrainedPart
from aila_jax.loss.cross_entropy import (
    Distillation,
    Teacher,
    distilled_losses,
    linear_cross_entropy,
    token_losses,
)
from aila_jax.loss.group_sparsity import Strength, sparsity
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.output import output_weights
from aila_jax.model.parts import merged
from aila_jax.model.shards import over_devices, summed_gradients
from aila_jax.model.stats import AttentionStats, StatsRequest
from aila_jax.training.penalty import PenaltyMetrics, PenaltyRule
from aila_jax.training.sharding import WHOLE, Sharding
from aila_jax.training.state import TrainState, finite_parts
from aila_jax.types import Array, Batch

LAM_BINS = 6  # λ rounded to 0, .2, .4, .6, .8, 1


@flax.struct.dataclass
class StepMetrics:
    """What a step reports, on the device.

    Attributes:
      loss: mean cross-entropy over scored targets, nats; neither terms of the penalty and of the pressure nor
        what distillation adds are in it.
      grad_norm: of the whole objective that is differentiated, before clipping.
      lam_mean: mean λ of the batch.
      bin_loss: summed loss of the sequences whose λ rounds to 0, .2, .4, .6, .8, 1.
      bin_targets: their scored targets.
      skipped: as in TrainState, and so are first_bad_step and bad_parts.
      penalty: what the group-sparsity penalty adds and did; None without one.
    """

    loss: Float[Array, ""]
    grad_norm: Float[Array, ""]
    lam_mean: Float[Array, ""]
    bin_loss: Float[Array, "bins"]
    bin_targets: Float[Array, "bins"]
    skipped: Array
    first_bad_step: Array
    bad_parts: Array
    penalty: PenaltyMetrics | None = None


@flax.struct.dataclass
class Examples:
    """What a step reads, one entry per example along the first axis, so that it can be cut into devices and
    microbatches.
    """

    batch: Batch
    lam: Float[Array, "*B"]
    tau: Float[Array, "*B"]
    dropout_keys: Key[Array, "*B"]


@flax.struct.dataclass
class At:
    """Where a run is, as its draws know it: the fields of `TrainState`."""

    key: Array
    step: Array


@flax.struct.dataclass
class StepSums:
    """What a step needs of its batch.

    Attributes:
      total: the objective, without the penalty.
      loss: as in StepMetrics.
      grads: of the objective, as the parameters lie.
      bin_loss: as in StepMetrics.
      bin_targets: as in StepMetrics.
      lam: summed λ.
      rows: sequences, each view counted.
    """

    total: Float[Array, ""]
    loss: Float[Array, ""]
    grads: Any
    bin_loss: Float[Array, "bins"]
    bin_targets: Float[Array, "bins"]
    lam: Float[Array, ""]
    rows: Array


@dataclass(frozen=True)
class Objective:
    """What a step minimises beside the group-sparsity penalty, and how its loss is made.

    Attributes:
      hard: block attention only.
      loss_chunk: tokens whose logits exist at once; 0 makes them all in one.
      distill: share of the first view's prediction in what the other views of a sequence are to predict
        (`locality.distill`).
      pressure: μ of μ · λ² · (−ln block mass), in the mean over layers, heads and scored targets a part of
        the objective (`locality.pressure`).
      taught: share of the base's prediction at λ = 0 in what all readings are to predict
        (`locality.taught`).
      frozen: the output layer is not trained.
    """

    hard: bool = False
    loss_chunk: int = 0
    distill: float = 0.0
    pressure: float = 0.0
    taught: float = 0.0
    frozen: bool = False

    @classmethod
    def of(cls, config: Config) -> "Objective":
        """The objective that `config` describes."""
        locality = config.locality
        return cls(
            hard=config.model.hard,
            loss_chunk=config.train.loss_chunk,
            distill=locality.distill,
            pressure=locality.pressure,
            taught=locality.taught,
            frozen=config.train.trained == TrainedPart.DIAL,
        )

    @property
    def request(self) -> Request:
        """What the forward pass must return for it: of the statistics only what is used is computed."""
        stats = StatsRequest(log_mass=True) if self.pressure > 0 else None
        return Request(hard=self.hard, logits=self.loss_chunk == 0, stats=stats)


TrainStep = Callable[..., tuple[TrainState, StepMetrics]]


def make_train_step(
    network: Network,
    optimizer: optax.GradientTransformation,
    objective: Objective = Objective(),
    *,
    accumulate: int = 1,
    axis_name: str | tuple[str, ...] | None = None,
    penalty: PenaltyRule | None = None,
    sharding: Sharding | None = None,
) -> TrainStep:
    """The pure step function (state, batch, lam [B·V], tau [B·V]) → (state, metrics); the caller compiles it.
    λ and τ are traced.

    V is 1, or the number of times that each of the B sequences is read, at settings of its own
    (`locality.views`).

    The update is that of the mean loss over all scored targets of the whole batch, however it is cut up. With
    a penalty the function takes its `Strength` as fifth argument, traced too, and the state holds its weights
    a_i.

    Args:
      network: what is trained.
      optimizer: makes the update of the gradients.
      objective: what is minimised.
      accumulate: microbatches whose gradients are summed one after another; it divides a device's B.
      axis_name: the mapped axis that the batch is split over (see `sharding.map_step`); None where it is
        whole.
      penalty: the group-sparsity penalty's rule; nothing of it is computed where it is None.
      sharding: a mesh of three axes: what reads the batch is mapped over it, and the update is of arrays that
        lie as it says; see `sharding.mesh_step`.
    """
    axis_name = axis_name if sharding is None else sharding.summed
    optimizer = optax.with_extra_args_support(optimizer)
    request, loss_chunk, pressure = objective.request, objective.loss_chunk, objective.pressure

    def taught(params: Any, base: Any, batch: Batch, views: int) -> Teacher | None:
        """What the base reads out at λ = 0, of each sequence once and for each of its views, and its output
        layer; no gradient flows into them.
        """
        if not objective.taught:
            return None
        assert base is not None, "the base teaches"
        alone = jax.lax.stop_gradient(merged(params, base))
        once = jax.tree.map(lambda x: x[::views], batch)
        features = network(alone, once, Dial(0.0, 1.0), Request(logits=False)).features
        return jnp.repeat(features, views, axis=0), output_weights(alone).astype(features.dtype)

    def share_of_objective(
        params: Any, part: Examples, scored: Array, distillation: Distillation, base: Any
    ) -> tuple[Array, Array]:
        """This part's share of the mean over the `scored` targets of the whole batch, and every target's
        loss.
        """
        batch = part.batch
        whole = params if base is None else merged(base, params)
        output = network(whole, batch, Dial(part.lam, part.tau), request, part.dropout_keys)
        teacher = taught(params, base, batch, distillation.views)
        if loss_chunk:
            embedding = output_weights(whole).astype(output.features.dtype)
            total, losses = linear_cross_entropy(
                output.features,
                embedding,
                batch.targets,
                batch.weights,
                loss_chunk,
                distillation,
                objective.frozen,
                teacher,
            )
        else:
            said = (
                None
                if teacher is None
                else jnp.einsum("bld,vd->blv", *teacher, preferred_element_type=jnp.float32)
            )
            wanted = distilled_losses(output.logits, batch.targets, distillation, said)
            total = jnp.sum(wanted * batch.weights)
            losses = token_losses(output.logits, batch.targets) * batch.weights
        if pressure:
            total += pressure * jnp.sum(
                jnp.square(part.lam)[:, None] * outside_nats(output.stats) * batch.weights
            )
        return total / scored, losses

    def summed(params: Any, base: Any, at: At, batch: Batch, lam: Array, tau: Array) -> StepSums:
        """What a step needs of its batch, summed over devices."""
        views = lam.shape[0] // batch.tokens.shape[0]
        distillation = Distillation(views, objective.distill, objective.taught)
        batch = each_view(batch, lam.shape[0])
        scored = jnp.maximum(over_devices(jnp.sum(batch.weights), axis_name), 1.0)
        examples = Examples(batch, lam, tau, example_keys(at, lam.shape[0], axis_name))
        value_and_grad = jax.value_and_grad(
            partial(share_of_objective, distillation=distillation, base=base), has_aux=True
        )
        (total, losses), grads = accumulated(
            value_and_grad, params, examples, scored, accumulate, distillation.views
        )
        bins = jax.nn.one_hot(jnp.round(lam * (LAM_BINS - 1)).astype(jnp.int32), LAM_BINS)
        sums = StepSums(
            total=total,
            loss=jnp.sum(losses) / scored,
            grads=None,
            bin_loss=bins.T @ jnp.sum(losses, axis=1),
            bin_targets=bins.T @ jnp.sum(batch.weights, axis=1),
            lam=jnp.sum(lam),
            rows=float(len(lam)),
        )
        return replace(over_devices(sums, axis_name), grads=summed_gradients(grads, axis_name))

    def of_batch(state: TrainState, batch: Batch, lam: Array, tau: Array) -> StepSums:
        at = At(state.key, state.step)
        if sharding is None:
            return summed(state.params, state.base, at, batch, lam, tau)
        params, split = sharding.specs(state.params), sharding.split
        cuts = (params, sharding.specs(state.base), WHOLE, split, split, split)
        results = StepSums(
            total=WHOLE,
            loss=WHOLE,
            grads=params,
            bin_loss=WHOLE,
            bin_targets=WHOLE,
            lam=WHOLE,
            rows=WHOLE,
        )
        sums: StepSums = sharding.mapped(summed, cuts, results)(state.params, state.base, at, batch, lam, tau)
        return sums

    def train_step(
        state: TrainState, batch: Batch, lam: Array, tau: Array, strength: Strength | None = None
    ) -> tuple[TrainState, StepMetrics]:
        sums = of_batch(state, batch, lam, tau)
        total, grads = sums.total, sums.grads
        terms, args = None, None
        if penalty is not None:
            assert strength is not None and state.importance is not None
            args = penalty.args(strength, state.importance)
            grads, terms = penalty.add(state.params, grads, args)
            total += terms.group + terms.value
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params, penalty=args)
        params = optax.apply_updates(state.params, updates)
        state = keep_if_finite(state, params, opt_state, finite_parts(total, grads, params, opt_state))
        metrics = StepMetrics(
            loss=sums.loss,
            grad_norm=optax.tree.norm(grads),
            lam_mean=sums.lam / sums.rows,
            bin_loss=sums.bin_loss,
            bin_targets=sums.bin_targets,
            skipped=state.skipped,
            first_bad_step=state.first_bad_step,
            bad_parts=state.bad_parts,
            penalty=(
                None
                if penalty is None or terms is None
                else PenaltyMetrics(terms, sparsity(state.params, penalty.groups))
            ),
        )
        return state, metrics

    return train_step


def outside_nats(stats: AttentionStats | None) -> Float[Array, "B L"]:
    """−ln of block mass in the mean over layers and heads, nats: the KL divergence from a query's attention
    to the same inside its block alone.
    """
    assert stats is not None and stats.log_block_mass is not None
    return -jnp.mean(stats.log_block_mass, axis=(0, 2))


def each_view(batch: Batch, rows: int) -> Batch:
    """The batch as `rows` examples: each sequence as often as λ asks for it, its views side by side."""
    views, rest = divmod(rows, batch.tokens.shape[0])
    if rest:
        raise ValueError(
            f"λ has {rows} entries; it must have one, or the same number, for each of {batch.tokens.shape[0]}"
            " sequences. Fix: locality.views"
        )
    return batch if views == 1 else jax.tree.map(lambda x: jnp.repeat(x, views, axis=0), batch)


def example_keys(at: At, rows: int, axis_name: str | tuple[str, ...] | None) -> Key[Array, "B"]:
    """A dropout key for each example of this device, from the run's key, the step and the example's place in
    the whole batch.
    """
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * rows
    key = jax.random.fold_in(jax.random.wrap_key_data(at.key), at.step)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, first + jnp.arange(rows))


def accumulated(
    value_and_grad: Callable,
    params: Any,
    examples: Examples,
    scored: Array,
    microbatches: int,
    views: int = 1,
) -> Any:
    """((objective, losses [B, L]), gradients) of `value_and_grad`, the first and last summed over
    microbatches of equal size; views stay together.
    """
    if microbatches == 1:
        return value_and_grad(params, examples, scored)
    rows = len(examples.lam)
    if rows // views % microbatches:
        raise ValueError(
            f"train.accumulate is {microbatches}; it must divide the {rows // views} sequences of a device."
            " Fix: change it or train.batch_size"
        )
    parts = jax.tree.map(lambda x: x.reshape(microbatches, rows // microbatches, *x.shape[1:]), examples)

    def body(sums: Any, part: Examples) -> tuple[Any, Array]:
        (loss, losses), grads = value_and_grad(params, part, scored)
        return jax.tree.map(jnp.add, sums, (loss, grads)), losses

    start = (jnp.zeros((), jnp.float32), jax.tree.map(jnp.zeros_like, params))
    (loss, grads), losses = jax.lax.scan(body, start, parts)
    return (loss, losses.reshape(rows, *losses.shape[2:])), grads


def keep_if_finite(state: TrainState, params: Any, opt_state: optax.OptState, finite: Array) -> TrainState:
    """The state after the step: the new parameters where all parts are finite, the old ones and a count where
    not.
    """
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

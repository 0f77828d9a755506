"""The λ at which proximal training zeroes each query and key group, along a warm-started path of rising
penalties.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Bool, Float

from aila_jax.config import Config, require
from aila_jax.data.packing import Windows
from aila_jax.data.pipeline import TrainBatches
from aila_jax.evaluation.evaluator import Evaluation, evaluate
from aila_jax.inference.language_model import LanguageModel
from aila_jax.loss.group_sparsity import PROJECTIONS, Strength, used_groups
from aila_jax.metrics.sums import summarize
from aila_jax.model.interface import Dial
from aila_jax.model.margin import default_layer_scale
from aila_jax.model.network import Network
from aila_jax.progress import Progress
from aila_jax.training.locality import training_dial
from aila_jax.training.loop import NonFiniteError
from aila_jax.training.optimizer import adamw_at
from aila_jax.training.penalty import PenaltyRule
from aila_jax.training.proximal import proximal_adamw
from aila_jax.training.sharding import AXIS, batch_sharding, map_step
from aila_jax.training.state import create_state
from aila_jax.training.step import Objective, make_train_step
from aila_jax.types import Array, Batch


@dataclass(frozen=True)
class PathSettings:
    """How the path climbs.

    Attributes:
      first: λη of the first level above 0.
      ratio: from level to level, above 1.
      most_levels: levels above 0 at most, at least 1.
      steps: proximal steps at each level, 0 included, at least 1.
      learning_rate: the same at every step, above 0; 0 takes the highest of the model's own training.
    """

    first: float = 2e-4
    ratio: float = 1.35
    most_levels: int = 20
    steps: int = 8
    learning_rate: float = 0.0

    def __post_init__(self) -> None:
        require(0.0 < self.first < np.inf, "path.first", self.first, "finite and above 0", "set it to 2e-4")
        require(1.0 < self.ratio < np.inf, "path.ratio", self.ratio, "finite and above 1", "set it to 1.35")
        for name in ("most_levels", "steps"):
            require(
                getattr(self, name) >= 1, f"path.{name}", getattr(self, name), "at least 1", "set it to 10"
            )
        require(
            0.0 <= self.learning_rate < np.inf,
            "path.learning_rate",
            self.learning_rate,
            "finite and at least 0",
            "0 is training's",
        )

    def levels(self) -> Iterator[float]:
        """λη of each level: 0, first, first · ratio, …"""
        yield 0.0
        for number in range(self.most_levels):
            yield self.first * self.ratio**number


@dataclass(frozen=True, eq=False)
class ZeroingPath:
    """What was exactly 0 after each level's steps.

    Attributes:
      levels: λη, from 0 upwards; the last is η, at which λ is 1.
      zero: of each level, layer, (query, key), group and head.
      loss: cross-entropy on held-out batches after each level, nats.
      entropy: there, of each level and layer, bits.
    """

    levels: Float[np.ndarray, "P"]
    zero: Bool[np.ndarray, "P N 2 G H"]
    loss: Float[np.ndarray, "P"]
    entropy: Float[np.ndarray, "P N"]

    @property
    def eta(self) -> float:
        """η: the level at which every group is 0; where `zero` says that none was reached, the last one
        tried, and η is above it.
        """
        return float(self.levels[-1])

    def zeroed(self) -> Float[np.ndarray, "N 2 G H"]:
        """λη of the first level from which on a group is 0 to the end; infinite for one that is not 0
        there.
        """
        stays = np.logical_and.accumulate(self.zero[::-1], axis=0)[::-1]
        first = np.argmax(stays, axis=0)
        return np.where(stays[-1], self.levels[first], np.inf)


def zeroing_path(
    model: LanguageModel,
    windows: Windows,
    held_out: Sequence[Batch],
    importance: Float[Array, "H G"],
    settings: PathSettings,
    quiet: bool = False,
) -> ZeroingPath:
    """Trains on from the checkpoint with the proximal solver, the penalty rising level by level, until every
    group is 0.

    Everything else is as in the model's training, but for a constant learning rate, no dropout, one view of
    each sequence, so without distillation, and no head-level term (ν): the dial, the pressure, the batch
    size, the clipping, and the weights beside W_Q and W_K, which go on training too. The first level is 0,
    where Adam's moments settle. η is the level at which all groups of all layers are 0, so that λ = level/η
    is 1 there.

    Args:
      windows: the training text.
      held_out: for loss and entropy after each level.
      importance: a_i.
    Source: ours (docs/method.md, "Thresholds").
    """
    config, groups = model.config, importance.shape[-1]
    sharding = batch_sharding(config.train.batch_size)
    # Without dropout: a group's threshold is that of the loss itself.
    module = model.module.clone(config=replace(config.model, dropout=0.0))
    network = Network(module, model.partition, model.network.rules)
    optimizer = _optimizer(config, groups, settings.learning_rate or config.train.learning_rate)
    rule = PenaltyRule(groups, False, False, tuple(float(x) for x in default_layer_scale(config.model)))
    step = make_train_step(
        network, optimizer, replace(Objective.of(config), distill=0.0), axis_name=AXIS, penalty=rule
    )
    train_step = map_step(step, sharding, whole=1)
    # Copies, since the step reuses the buffers of its state.
    params, importance = jax.tree.map(jnp.array, (model.params, importance))
    state = sharding.replicate(
        create_state(params, optimizer, jax.random.key_data(jax.random.key(config.seed)), importance)
    )
    lam, tau = sharding.shard(training_dial(config, config.train.batch_size))
    batches = TrainBatches(windows, config.train.batch_size, (config.seed + 1) % 2**32)
    points: list[_Point] = []
    with Progress((settings.most_levels + 1) * settings.steps, "step", quiet=quiet) as progress:
        for level in settings.levels():
            strength = sharding.replicate(Strength(jnp.float32(1.0), jnp.float32(level), jnp.float32(0.0)))
            for _ in range(settings.steps):
                state, metrics = train_step(state, sharding.shard(next(batches)), lam, tau, strength)
                progress.advance()
            if int(metrics.skipped):
                raise NonFiniteError(
                    int(metrics.first_bad_step) + 1, [f"the path at λη = {level:g}"], int(metrics.skipped), 0
                )
            points.append(_point(level, network, config, state.params, held_out, groups))
            progress.report(
                f"λη {level:.3g}, {points[-1].zero.mean():.0%} of the groups 0, loss {points[-1].loss:.3f}"
            )
            if points[-1].zero.all():
                break
    return ZeroingPath(
        *(np.stack([np.asarray(getattr(point, field.name)) for point in points]) for field in fields(_Point))
    )


@dataclass(frozen=True, eq=False)
class _Point:
    """One level of a `ZeroingPath`, its fields in the same order."""

    level: float
    zero: Bool[np.ndarray, "N 2 G H"]
    loss: float
    entropy: Float[np.ndarray, "N"]


def _point(
    level: float, network: Network, config: Config, params: Any, held_out: Sequence[Batch], groups: int
) -> _Point:
    rows = len(held_out[0].tokens)
    sums = evaluate(
        network,
        params,
        held_out,
        Dial(*training_dial(config, rows)),
        batch_sharding(rows, "sweep.batch_size"),
        Evaluation(config.model.hard, config.train.loss_chunk),
    )
    summary = summarize(sums)
    return _Point(
        level, ~np.asarray(used_groups(params, groups)), summary.loss, summary.entropy_bits.mean(axis=1)
    )


def _optimizer(config: Config, groups: int, learning_rate: float) -> optax.GradientTransformationExtraArgs:
    """The proximal solver of training, at a constant rate; all parts of a group have the same."""
    rate = optax.constant_schedule(learning_rate)
    rest = adamw_at(rate, config.train, PROJECTIONS)
    return proximal_adamw(rate, rest, groups, clip_norm=config.train.clip_norm, b2=config.train.beta2)

"""The group-sparsity penalty inside a training step: which terms enter the loss, how strong they are, and
what is logged.
"""

from dataclasses import dataclass
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from aila_jax.config import Config, Solver
from aila_jax.loss.group_sparsity import PenaltyArgs, Sparsity, Strength, group_penalty, value_penalty
from aila_jax.loss.importance import size_weights
from aila_jax.model.margin import default_layer_scale
from aila_jax.training.locality import penalty_lam
from aila_jax.types import Array


@flax.struct.dataclass
class PenaltyTerms:
    """The parts of the objective beside the cross-entropy, in nats: λ · η · R and ν · Σ‖W_V‖²."""

    group: Float[Array, ""]
    value: Float[Array, ""]


@flax.struct.dataclass
class PenaltyMetrics:
    """What a step reports of the penalty: its terms before the update, and zero groups and dead heads after
    it.
    """

    terms: PenaltyTerms
    sparsity: Sparsity


@dataclass(frozen=True)
class PenaltyRule:
    """What of the penalty is fixed for a run; its strengths and weights are arguments of the step.

    Attributes:
      groups: G.
      scale_free: the form of R.
      in_loss: R is differentiated; otherwise the optimizer takes its proximal step.
      layer_scale: factor of λ in each layer.
    """

    groups: int
    scale_free: bool
    in_loss: bool
    layer_scale: tuple[float, ...]

    def args(self, strength: Strength, importance: Float[Array, "H G"]) -> PenaltyArgs:
        """The penalty's arguments at one step."""
        return PenaltyArgs(strength, importance, jnp.asarray(self.layer_scale, jnp.float32))

    def add(self, params: Any, gradients: Any, args: PenaltyArgs) -> tuple[Any, PenaltyTerms]:
        """The gradients with those of the penalty's terms added, and the terms.

        Once a step, on gradients that are already means over micro-batches and devices.
        """

        def objective(params: Any) -> tuple[Array, PenaltyTerms]:
            terms = PenaltyTerms(group_penalty(params, args, self.scale_free), value_penalty(params, args))
            return terms.value + (terms.group if self.in_loss else 0.0), terms

        own, terms = jax.grad(objective, has_aux=True)(params)
        return jax.tree.map(jnp.add, gradients, own), terms


def penalty_rule(config: Config) -> PenaltyRule | None:
    """The rule that `config` describes; None where the penalty is off."""
    if config.penalty.solver == Solver.NONE:
        return None
    scale = tuple(float(x) for x in default_layer_scale(config.model))
    return PenaltyRule(
        config.feature_groups, config.penalty.scale_free, config.penalty.solver == Solver.SUBGRADIENT, scale
    )


def penalty_strength(config: Config, step: Int[Array, ""] | int) -> Strength:
    """λ, η and ν at a step, counted from 0. The ramp over warm-up scales λ; ν has none."""
    ramp_steps = config.train.warmup_end if config.penalty.ramp else 0
    lam = penalty_lam(config.locality, config.train.steps, ramp_steps, step)
    return Strength(lam, jnp.float32(config.penalty.eta), jnp.float32(config.penalty.nu))


def initial_importance(config: Config) -> Float[Array, "H G"] | None:
    """a_i before anything is known of anchors: the size weights. None where the penalty is off."""
    if config.penalty.solver == Solver.NONE:
        return None
    return size_weights(config.model.d_model, config.model.n_heads, config.feature_groups)

"""What training carries from step to step."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Float, Int

from aila_jax.types import Array


@flax.struct.dataclass
class TrainState:
    """Everything that a step reads and writes.

    Attributes:
      step: batches consumed, discarded updates included.
      params: float32 parameters.
      opt_state: Optax's.
      key: the run's key; dropout folds the step into it.
      skipped: updates discarded because something was not finite.
      first_bad_step: the step of the first of them, −1 if none.
      bad_parts: which parts were not finite then: the loss, then each top-level parameter group's gradient,
        in `part_names` order.
      importance: a_i of the group-sparsity penalty; None without one. The size weights at first; where
        anchors are asked for, theirs from the end of warm-up on.
    """

    step: Int[Array, ""]
    params: Any
    opt_state: optax.OptState
    key: Array
    skipped: Int[Array, ""]
    first_bad_step: Int[Array, ""]
    bad_parts: Bool[Array, "parts"]
    importance: Float[Array, "H G"] | None = None


def part_names(params: Any) -> list[str]:
    """Names of the parts that a step checks, in the order of `TrainState.bad_parts`."""
    return ["loss"] + [f"gradient of {name}" for name in sorted(params)]


def create_state(
    params: Any,
    optimizer: optax.GradientTransformation,
    key: Array,
    importance: Float[Array, "H G"] | None = None,
) -> TrainState:
    """The state before the first step. `key` is a raw uint32 key, so that checkpoints hold plain arrays."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        key=key,
        skipped=jnp.zeros((), jnp.int32),
        first_bad_step=jnp.full((), -1, jnp.int32),
        bad_parts=jnp.zeros((len(part_names(params)),), bool),
        importance=importance,
    )


def finite_parts(loss: Array, gradients: Any) -> Bool[Array, "parts"]:
    """Whether the loss and each top-level group of gradients hold finite numbers only."""
    groups = [gradients[name] for name in sorted(gradients)]
    checks = [
        jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(group)])) for group in groups
    ]
    return jnp.stack([jnp.isfinite(loss), *checks])

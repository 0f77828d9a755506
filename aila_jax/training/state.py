"""What training carries from step to step."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Float, Int

from aila_jax.model.parts import merged
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
        new parameters or optimizer state, in `part_names` order.
      importance: a_i of the group-sparsity penalty; None without one. The size weights at first; where
        anchors are asked for, theirs from the end of warm-up on.
      base: what the run began from where it stays at hand: frozen parameters, or a teacher's. No step changes
        it, and no checkpoint holds it. None where nothing of it is needed.
    """

    step: Int[Array, ""]
    params: Any
    opt_state: optax.OptState
    key: Array
    skipped: Int[Array, ""]
    first_bad_step: Int[Array, ""]
    bad_parts: Bool[Array, "parts"]
    importance: Float[Array, "H G"] | None = None
    base: Any = None

    @property
    def whole(self) -> Any:
        """All parameters of the model: those that are trained, and the frozen ones."""
        return self.params if self.base is None else merged(self.base, self.params)


def part_names(params: Any) -> list[str]:
    """Names of the parts that a step checks, in the order of `TrainState.bad_parts`."""
    return ["loss"] + [f"gradient or update of {name}" for name in sorted(params)]


def create_state(
    params: Any,
    optimizer: optax.GradientTransformation,
    key: Array,
    importance: Float[Array, "H G"] | None = None,
    base: Any = None,
) -> TrainState:
    """The state before the first step; `params` are those that are trained. `key` is a raw uint32 key, so
    that checkpoints hold plain arrays.
    """
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        key=key,
        skipped=jnp.zeros((), jnp.int32),
        first_bad_step=jnp.full((), -1, jnp.int32),
        bad_parts=jnp.zeros((len(part_names(params)),), bool),
        importance=importance,
        base=base,
    )


def finite_parts(loss: Array, gradients: Any, params: Any, opt_state: optax.OptState) -> Bool[Array, "parts"]:
    """Whether the loss and each top-level group of gradients hold finite numbers only; where all do, whether
    the new parameters and the optimizer's state do too.

    A finite gradient may give an infinite update: a learning rate can be too large for float32. One gradient
    that is not finite spoils the updates of all groups, which would hide where it came from.
    """
    names = sorted(gradients)
    before = _finite_groups(names, gradients)
    before = before.at[0].set(jnp.isfinite(loss))
    return jnp.where(jnp.all(before), _finite_groups(names, (params, opt_state)), before)


def _finite_groups(names: list[str], tree: Any) -> Bool[Array, "parts"]:
    """Whether all floating-point numbers of each group are finite; those of no group stand first."""
    groups: dict[str, list[Array]] = {name: [] for name in ("", *names)}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            groups[next((key.key for key in path if getattr(key, "key", None) in names), "")].append(leaf)

    def each(groups: dict[str, list[Array]]) -> Bool[Array, "parts"]:
        checks = ([jnp.all(jnp.isfinite(leaf)) for leaf in leaves] for leaves in groups.values())
        return jnp.stack([jnp.all(jnp.stack(found)) if found else jnp.array(True) for found in checks])

    def all_are(groups: dict[str, list[Array]]) -> Bool[Array, "parts"]:
        return jnp.ones(len(groups), bool)

    # What has a finite norm is finite: one fast sum, which a step makes of its gradients anyway. Only where
    # it is not finite each number is looked at.
    return jax.lax.cond(jnp.isfinite(optax.tree.norm(groups)), all_are, each, groups)

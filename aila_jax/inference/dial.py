"""The public boundary of λ and τ: checked once, then float32 arrays that never cause a recompile."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from aila_jax.config import MAX_TAU, MIN_TAU, Config
from aila_jax.types import Array


def dial_values(value: Any, name: str, batch_size: int) -> Float[Array, "B"]:
    """λ or τ for each example as float32 [B], whether it comes as float, int, NumPy or jnp, one number or one
    per example.

    Raises:
      ValueError: a λ outside [0, 1], a τ that is not from 1e-6 to 1e6, a NaN, or another shape than [] or
        [B].
    """
    if isinstance(value, jax.core.Tracer):  # inside a caller's jit the value is not known; shapes still are
        return jnp.broadcast_to(jnp.asarray(value, jnp.float32), (batch_size,))
    try:
        with np.errstate(over="ignore"):  # ∞ is refused below
            array = np.asarray(value, np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} is {value!r}; it must be a number, or one per example. Fix: pass {name}=0.5, say"
        ) from error
    if array.shape not in ((), (batch_size,)):
        raise ValueError(
            f"{name} has shape {array.shape}; it must be one number, or one per example, ({batch_size},)."
            f" Fix: pass {name}=0.5, say"
        )
    valid, limit, fix = {
        "lam": (
            (array >= 0) & (array <= 1),
            "in [0, 1]",
            "choose λ between 0 (distributed) and 1 (localist)",
        ),
        "tau": (
            (array >= MIN_TAU) & (array <= MAX_TAU),
            f"from {MIN_TAU:g} to {MAX_TAU:g}",
            "τ = 1 is the usual temperature",
        ),
    }[name]
    if not np.all(valid):
        raise ValueError(f"{name} is {value!r}; it must be {limit}. Fix: {fix}.")
    return np.broadcast_to(array, (batch_size,))


def dial_lams(config: Config, lams: Sequence[float] | None, hard: bool) -> tuple[float, ...]:
    """`lams`, by default the configuration's sweep.lams, or 1 alone with hard block attention.

    Raises:
      ValueError: one other than 1 with hard attention.
    """
    default = (1.0,) if hard else config.sweep.lams
    values = tuple(float(lam) for lam in (default if lams is None else lams))
    check_hard(hard, values)
    return values


def check_hard(hard: bool, lam: Any) -> None:
    """Raises ValueError where hard block attention is asked for with a λ other than 1."""
    if hard and not isinstance(lam, jax.core.Tracer) and np.any(np.asarray(lam) != 1.0):
        raise ValueError(
            f"lam is {np.unique(np.asarray(lam)).tolist()} with hard block attention; it must be 1. Fix:"
            " lam=1, or hard=False"
        )

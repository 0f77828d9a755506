"""The public boundary of λ and τ: checked once, then float32 arrays that never cause a recompile."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from aila_jax.config import Config, require
from aila_jax.config.checks import plain
from aila_jax.model.arguments import check_dial, is_traced
from aila_jax.types import Array


def dial_values(value: Any, name: str, batch_size: int) -> Float[Array, "B"]:
    """λ or τ for each example as float32 [B], whether it comes as float, int, NumPy or jnp, one number or one
    per example.

    Raises:
      ValueError: a λ outside [0, 1], a τ that is not from 1e-6 to 1e6, a NaN, or another shape than [] or
        [B].
    """
    array = check_dial(name, value, ((), (batch_size,)))
    if is_traced(array):  # inside a caller's jit the value is not known; shapes still are
        return jnp.broadcast_to(jnp.asarray(array, jnp.float32), (batch_size,))
    return np.broadcast_to(array, (batch_size,))


def dial_value(value: Any, name: str) -> float:
    """λ or τ of one text, which must be known: ValueError as in `dial_values`, and for one that is traced."""
    array = check_dial(name, value, ((),))
    fix = "call this outside jit, grad and vmap; model.apply works inside"
    require(not is_traced(array), name, value, "a known number", fix)
    return float(plain(value))


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

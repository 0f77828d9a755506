"""What the dial does to scores, as attention is given it."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Float

from aila_jax.model.margin import Margin
from aila_jax.types import Array


@dataclass(frozen=True, eq=False)
class Push:
    """What the dial does to scores; the arguments of `locality_attention`.

    Attributes:
      lam: λ of the layer.
      tau: τ.
      margin: nats, or a `SelfScaling`.
      gate: κ; 0 for none, and with hard attention.
      scale_H: of the scores.
      score_cap: c; 0 for none.
    """

    lam: float | Array
    tau: float | Array
    margin: Margin | Array
    gate: float
    scale_H: Float[Array, "H"]
    score_cap: float


def per_example(value: float | Array) -> Float[Array, "..."]:
    """A dial value as float32: a scalar stays one, [B] becomes [B, 1, 1, 1], and [B, H] becomes [B, H, 1,
    1].
    """
    value = jnp.asarray(value, jnp.float32)
    return value if value.ndim == 0 else value.reshape(value.shape + (1,) * (4 - value.ndim))

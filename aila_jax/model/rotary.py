"""Rotary positions: queries and keys turned by angles that grow with their position, so that scores see how
far apart two tokens are.
"""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Float, Int

from aila_jax.types import Array


@flax.struct.dataclass
class Rotation:
    """cos and sin of each position's angles; made once for all layers."""

    cos: Float[Array, "B L 1 half"]
    sin: Float[Array, "B L 1 half"]

    @classmethod
    def of(cls, positions: Int[Array, "B L"], width: int, base: float) -> "Rotation":
        """The angle of position t and pair i is t · base^(−2i/K), with K = `width`, even, and base > 1."""
        rates = base ** (-2.0 * jnp.arange(width // 2, dtype=jnp.float32) / width)
        angles = positions[:, :, None, None].astype(jnp.float32) * rates[None, None, None, :]
        return cls(jnp.cos(angles), jnp.sin(angles))

    def __call__(self, x: Float[Array, "B L H K"]) -> Float[Array, "B L H K"]:
        """x with its coordinates i and i + K/2 turned by the angle of pair i, in float32: the same length,
        back in x's type.

        ⟨turned q_t, turned k_j⟩ depends on q, k and t − j only. Source: RoPE (Su et al., arXiv 2104.09864).
        """
        first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
        turned = (first * self.cos - second * self.sin, first * self.sin + second * self.cos)
        return jnp.concatenate(turned, axis=-1).astype(x.dtype)

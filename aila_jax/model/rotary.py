"""Rotary positions: queries and keys turned by angles that grow with their position, so that scores see how
far apart two tokens are.
"""

import math

import flax.struct
import jax.numpy as jnp
from jaxtyping import Float, Int

from aila_jax.config import RotaryConfig, RotaryLayout, RotaryScaling
from aila_jax.types import Array

PLAIN = RotaryConfig()


@flax.struct.dataclass
class Rotation:
    """cos and sin of each position's angles; made once for all layers.

    Attributes:
      cos: of each position and pair of coordinates.
      sin: likewise.
      interleaved: coordinates 2i and 2i + 1 are a pair; else i and i + half.
    """

    cos: Float[Array, "B L 1 half"]
    sin: Float[Array, "B L 1 half"]
    interleaved: bool = flax.struct.field(pytree_node=False, default=False)

    @classmethod
    def of(
        cls, positions: Int[Array, "B L"], width: int, base: float, config: RotaryConfig = PLAIN
    ) -> "Rotation":
        """The angle of position t and pair i is t · base^(−2i/K), with K = `width`, even, and base > 1;
        `config` may turn fewer coordinates, or scale the rates.
        """
        rates = rotary_rates(turned_width(width, config.share), base, config)
        angles = positions[:, :, None, None].astype(jnp.float32) * rates[None, None, None, :]
        return cls(jnp.cos(angles), jnp.sin(angles), config.layout == RotaryLayout.INTERLEAVED)

    def __call__(self, x: Float[Array, "B L H K"]) -> Float[Array, "B L H K"]:
        """x with its first coordinates turned by the angle of their pair, in float32: the same length, back
        in x's type.

        ⟨turned q_t, turned k_j⟩ depends on q, k and t − j only. Source: RoPE (Su et al., arXiv 2104.09864).
        """
        turned = 2 * self.cos.shape[-1]
        wide, rest = x[..., :turned].astype(jnp.float32), x[..., turned:]
        if self.interleaved:
            first, second = wide[..., 0::2], wide[..., 1::2]
        else:
            first, second = jnp.split(wide, 2, axis=-1)
        parts = (first * self.cos - second * self.sin, first * self.sin + second * self.cos)
        if self.interleaved:
            made = jnp.stack(parts, axis=-1).reshape(wide.shape)
        else:
            made = jnp.concatenate(parts, axis=-1)
        made = made.astype(x.dtype)
        return jnp.concatenate([made, rest], axis=-1) if rest.shape[-1] else made


def turned_width(width: int, share: float) -> int:
    """How many of a head's coordinates turn."""
    return int(width * share)


def rotary_rates(width: int, base: float, config: RotaryConfig = PLAIN) -> Float[Array, "half"]:
    """Radians a position of each pair, float32: base^(−2i/K), scaled as `config` says.

    Source: linear, Chen et al. (arXiv 2306.15595); llama3, the Llama 3.1 model card's scaling.
    """
    rates = base ** (-2.0 * jnp.arange(width // 2, dtype=jnp.float32) / width)
    if config.scaling == RotaryScaling.LINEAR:
        return rates / config.factor
    if config.scaling == RotaryScaling.LLAMA3:
        waves = 2.0 * math.pi / rates
        low, high = (config.original_length / one for one in (config.low_factor, config.high_factor))
        between = (config.original_length / waves - config.low_factor) / (
            config.high_factor - config.low_factor
        )
        mixed = (1.0 - between) * rates / config.factor + between * rates
        return jnp.where(waves > low, rates / config.factor, jnp.where(waves < high, rates, mixed))
    return rates

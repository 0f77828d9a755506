"""Small parts of the decoder: LayerNorm with FiLM, dropout by example, and what QK-normalisation does to
queries, keys and scores.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Key

from aila_jax.config import FeedForwardKind, ModelConfig, NormKind
from aila_jax.model.shards import placed
from aila_jax.model.tap import Tap, untapped
from aila_jax.types import Array

INIT_STD = 0.02  # of adapters


class Norm(nn.Module):
    """The residual stream made of one size, in float32; with `film`, its output x becomes x · (1 + λa) + λc
    (ours; a and c start at 0).

    Attributes:
      affine: a LayerNorm has scale and bias.
      film: it turns with λ.
      rms: root mean square with a scale, in place of a LayerNorm.
      epsilon: added to the variance, or to the mean square.
    """

    affine: bool
    film: bool
    rms: bool = False
    epsilon: float = 1e-6

    @classmethod
    def before_attention(cls, config: ModelConfig, name: str | None) -> "Norm":
        """Of attention's input: without scale and bias where they fold into its weights, since with them the
        group penalty has no minimiser.
        """
        affine = config.norm != NormKind.CENTRED
        return cls(affine, config.film, config.norm == NormKind.RMS, config.norm_epsilon, name=name)

    @classmethod
    def elsewhere(cls, config: ModelConfig, name: str | None) -> "Norm":
        """Of the feed-forward part's input, and before the output layer."""
        return cls(True, config.film, config.norm == NormKind.RMS, config.norm_epsilon, name=name)

    @nn.compact
    def __call__(self, x_BxLxD: Float[Array, "B L D"], lam: Float[Array, "..."]) -> Float[Array, "B L D"]:
        if self.rms:
            y_BxLxD = nn.RMSNorm(epsilon=self.epsilon, dtype=jnp.float32)(x_BxLxD)
            return self._turned(y_BxLxD, lam)
        # The fast variance E[x²] − E[x]² is wrong by factors at large means; certificates rest on the norm of
        # this output.
        norm = nn.LayerNorm(
            epsilon=self.epsilon,
            use_fast_variance=False,
            use_scale=self.affine,
            use_bias=self.affine,
            dtype=jnp.float32,
        )
        if not self.affine:
            # What attention reads, and certificates rest on, is to be centred: one subtraction leaves a share
            # of 1e-7 of the mean, which may be any multiple of what is left.
            x_BxLxD = x_BxLxD.astype(jnp.float32)
            x_BxLxD = x_BxLxD - jnp.mean(x_BxLxD, axis=-1, keepdims=True)
        return self._turned(norm(x_BxLxD), lam)

    def _turned(self, y_BxLxD: Float[Array, "B L D"], lam: Float[Array, "..."]) -> Float[Array, "B L D"]:
        """FiLM, where it is on."""
        if self.film:
            width = y_BxLxD.shape[-1]
            a_D = self.param("film_scale", nn.initializers.zeros, (width,), jnp.float32)
            c_D = self.param("film_shift", nn.initializers.zeros, (width,), jnp.float32)
            lam = lam if lam.ndim == 0 else lam[:, None, None]
            y_BxLxD = y_BxLxD * (1.0 + lam * a_D[None, None, :]) + lam * c_D[None, None, :]
        return y_BxLxD


def feed_forward(config: ModelConfig, y_MxD: Float[Array, "M D"], tap: Tap = untapped) -> Float[Array, "M D"]:
    """The feed-forward part of a layer, its weights those of the module whose `__call__` this is used in: two
    products with an activation between, or with a gate.
    """
    dtype = jnp.dtype(config.dtype)

    def dense(width: int, name: str, std: float = config.init_std) -> nn.Dense:
        init = nn.initializers.normal(std)
        return nn.Dense(width, use_bias=config.mlp_bias, kernel_init=init, dtype=dtype, name=name)

    inner_MxF = dense(config.d_ff, "mlp_in")(y_MxD)
    if config.feed_forward == FeedForwardKind.SWIGLU:
        inner_MxF = nn.silu(dense(config.d_ff, "mlp_gate")(y_MxD)) * inner_MxF
    else:
        inner_MxF = nn.gelu(inner_MxF, approximate=config.feed_forward == FeedForwardKind.GELU)
    inner_MxF = placed("feed_forward.inner", inner_MxF)
    return dense(config.d_model, "mlp_out", config.residual_std)(tap("feed_forward.inner", inner_MxF))


def adapted(
    config: ModelConfig,
    name: str,
    x: Float[Array, "B L *in"],
    y: Float[Array, "B L *out"],
    lam: float | Float[Array, "..."],
) -> Float[Array, "B L *out"]:
    """y + λ · (x A) B where the projection `name` has an adapter, and exactly y at λ = 0, whatever the
    adapter holds; its weights are those of the module whose `__call__` this is used in.
    """
    if not config.adapters.turns(name):
        return y
    dtype, axes = jnp.dtype(config.dtype), tuple(range(2 - x.ndim, 0))
    down = nn.DenseGeneral(
        config.adapters.rank,
        axis=axes,
        use_bias=False,
        kernel_init=nn.initializers.normal(INIT_STD),
        dtype=dtype,
        name=f"{name}_down",
    )(x)
    up = nn.DenseGeneral(
        y.shape[2:], use_bias=False, kernel_init=nn.initializers.zeros, dtype=dtype, name=f"{name}_up"
    )(down)
    lam = jnp.asarray(lam, jnp.float32)
    lam = lam if lam.ndim == 0 else lam.reshape(lam.shape + (1,) * (y.ndim - 1))
    turned = jnp.where(lam == 0.0, 0.0, lam * up.astype(jnp.float32))
    return (y.astype(jnp.float32) + turned).astype(y.dtype)


def fold_in_each(keys_B: Key[Array, "B"] | None, data: int) -> Key[Array, "B"] | None:
    """Each example's key for one use of it; None stays None."""
    return None if keys_B is None else jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys_B, data)


def dropout(
    x_BxLxD: Float[Array, "B L D"], keys_B: Key[Array, "B"] | None, rate: float
) -> Float[Array, "B L D"]:
    """Zeroes each number with probability `rate` and divides the others by 1 − rate; without keys, nothing.

    Each example has a key of its own, so its mask does not depend on the devices and microbatches that a
    batch is split into.
    """
    if keys_B is None or rate == 0.0:
        return x_BxLxD
    keep_BxLxD = jax.vmap(lambda key: jax.random.bernoulli(key, 1.0 - rate, x_BxLxD.shape[1:]))(keys_B)
    return jnp.where(keep_BxLxD, x_BxLxD / (1.0 - rate), 0.0).astype(x_BxLxD.dtype)


def unit_norm(x: Float[Array, "B L H K"], epsilon: float = 1e-6) -> Float[Array, "B L H K"]:
    """x / √(‖x‖² + ε) over the last axis, computed in float32: never longer than 1."""
    wide = x.astype(jnp.float32)
    return (wide * jax.lax.rsqrt(jnp.sum(wide * wide, axis=-1, keepdims=True) + epsilon)).astype(x.dtype)


def head_scale(raw_H: Float[Array, "H"], g_max: float) -> Float[Array, "H"]:
    """g_h = g_max · sigmoid(raw): the largest logit of each head under QK-normalisation."""
    return g_max * jax.nn.sigmoid(raw_H)

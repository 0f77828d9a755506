"""λ and τ of each training step: fixed, curriculum, or drawn for each sequence."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from aila_jax.config import Config, DialMode, LocalityConfig
from aila_jax.types import Array


def draw_locality(
    config: LocalityConfig, steps: int, batch_size: int, key: Array, step: Int[Array, ""] | int
) -> tuple[Float[Array, "BV"], Float[Array, "BV"]]:
    """λ and τ of the sequences of one step. Pure and jittable; `key` and `step` are traced.

    Args:
      config: mode and distribution.
      steps: length of training, for the curriculum.
      batch_size: B, over all devices.
      key: the run's key; the draw depends on it and on `step` only.

    Returns:
      λ in [0, 1] and τ > 0, float32, [B · views]: the views of a sequence side by side.
    """
    rows = batch_size * config.views
    key_lam, key_tau = jax.random.split(jax.random.fold_in(key, step))
    if config.mode == DialMode.CONDITIONAL:
        lam = draw_lam(config, key_lam, batch_size, step / steps)
    else:
        lam = jnp.full((rows,), scheduled_lam(config, step / steps), jnp.float32)
    if not config.draw_tau:
        return lam, jnp.full((rows,), config.tau, jnp.float32)
    low, high = jnp.log(config.tau_low), jnp.log(config.tau_high)
    return lam, jnp.exp(jax.random.uniform(key_tau, (rows,), minval=low, maxval=high))


def training_dial(config: Config, batch_size: int) -> tuple[Float[Array, "B"], Float[Array, "B"]]:
    """λ and τ of a batch as at the end of the model's training; one stratified draw where it draws them, one
    view of each sequence.
    """
    one_view = replace(config.locality, views=1, distill=0.0)
    return draw_locality(
        one_view, config.train.steps, batch_size, jax.random.key(config.seed), config.train.steps
    )


def draw_lam(
    config: LocalityConfig, key: Array, batch_size: int, progress: Float[Array, ""] | float = 0.0
) -> Float[Array, "BV"]:
    """Conditional draws: exactly 0 and 1 with their shares, u^power otherwise (ours, after loss-conditional
    training).

    Stratified: the i-th of B equal parts of [0, 1] gives one uniform number, and the parts go to the
    sequences in random order, so that every step sees its shares and the whole dial, and its gradient does
    not vary with the λ that happened to be drawn (ours). With V views there are B · V parts, and view v of a
    sequence has one of the v-th B of them, so that its λ lie apart.

    Args:
      progress: share of training done, in [0, 1]; it matters with `drift` only.
    """
    key_order, key_place = jax.random.split(key)
    parts_VxB = jnp.arange(batch_size * config.views).reshape(config.views, batch_size)
    parts_VxB = jax.random.permutation(key_order, parts_VxB, axis=1, independent=True)
    place = ((parts_VxB + jax.random.uniform(key_place, parts_VxB.shape)) / parts_VxB.size).T.reshape(-1)
    power, at_zero, at_one = distribution(config, progress)
    between = 1.0 - at_zero - at_one
    # Without anything between the ends the quotient is not used, and must not be NaN.
    value = jnp.clip((place - at_zero) / jnp.where(between > 0, between, 1.0), 0.0, 1.0) ** power
    lam = jnp.where(place < at_zero, 0.0, value)
    return jnp.where(place >= 1.0 - at_one, 1.0, lam).astype(jnp.float32)


def distribution(config: LocalityConfig, progress: Float[Array, ""] | float) -> tuple[Any, Any, Any]:
    """power, at_zero and at_one of the conditional draws at a share `progress` of training."""
    first = (config.power, config.at_zero, config.at_one)
    if not config.drift:
        return first
    last = (config.end_power, config.end_at_zero, config.end_at_one)
    power, at_zero, at_one = (a + (b - a) * progress for a, b in zip(first, last, strict=True))
    return power, at_zero, at_one


def curriculum(config: LocalityConfig, progress: Float[Array, ""] | float) -> Float[Array, ""]:
    """λ at a share `progress` of training: 0 before `start`, `lam` after `end`, rising in between."""
    rise = jnp.clip((progress - config.start) / (config.end - config.start), 0.0, 1.0)
    if config.shape == "cosine":
        rise = 0.5 * (1.0 - jnp.cos(jnp.pi * rise))
    return config.lam * rise


def scheduled_lam(config: LocalityConfig, progress: Float[Array, ""] | float) -> Float[Array, ""] | float:
    """λ at a share `progress` of training where it is not drawn: `lam`, or what the curriculum has risen
    to.
    """
    return curriculum(config, progress) if config.mode == DialMode.CURRICULUM else config.lam


def expected_lam(
    config: LocalityConfig, progress: Float[Array, ""] | float = 0.0
) -> Float[Array, ""] | float:
    """E[λ] of the conditional draws at a share of training: at_one + (1 − at_zero − at_one) / (power + 1)."""
    power, at_zero, at_one = distribution(config, progress)
    return at_one + (1.0 - at_zero - at_one) / (power + 1.0)


def penalty_lam(
    config: LocalityConfig, steps: int, ramp_steps: int, step: Int[Array, ""] | int
) -> Float[Array, ""]:
    """λ of the penalty at a step (from 0): that of the step, in conditional training E[λ]; times the ramp
    min(1, step / ramp_steps).

    Conditional training shares its weights between all λ, so their penalty must not follow the draws of a
    batch (ours).

    Args:
      steps: length of training, for the curriculum.
      ramp_steps: 0 is no ramp.
    """
    if config.mode == DialMode.CONDITIONAL:
        lam = jnp.asarray(expected_lam(config, step / steps), jnp.float32)
    else:
        lam = jnp.asarray(scheduled_lam(config, step / steps), jnp.float32)
    return lam * jnp.clip(step / ramp_steps, 0.0, 1.0) if ramp_steps else lam

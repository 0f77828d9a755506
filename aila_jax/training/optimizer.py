"""AdamW with warm-up, cosine and clipping."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from aila_jax.config import TrainConfig


def learning_rate(config: TrainConfig) -> optax.Schedule:
    """Linear warm-up to the highest rate, then a cosine to `final_rate` times it at the last step."""
    warmup = min(config.warmup_steps, config.steps)
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0 if warmup else config.learning_rate,
        peak_value=config.learning_rate,
        warmup_steps=warmup,
        decay_steps=max(config.steps, warmup + 1),
        end_value=config.learning_rate * config.final_rate,
    )


def learning_rates(config: TrainConfig) -> Float[np.ndarray, "steps"]:
    """The rate of every step, on the host: asking the schedule during training would queue behind the steps in flight."""
    return np.asarray(jax.vmap(learning_rate(config))(jnp.arange(config.steps)))


def decayed(params: Any) -> Any:
    """True for matrices: biases, LayerNorm and FiLM vectors and head scales are not decayed."""
    return jax.tree.map(lambda x: x.ndim >= 2, params)


def build_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """The optimizer that `config` describes."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(learning_rate(config), b2=config.beta2, weight_decay=config.weight_decay, mask=decayed),
    )

"""Proximal solvers of the group-sparsity penalty: query and key groups become exactly 0, and can come
back.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Int

from aila_jax.loss.group_sparsity import (
    PROJECTIONS,
    PenaltyArgs,
    is_kernel,
    query_key_kernels,
    shrink,
    with_query_key_kernels,
)
from aila_jax.model.feature_groups import group_sizes, group_sum, spread
from aila_jax.types import Array


class ProximalState(NamedTuple):
    """State of `proximal_adamw`.

    Attributes:
      count: updates done.
      rest: AdamW's state of all other parameters.
      first: mean of the query and key gradients.
      second: mean of their squares over each group and all past steps.
      clip: mean of the factors by which clipping scaled the gradients. All three decay and start at 0.
    """

    count: Int[Array, ""]
    rest: optax.OptState
    first: Float[Array, "N 2 D H K"]
    second: Float[Array, "N 2 G H"]
    clip: Float[Array, ""]


def proximal_adamw(
    learning_rate: optax.Schedule,
    rest: optax.GradientTransformation,
    groups: int,
    *,
    clip_norm: float = float("inf"),
    b1: float = 0.9,
    b2: float = 0.999,
    epsilon: float = 1e-8,
) -> optax.GradientTransformationExtraArgs:
    """Proximal Adam on query and key kernels, another optimizer on the rest; `update` takes
    `penalty: PenaltyArgs` as extra argument.

        d_i = √(mean of v̂ over group i) + ε,   W_i ← W_i − lr · m̂_i / d_i,   W_i ← max(0, 1 − lr · λ_ℓηa_i /
        (d_i ‖W_i‖_F)) · W_i

    With one d_i for a group the second step is the proximal operator of R in the metric of the first, so that
    a group that stays 0 has ‖∂loss/∂W_i‖_F ≤ λ_ℓηa_i. Soft-thresholding by lr · λη after an ordinary Adam
    step has no such meaning. Clipping scales the gradient and would so enlarge the penalty beside it; the
    threshold is therefore scaled by the same factors, averaged as the gradients are.

    Args:
      learning_rate: lr of each step, counted from 0.
      rest: gets the clipped gradients of everything else.
      groups: G.
      clip_norm: largest norm of the whole gradient.
      b1: Adam's.
      b2: Adam's.
      epsilon: Adam's.
    Source: ours (docs/method.md, section 3).
    """
    others = optax.masked(rest, _not_query_key)

    def init(params: optax.Params) -> ProximalState:
        kernels = query_key_kernels(params)
        layers, pair, _, heads, _ = kernels.shape
        second = jnp.zeros((layers, pair, groups, heads), jnp.float32)
        return ProximalState(
            jnp.zeros((), jnp.int32),
            others.init(params),
            jnp.zeros_like(kernels),
            second,
            jnp.zeros((), jnp.float32),
        )

    def update(
        updates: optax.Updates,
        state: ProximalState,
        params: optax.Params | None = None,
        *,
        penalty: PenaltyArgs,
        **_: Any,
    ) -> tuple[optax.Updates, ProximalState]:
        factor = _clip_factor(updates, clip_norm)
        updates = jax.tree.map(lambda x: x * factor.astype(x.dtype), updates)
        gradients, old = query_key_kernels(updates), query_key_kernels(params)
        first = b1 * state.first + (1 - b1) * gradients
        second = b2 * state.second + (1 - b2) * _group_mean(jnp.square(gradients), groups)
        clip = b1 * state.clip + (1 - b1) * factor
        count = state.count + 1
        debias = 1 - b1**count
        rate = learning_rate(state.count) / (jnp.sqrt(second / (1 - b2**count)) + epsilon)
        new = shrink(
            old - spread(rate, old.shape[2])[..., None] * first / debias,
            rate * penalty.per_group() * clip / debias,
        )
        updates, rest_state = others.update(updates, state.rest, params)
        return with_query_key_kernels(updates, new - old), ProximalState(
            count, rest_state, first, second, clip
        )

    return optax.GradientTransformationExtraArgs(init, update)


def _clip_factor(gradients: optax.Updates, clip_norm: float) -> Float[Array, ""]:
    """min(1, clip_norm / norm), what `optax.clip_by_global_norm` multiplies by."""
    size = optax.tree.norm(gradients).astype(jnp.float32)
    return jnp.where(size < clip_norm, 1.0, clip_norm / size)


def _group_mean(squares: Float[Array, "N 2 D H K"], groups: int) -> Float[Array, "N 2 G H"]:
    """Mean over all entries of each group of each head."""
    sizes = group_sizes(squares.shape[2], groups)
    return (
        group_sum(jnp.mean(squares, axis=-1), groups) / jnp.asarray(sizes, jnp.float32)[None, None, :, None]
    )


def _not_query_key(params: optax.Params) -> Any:
    """True for every parameter but the query and key kernels."""
    return jax.tree_util.tree_map_with_path(lambda path, _: not is_kernel(path, PROJECTIONS), params)

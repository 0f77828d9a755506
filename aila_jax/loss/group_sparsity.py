"""The group-sparsity penalty on query and key weights, what it did to them, and its proximal operator."""

from collections.abc import Collection
from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from aila_jax.config import require
from aila_jax.model.feature_groups import group_sum, spread
from aila_jax.types import Array

PROJECTIONS = ("query", "key")  # in this order along the axis of length 2
ROUNDING = 1e-6  # relative; covers the float32 rounding of ‖W_i‖ / a_i and back
DIAL = "_dial"  # ends the names of the weights W′ that turn with the dial


@flax.struct.dataclass
class Strength:
    """How strong the penalty is at a step; all traced.

    Attributes:
      lam: λ of the penalty in [0, 1], the ramp over warm-up included.
      eta: η ≥ 0.
      nu: ν ≥ 0.
    """

    lam: Float[Array, ""]
    eta: Float[Array, ""]
    nu: Float[Array, ""]


@flax.struct.dataclass
class PenaltyArgs:
    """Everything that the penalty and its proximal operator depend on beside the weights; all traced.

    Attributes:
      strength: λ, η and ν.
      importance: a_i of each head and feature group, at least 0, with mean 1.
      layer_scale: factor of λ in each layer.
    """

    strength: Strength
    importance: Float[Array, "H G"]
    layer_scale: Float[Array, "N"]

    def per_group(self) -> Float[Array, "N 1 G H"]:
        """λ_ℓ · η · a_i: the factor of ‖W_i‖_F in the loss, for each layer, (query, key), group and head."""
        level_N = self.strength.lam * self.strength.eta * jnp.asarray(self.layer_scale, jnp.float32)
        return level_N[:, None, None, None] * self.importance.T[None, None]


def query_key_kernels(params: Any) -> Float[Array, "N 2 D H K"]:
    """W_Q and W_K of every layer, in float32; with W′ beside W on the last axis, then twice as long, where
    they turn with the dial.

    So a feature group of W + λW′ is one group whose entries are those of both: it is 0 where both are, hence
    at every λ (ours).
    """
    return jnp.stack(
        [jnp.stack([_whole(params, layer, name) for name in PROJECTIONS]) for layer in _layers(params)]
    )


def alive_heads(params: Any) -> Bool[Array, "N H"]:
    """Whether any query or key weight of each layer and head differs from 0, W′ included where these turn
    with the dial.
    """

    def alive(attention: Any) -> Bool[Array, "H"]:
        kernels = [
            part["kernel"] for name, part in attention.items() if name.removesuffix(DIAL) in PROJECTIONS
        ]
        return jnp.any(jnp.stack(kernels) != 0, axis=(0, 1, 3))

    return jnp.stack([alive(params[layer]["attention"]) for layer in _layers(params)])


def with_query_key_kernels(params: Any, kernels: Float[Array, "N 2 D H K"]) -> Any:
    """`params` with these query and key kernels, as `query_key_kernels` gives them, in the type of those they
    replace.
    """
    changed = dict(params)
    for layer, pair in zip(_layers(params), kernels, strict=True):
        attention = dict(params[layer]["attention"])
        for projection, whole in zip(PROJECTIONS, pair, strict=True):
            names = _parts(attention, projection)
            for name, kernel in zip(names, jnp.split(whole, len(names), axis=-1), strict=True):
                attention[name] = {
                    **attention[name],
                    "kernel": kernel.astype(attention[name]["kernel"].dtype),
                }
        changed[layer] = {**params[layer], "attention": attention}
    return changed


def is_kernel(path: tuple[Any, ...], names: Collection[str]) -> bool:
    """Whether a parameter's path in the tree ends in the kernel, W or W′, of one of these attention
    projections.
    """
    keys = [str(getattr(part, "key", "")) for part in path[-3:]]
    return (
        len(keys) == 3
        and keys[0] == "attention"
        and keys[1].removesuffix(DIAL) in names
        and keys[2] == "kernel"
    )


def norm(square: Float[Array, "*axes"]) -> Float[Array, "*axes"]:
    """√ of a sum of squares, whose gradient where it is 0 is 0 and not NaN."""
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def group_norms(kernels: Float[Array, "N P D H K"], groups: int) -> Float[Array, "N P G H"]:
    """‖W_i^(h)‖_F of each layer, (query, key), feature group i and head h, in float32."""
    return norm(group_sum(jnp.sum(jnp.square(kernels.astype(jnp.float32)), axis=-1), groups))


def group_penalty(params: Any, args: PenaltyArgs, scale_free: bool = False) -> Float[Array, ""]:
    """λ · η · R(W) with R(W) = Σ_ℓ layer_scale_ℓ Σ_h Σ_i a_i^(h) (‖W_Q,i^(h)‖_F + ‖W_K,i^(h)‖_F).

    Args:
      params: parameters of a `Transformer`, of any float type; everything is computed in float32.
      scale_free: ‖W_i^(h)‖_F / ‖W^(h)‖_F in place of ‖W_i^(h)‖_F, each head's W_Q and W_K by its own norm:
        what QK-normalisation needs, where the logits do not depend on ‖W^(h)‖ and the plain form would shrink
        W to nothing. A head with W = 0 counts 0.

    Returns:
      A number at least 0, whose gradient is finite everywhere, 0 at a group that is 0 (plain form).
    Source: 2511.03559 for the form; feature groups, weights with mean 1 and the scale-free form are ours
      (docs/method.md, section 3).
    """
    norms_Nx2xGxH = group_norms(query_key_kernels(params), args.importance.shape[-1])
    if scale_free:
        whole = norm(jnp.sum(jnp.square(norms_Nx2xGxH), axis=-2, keepdims=True))
        norms_Nx2xGxH = norms_Nx2xGxH / jnp.where(whole > 0, whole, 1.0)
    return jnp.sum(args.per_group() * norms_Nx2xGxH)


def value_penalty(params: Any, args: PenaltyArgs) -> Float[Array, ""]:
    """ν · Σ_ℓ ‖W_V‖_F², with ‖W′_V‖_F² where values turn with the dial: it bounds what out-of-block attention
    can carry (ours).
    """
    squares = [jnp.sum(jnp.square(_whole(params, layer, "value"))) for layer in _layers(params)]
    return args.strength.nu * jnp.sum(jnp.stack(squares))


@flax.struct.dataclass
class Sparsity:
    """What is exactly 0 among the query and key weights.

    Attributes:
      zero_query: share of the feature groups of all heads whose W_Q,i^(h) is 0, in [0, 1].
      zero_key: the same of W_K,i^(h).
      dead_heads: number of heads with W_Q = W_K = 0; without biases such a head gets no gradient and never
        comes back.
    """

    zero_query: Float[Array, ""]
    zero_key: Float[Array, ""]
    dead_heads: Float[Array, ""]


def sparsity(params: Any, groups: int) -> Sparsity:
    """Counts groups and heads whose weights are all exactly 0."""
    used_Nx2xGxH = used_groups(params, groups)
    zero_2 = jnp.mean(~used_Nx2xGxH, axis=(0, 2, 3))
    return Sparsity(zero_2[0], zero_2[1], jnp.sum(~alive_heads(params)))


def used_groups(params: Any, groups: int) -> Bool[Array, "N 2 G H"]:
    """Whether any weight of each layer, (query, key), group and head differs from 0."""
    filled = jnp.any(query_key_kernels(params) != 0, axis=-1).astype(jnp.float32)
    return group_sum(filled, groups) > 0  # not by their norms, which underflow before the weights do


def shrink(
    kernels: Float[Array, "N P D H K"], thresholds: Float[Array, "#N #P G H"]
) -> Float[Array, "N P D H K"]:
    """max(0, 1 − t_i / ‖W_i‖_F) · W_i for every group: the proximal operator of Σ t_i ‖W_i‖_F, exact zeros
    included.
    """
    norms = group_norms(kernels, thresholds.shape[-2])
    kept = norms > thresholds
    factor = jnp.where(kept, 1.0 - thresholds / jnp.where(kept, norms, 1.0), 0.0)
    return kernels * spread(factor, kernels.shape[2])[..., None]


def prox_dial(
    params: Any, lam: float | Float[Array, ""], importance: Float[Array, "H G"], c: float | Float[Array, ""]
) -> Any:
    """Trained parameters with each query and key group shrunk by max(0, 1 − λ · c · a_i / ‖W_i‖_F).

    FOR COMPARISON OF SPARSITY ONLY: smaller query and key weights make smaller logits, so this flattens
    attention, and is no dial of locality. Pure and jittable; λ, a and c are traced, and λ = 0 changes
    nothing.

    Args:
      lam: λ in [0, 1].
      importance: a_i, as in training.
      c: threshold at λ = 1, from `prox_dial_scale`.
    Source: ours (docs/method.md, section 3).
    """
    threshold_HxG = jnp.asarray(lam, jnp.float32) * jnp.asarray(c, jnp.float32) * importance
    return with_query_key_kernels(params, shrink(query_key_kernels(params), threshold_HxG.T[None, None]))


def prox_dial_scale(params: Any, importance: Float[Array, "H G"], share: float) -> float:
    """The smallest c at which λ = 1 zeroes this share of all query and key groups (rounded up to a whole
    group).

    Raises:
      ValueError: a share outside [0, 1], or one that groups with a_i = 0 put out of reach.
    """
    require(
        0.0 <= share <= 1.0, "share", share, "in [0, 1]", "give the share of groups that λ = 1 should zero"
    )
    norms = np.asarray(group_norms(query_key_kernels(params), importance.shape[-1]), np.float64)
    a = np.broadcast_to(np.asarray(importance, np.float64).T, norms.shape)
    # A group is zeroed at c ≥ ‖W_i‖ / a_i; one without a weight never is, unless it is 0 already.
    needed = np.sort(
        np.where(norms == 0, 0.0, np.divide(norms, a, out=np.full(norms.shape, np.inf), where=a > 0)),
        axis=None,
    )
    count = int(np.ceil(share * needed.size - 1e-9))
    c = float(needed[count - 1]) if count else 0.0
    reachable = np.mean(np.isfinite(needed))
    require(
        np.isfinite(c),
        "share",
        share,
        f"at most {reachable:.4g}, since the other groups have a_i = 0",
        "choose a smaller share",
    )
    return c * (1.0 + ROUNDING)


def _layers(params: Any) -> list[str]:
    """The names of the layers, first to last."""
    return sorted(
        (name for name in params if name.startswith("layer_")),
        key=lambda name: int(name.removeprefix("layer_")),
    )


def _parts(attention: Any, projection: str) -> list[str]:
    """The names of W and, where there is one, W′ of a projection."""
    return [name for name in (projection, projection + DIAL) if name in attention]


def _whole(params: Any, layer: str, projection: str) -> Float[Array, "D H K"]:
    """W, with W′ beside it where there is one."""
    attention = params[layer]["attention"]
    return jnp.concatenate(
        [attention[name]["kernel"].astype(jnp.float32) for name in _parts(attention, projection)], axis=-1
    )

"""The weights a_i of the group-sparsity penalty: one number for each head and feature group, with mean 1."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from aila_jax.config import require
from aila_jax.model.feature_groups import group_sizes
from aila_jax.types import Array


def size_weights(width: int, n_heads: int, groups: int) -> Float[Array, "H G"]:
    """a_i = √(coordinates of group i), with mean 1: the usual weights of a group lasso, and the default."""
    return group_weights(np.sqrt(group_sizes(width, groups)), n_heads, groups)


def anchor_weights(
    importance: Float[np.ndarray, "..."], n_heads: int, groups: int, inverse: bool
) -> Float[Array, "H G"]:
    """a_i from the importance of group i, with mean 1: the more important, the more (`inverse`: the less) it
    is penalised.

    Args:
      importance: one number at least 0 for each group, [G], or for each head and group, [H, G].

    Raises:
      ValueError: another shape, a negative or infinite number, all zeros, or a zero where `inverse` divides
        by it.
    """
    a_HxG = np.asarray(group_weights(importance, n_heads, groups), np.float64)
    if not inverse:
        return group_weights(a_HxG, n_heads, groups)
    require(
        bool(np.all(a_HxG > 0)),
        "importance",
        float(a_HxG.min()),
        "above 0 for inverse weights",
        "use penalty.weights=anchors or size",
    )
    return group_weights(1.0 / a_HxG, n_heads, groups)


def group_weights(values: Float[np.ndarray, "..."], n_heads: int, groups: int) -> Float[Array, "H G"]:
    """Checked weights [H, G] with mean 1, from [G] (the same for every head) or [H, G].

    Raises:
      ValueError: another shape, a negative, NaN or infinite number, or nothing but zeros.
    """
    wide = np.asarray(values, np.float64)
    require(
        wide.shape in ((groups,), (n_heads, groups)),
        "importance.shape",
        wide.shape,
        f"({groups},) or ({n_heads}, {groups}): feature groups, or heads and feature groups",
        "give one number for each group",
    )
    bad = wide[~(np.isfinite(wide) & (wide >= 0))].tolist()
    require(not bad, "importance", bad[0] if bad else None, "finite and at least 0", "correct that weight")
    require(
        bool(wide.sum() > 0),
        "importance",
        0.0,
        "above 0 for one group at least",
        "to penalise nothing, set penalty.eta=0",
    )
    return jnp.asarray(np.broadcast_to(wide / wide.mean(), (n_heads, groups)), jnp.float32)

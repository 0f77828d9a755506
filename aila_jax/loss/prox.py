"""Block soft-thresholding, and a dial that applies it to trained weights."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from aila_jax.config import require
from aila_jax.loss.group_sparsity import group_norms, query_key_kernels, with_query_key_kernels
from aila_jax.model.feature_groups import spread
from aila_jax.types import Array

ROUNDING = 1e-6  # relative; covers the float32 rounding of ‖W_i‖ / a_i and back


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

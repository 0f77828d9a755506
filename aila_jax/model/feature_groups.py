"""Feature groups: the D input coordinates split into G consecutive groups, as `numpy.array_split` splits
them.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from aila_jax.config import require
from aila_jax.types import Array


def group_sizes(width: int, groups: int) -> Int[np.ndarray, "G"]:
    """Coordinates in each group: the first D mod G groups hold one more than the others (ours; the paper
    leaves groups undefined).

    Raises:
      ValueError: fewer than one group, or more groups than coordinates.
    """
    require(
        1 <= groups <= width,
        "groups",
        groups,
        f"from 1 to the model's width ({width})",
        f"choose at most {width} groups",
    )
    return np.full(groups, width // groups) + (np.arange(groups) < width % groups)


def group_sum(x: Float[Array, "*axes D H"], groups: int) -> Float[Array, "*axes G H"]:
    """Sums over the coordinates of each group; D is the last axis but one."""
    *axes, width, heads = x.shape
    size, larger = divmod(width, groups)
    group_sizes(width, groups)  # refuses an impossible number of groups
    # Two reshapes instead of a scatter: exact order of summation on every device, and a cheap gradient.
    cut = larger * (size + 1)
    wide = x[..., :cut, :].reshape(*axes, larger, size + 1, heads).sum(axis=-2)
    rest = x[..., cut:, :].reshape(*axes, groups - larger, size, heads).sum(axis=-2)
    return jnp.concatenate([wide, rest], axis=-2)


def spread(x: Float[Array, "*axes G H"], width: int) -> Float[Array, "*axes D H"]:
    """Each group's value at each of its coordinates."""
    return jnp.repeat(x, group_sizes(width, x.shape[-2]), axis=-2, total_repeat_length=width)


def localist_support(width: int, groups: int, shared: float) -> Bool[np.ndarray, "G D"]:
    """Where the positional embedding of a block may differ from 0: `support[b mod G]` for block b.

    True on the group's own coordinates and on the shared ones, the first round(shared · size) of every group.
    Source: ours, for the paper's localist encoding (docs/method.md, section 3).
    """
    sizes = group_sizes(width, groups)
    owner = np.repeat(np.arange(groups), sizes)
    place = np.arange(width) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    common = place < np.round(shared * sizes)[owner]
    return (owner[None, :] == np.arange(groups)[:, None]) | common[None, :]


def block_support(
    block_ids: Int[Array, "B L"], width: int, groups: int, shared: float
) -> Bool[Array, "B L D"]:
    """The coordinates that each position's embedding may use, by its block (`localist_support`); all, for
    padding and global ids.
    """
    support_GxD = jnp.asarray(localist_support(width, groups, shared))
    return support_GxD[block_ids % groups] | (block_ids < 0)[:, :, None]

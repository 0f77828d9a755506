"""Sums of gradients over batches in float64, and the standard error of their mean for each feature group."""

import numpy as np
from jaxtyping import Float

from aila_jax.model.feature_groups import group_sizes


class GradientSums:
    """Adds up gradients of summed losses over batches, and what their spread over batches needs. Float64."""

    def __init__(self, groups: int):
        self.targets, self._groups, self._batches = 0, groups, 0
        self._squared_targets = 0.0
        self._sum = self._weighted = self._squares = np.zeros(())

    def add(self, gradients: Float[np.ndarray, "N 2 D H K"], targets: int) -> None:
        """Counts one batch of so many scored targets."""
        self.targets += targets
        self._batches += 1
        self._squared_targets += float(targets) ** 2
        self._sum = self._sum + gradients
        self._weighted = self._weighted + targets * gradients
        self._squares = self._squares + over_groups(gradients, gradients, self._groups)

    def mean(self) -> Float[np.ndarray, "N 2 D H K"]:
        """The gradient of the mean loss."""
        return self._sum / self.targets

    def error(self) -> Float[np.ndarray, "N 2 G H"]:
        """√(E‖mean − truth‖²) of each group: that of a ratio of sums over batches, Σ‖G_b − n_b · mean‖² · B /
        (B − 1) / (Σn_b)².
        """
        mean = self.mean()
        spread = self._squares - 2 * over_groups(self._weighted, mean, self._groups)
        spread = spread + self._squared_targets * over_groups(mean, mean, self._groups)
        return np.sqrt(np.maximum(spread, 0.0) * self._batches / (self._batches - 1)) / self.targets


def over_groups(
    a: Float[np.ndarray, "N 2 D H K"], b: Float[np.ndarray, "N 2 D H K"], groups: int
) -> Float[np.ndarray, "N 2 G H"]:
    """Inner products over the coordinates of each group."""
    sizes = group_sizes(a.shape[2], groups)
    return np.add.reduceat(np.sum(a * b, axis=-1), np.cumsum(sizes) - sizes, axis=2)

"""Rank correlation with an interval that respects clusters."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from aila_jax.config import require

RESAMPLES = 2000


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's ρ in [−1, 1] with its 95 % interval; `value` is None where one of the sides has no two
    different numbers.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    count: int = 0


def rank_correlation(
    first: Float[np.ndarray, "n"],
    second: Float[np.ndarray, "n"],
    clusters: Int[np.ndarray, "n"],
    strata: Int[np.ndarray, "n"] | None = None,
) -> RankCorrelation:
    """Spearman's ρ of two measurements, ties at their mean rank, and the percentile bootstrap over clusters.

    Rows of one cluster share what was measured, so whole clusters are drawn, with replacement: rows drawn one
    by one would make the interval too narrow. Where `strata` are given, ρ is the mean over those that have
    one.

    Args:
      clusters: of each row.
      strata: of each row, for instance its head; every cluster must have rows in each.
    Source: Spearman; the interval is ours (docs/method.md, "Thresholds").
    """
    strata = np.zeros(len(first), int) if strata is None else strata
    names, cluster = np.unique(clusters, return_inverse=True)
    # Of each stratum, the rows of every cluster: [cluster, its rows].
    tables = []
    for stratum in np.unique(strata):
        mine = np.flatnonzero(strata == stratum)
        counts = np.bincount(cluster[mine], minlength=len(names))
        require(
            counts.min() == counts.max(),
            "rows of a cluster",
            counts.tolist(),
            "as many in each cluster",
            "leave none out",
        )
        tables.append(mine[np.argsort(cluster[mine], kind="stable")].reshape(len(names), -1))

    def mean_spearman(drawn: Int[np.ndarray, "b c"]) -> Float[np.ndarray, "b"]:
        rows = [table[drawn].reshape(len(drawn), -1) for table in tables]
        found = np.stack([_spearman(first[one], second[one]) for one in rows])
        counted = np.sum(~np.isnan(found), axis=0)
        return np.nansum(found, axis=0) / np.where(counted > 0, counted, np.nan)

    value = float(mean_spearman(np.arange(len(names))[None])[0])
    if np.isnan(value):
        return RankCorrelation(None, count=len(first))
    spread = mean_spearman(np.random.default_rng(0).integers(0, len(names), (RESAMPLES, len(names))))
    # A resample without two different numbers has no ρ and says nothing.
    low, high = np.quantile(spread[~np.isnan(spread)], [0.025, 0.975])
    return RankCorrelation(value, float(low), float(high), len(first))


def _spearman(first: Float[np.ndarray, "b n"], second: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b"]:
    """Correlation of the ranks along the last axis; NaN where one side is constant."""
    from scipy.stats import rankdata  # late: a second that only a study of thresholds needs

    ranks = [rankdata(side, axis=1) for side in (first, second)]
    a, b = (side - side.mean(axis=1, keepdims=True) for side in ranks)
    square = np.sum(a * a, axis=1) * np.sum(b * b, axis=1)
    return np.sum(a * b, axis=1) / np.sqrt(np.where(square > 0, square, np.nan))

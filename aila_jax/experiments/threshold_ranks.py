"""Rank correlations of the threshold experiment."""

import numpy as np

from aila_jax.experiments.results import MISSING, markdown
from aila_jax.experiments.threshold_rows import ThresholdResult, ThresholdRow
from aila_jax.metrics.ranks import RankCorrelation, rank_correlation

PAIRS = (("predicted", "stationarity"), ("predicted", "path"), ("stationarity", "path"))


def ranks_table(results: list[ThresholdResult]) -> str:
    """Spearman's ρ of each pair, all rows of a run together, and inside heads."""
    header = ["window", "rows", *(f"{a} ~ {b}" for a, b in PAIRS), *(f"{a} ~ {b}, inside heads" for a, b in PAIRS)]
    chosen = [(window_name(result.rows), [result]) for result in results]
    chosen += [("all", results)] if len(results) > 1 else []
    lines = []
    for name, some in chosen:
        cells = [show_correlation(correlate(some, *pair, inside_heads=inside)) for inside in (False, True) for pair in PAIRS]
        lines.append([name, str(sum(len(result.rows) for result in some)), *cells])
    title = (
        "Rank correlation (Spearman) with its 95 % interval, by a bootstrap over groups. Inside heads: the mean over heads and W_Q, W_K.\n"
    )
    return f"{title}\n{markdown(header, lines)}"


def correlate(results: list[ThresholdResult], first: str, second: str, inside_heads: bool = False) -> RankCorrelation | None:
    """The rank correlation of two thresholds over the rows of some runs; None where one of them was not found.

    The unit of the bootstrap is a group of a run: its rows share σ_X,i. A group with a row that has no value is left out whole.
    """
    rows = [(number, row) for number, result in enumerate(results) for row in result.rows]
    kept = {(n, row.group) for n, row in rows} - {(n, row.group) for n, row in rows if None in (getattr(row, first), getattr(row, second))}
    rows = [(number, row) for number, row in rows if (number, row.group) in kept]
    if len(kept) < 3:
        return None
    names = {name: index for index, name in enumerate(sorted(kept))}
    clusters = np.array([names[number, row.group] for number, row in rows])
    strata = np.array([2 * row.head + (row.projection == "key") for _, row in rows]) if inside_heads else None
    one, other = (np.array([getattr(row, name) for _, row in rows], float) for name in (first, second))
    return rank_correlation(one, other, clusters, strata)


def show_correlation(found: RankCorrelation | None) -> str:
    """`0.42 [0.11, 0.63]`."""
    if found is None or found.value is None:
        return MISSING
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]".replace("-", "−")


def window_name(rows: tuple[ThresholdRow, ...]) -> str:
    """The window size, or a dash."""
    return MISSING if rows[0].window is None else str(rows[0].window)

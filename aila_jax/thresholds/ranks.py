"""Rank correlations of the threshold experiment."""

import numpy as np

from aila_jax.formats import MISSING
from aila_jax.metrics.ranks import RankCorrelation, rank_correlation
from aila_jax.reporting.tables import markdown
from aila_jax.thresholds.rows import ThresholdResult, ThresholdRow

PAIRS = (("predicted", "stationarity"), ("predicted", "path"), ("stationarity", "path"))
HEAD_PAIRS = (*PAIRS, ("−δ", "stationarity"), ("−δ", "path"), ("predicted", "noise"))
FEWEST = 10  # points of which a bootstrap can say how far they might be off


def ranks_table(results: list[ThresholdResult]) -> str:
    """Spearman's ρ of each pair: all rows of a run together, and inside heads."""
    header = [
        "window",
        "seed",
        "rows",
        *(f"{a} ~ {b}" for a, b in PAIRS),
        *(f"{a} ~ {b}, inside heads" for a, b in PAIRS),
    ]
    lines = []
    for result in results:
        cells = [
            show_correlation(correlate([result], *pair, inside_heads=inside))
            for inside in (False, True)
            for pair in PAIRS
        ]
        lines.append([window_name(result.rows), str(result.config.seed), str(len(result.rows)), *cells])
    if (
        len(results) > 1
    ):  # the heads of two runs have only their numbers in common, so there is no "inside heads" over runs
        cells = [show_correlation(correlate(results, *pair)) for pair in PAIRS]
        lines.append(
            ["all", "", str(sum(len(result.rows) for result in results)), *cells, *[""] * len(PAIRS)]
        )
    title = (
        "Rank correlation (Spearman) with its 95 % interval, by a bootstrap over groups. Inside heads: the"
        " mean over heads and W_Q, W_K.\n"
    )
    caution = (
        "The formula's δ is a head's: over all rows it is the order of the few heads that counts most, and an"
        " interval over groups holds for these heads only.\n"
    )
    return f"{title}\n{markdown(header, lines)}\n{caution}"


def heads_table(results: list[ThresholdResult]) -> str:
    """The same with one point a head, for each window size that has several runs and for all runs; beside the
    formula its exp(−δ/τ) alone.
    """
    header = ["window", "heads", *(f"{a} ~ {b}" for a, b in HEAD_PAIRS)]
    windows = by_window(results)
    groups = (
        windows
        if len(windows) == 1
        else {**{name: some for name, some in windows.items() if len(some) > 1}, "all": results}
    )
    lines = []
    for name, some in groups.items():
        heads = sum(1 + max(row.head for row in result.rows) for result in some)
        lines.append(
            [name, str(heads), *(show_correlation(correlate_heads(some, *pair)) for pair in HEAD_PAIRS)]
        )
    title = (
        "The same with one point a head, the median of its groups; the intervals draw heads, where there are"
        f" at least {FEWEST}.\n"
    )
    caution = (
        "−δ is the formula with everything but δ the same for all heads. The noise is that of the gradients:"
        " where the formula ranks it as well as the stationarity thresholds, agreement with these says"
        " little. Heads of one run are not independent, which the intervals take them to be.\n"
    )
    return f"{title}\n{markdown(header, lines)}\n{caution}"


def correlate_heads(results: list[ThresholdResult], first: str, second: str) -> RankCorrelation | None:
    """The same over the heads of all runs, each by the medians of its groups; None with fewer than three
    heads that have both.
    """
    points = []
    for result in results:
        for head in range(1 + max(row.head for row in result.rows)):
            pairs = [
                [_head_value(result, row, name) for name in (first, second)]
                for row in result.rows
                if row.head == head
            ]
            known = [pair for pair in pairs if None not in pair]
            if known:
                points.append(np.median(np.array(known, float), axis=0))
    if len(points) < 3:
        return None
    one, other = np.array(points).T
    return rank_correlation(one, other, np.arange(len(points)))


def _head_value(result: ThresholdResult, row: ThresholdRow, name: str) -> float | None:
    if name == "−δ":
        return None if row.delta is None else -row.delta
    return row.noise if name == "noise" else result.value(row, name)


def correlate(
    results: list[ThresholdResult], first: str, second: str, inside_heads: bool = False
) -> RankCorrelation | None:
    """The rank correlation of two thresholds over the rows of some runs; None where one of them was not
    found.

    The unit of the bootstrap is a group of a run: its rows share σ_X,i. A group with a row that has no value
    is left out whole.
    """
    rows = [(number, row) for number, result in enumerate(results) for row in result.rows]

    def values(number: int, row: ThresholdRow) -> list[float | None]:
        return [results[number].value(row, name) for name in (first, second)]

    kept = {(n, row.group) for n, row in rows} - {(n, row.group) for n, row in rows if None in values(n, row)}
    rows = [(number, row) for number, row in rows if (number, row.group) in kept]
    if len(kept) < 3:
        return None
    names = {name: index for index, name in enumerate(sorted(kept))}
    clusters = np.array([names[number, row.group] for number, row in rows])
    strata = np.array([2 * row.head + (row.projection == "key") for _, row in rows]) if inside_heads else None
    one, other = np.array([values(number, row) for number, row in rows], float).T
    return rank_correlation(one, other, clusters, strata)


def show_correlation(found: RankCorrelation | None) -> str:
    """`0.42 [0.11, 0.63]`, or the number alone where there are too few points for an interval."""
    if found is None or found.value is None:
        return MISSING
    interval = f" [{found.low:.2f}, {found.high:.2f}]" if found.count >= FEWEST else ""
    return f"{found.value:.2f}{interval}".replace("-", "−")


def by_window(results: list[ThresholdResult]) -> dict[str, list[ThresholdResult]]:
    """The runs of each window size, by its name, in their order."""
    found: dict[str, list[ThresholdResult]] = {}
    for result in results:
        found.setdefault(window_name(result.rows), []).append(result)
    return found


def window_name(rows: tuple[ThresholdRow, ...]) -> str:
    """The window size, or a dash."""
    return MISSING if rows[0].window is None else str(rows[0].window)


RESAMPLES = 2000

"""The threshold experiment's table and figure: what the formula predicts, beside what was measured in two ways."""

import math
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from aila_jax.experiments.results import MISSING, markdown, result_paths
from aila_jax.experiments.threshold import WINDOWS
from aila_jax.experiments.threshold_rows import ThresholdResult, ThresholdRow, read_threshold
from aila_jax.metrics.ranks import RankCorrelation, rank_correlation
from aila_jax.reporting import save_figure
from aila_jax.reporting.files import write_atomically
from aila_jax.reporting.style import CATEGORIES, LIGHT, MARKERS, house_style

PAIRS = (("predicted", "stationarity"), ("predicted", "path"), ("stationarity", "path"))
PAPER_BITS = 6.0  # the paper calls attention localised below it


def collect(directory: Path) -> str:
    """Makes table.md and the scatter from the result files NAME-seedS.json in `directory`; returns the table as Markdown.

    Raises:
      ValueError: no result file there, or one that is none of this experiment.
    """
    paths = [path for some in result_paths(directory).values() for path in some]
    results = sorted((read_threshold(path) for path in paths), key=lambda result: (result.config.partition.size, result.config.seed))
    text = describe(results)
    write_atomically(directory / "table.md", text.encode())
    save_figure(threshold_figure(results), directory / "threshold")
    return text


def describe(results: list[ThresholdResult]) -> str:
    """All tables, as Markdown, with what they say in a sentence each."""
    parts = [_levels_table(results), _ranks_table(results), _window_law(results), _bits_table(results), *_missing(results)]
    return "\n".join(part for part in parts if part)


def _levels_table(results: list[ThresholdResult]) -> str:
    """Each run's estimates and the medians of the three thresholds."""
    header = [
        "window", "seed", "groups", "coordinates a group", "ρ_max", "δ of the heads (nats)", "σ_X,i", "predicted λη", "stationarity λη",
        "above noise", "path λη", "η", "targets of the gradients",
    ]  # fmt: skip
    lines = []
    for result in results:
        rows, meta = result.rows, result.meta
        path = meta["path"]
        above = [row.gradient > 2 * row.noise for row in rows if row.noise is not None]
        lines.append([
            _window(rows), str(rows[0].seed), str(1 + max(row.group for row in rows)), _range(rows, "coordinates", "{:d}"),
            MISSING if meta["rho"] is None else f"{meta['rho']:.3f}", _range(rows, "delta", "{:.2f}"), _range(rows, "sigma", "{:.2f}"),
            _median(rows, "predicted"), _median(rows, "stationarity"), f"{np.mean(above):.0%}" if above else MISSING,
            _median(rows, "path"), MISSING if path is None else f"{path['eta']:.3g}", f"{meta['targets']:,} ({meta['targets_at_zero']:,} at zero)",
        ])  # fmt: skip
    title = "Thresholds of the first layer's groups, W_Q and W_K of every head: medians, with the range in brackets.\n"
    notes = [f"Windows of {_window(r.rows)}: no prediction, since {r.meta['undefined']}.\n" for r in results if r.meta["undefined"]]
    never = sum(row.path is None for result in results if result.meta["path"] for row in result.rows)
    notes += [f"{never} groups were not 0 at the path's last level; they have no path threshold and are left out.\n"] if never else []
    return f"{title}\n{markdown(header, lines)}" + "".join(f"\n{note}" for note in notes)


def _ranks_table(results: list[ThresholdResult]) -> str:
    """Spearman's ρ of each pair, all rows of a run together, and inside heads."""
    header = ["window", "rows", *(f"{a} ~ {b}" for a, b in PAIRS), *(f"{a} ~ {b}, inside heads" for a, b in PAIRS)]
    chosen = [(_window(result.rows), [result]) for result in results]
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


def _window_law(results: list[ThresholdResult]) -> str:
    """Whether thresholds grow as √|X_i| over window sizes: the slope of log median against log size, which that law puts at ½."""
    sizes = sorted({result.rows[0].window or 0 for result in results})
    if len(sizes) < 2 or 0 in sizes:
        return ""
    header = ["threshold", *(f"median, window {size}" for size in sizes), "slope of log threshold over log size", "√X_i law"]
    lines = []
    for name in ("predicted", "stationarity", "path"):
        groups = [_by_group(result, name) for result in results]
        medians = [_median([row for r in results if r.rows[0].window == size for row in r.rows], name, span=False) for size in sizes]
        lines.append([name, *medians, _slope(results, groups), "0.50"])
    title = "Over window sizes: does a threshold grow as the square root of the block's tokens? Slopes with 95 % intervals over groups.\n"
    caution = (
        "A group has D/G coordinates, and G falls as windows grow: the length of any gradient over a group grows with it about as √size "
        "too, so a slope near ½ in what was measured is no evidence for the law by itself.\n"
    )
    return f"{title}\n{markdown(header, lines)}\n{caution}"


def _by_group(result: ThresholdResult, name: str) -> list[np.ndarray]:
    """Logarithms of each group's positive values."""
    found: dict[int, list[float]] = {}
    for row in result.rows:
        value = getattr(row, name)
        if value:
            found.setdefault(row.group, []).append(math.log(value))
    return [np.array(values) for values in found.values()]


def _slope(results: list[ThresholdResult], groups: list[list[np.ndarray]]) -> str:
    if not all(groups):
        return MISSING
    sizes = np.log([result.rows[0].window or 0 for result in results])
    draw = np.random.default_rng(0)

    def fitted(chosen: list[list[np.ndarray]]) -> float:
        medians = np.array([np.median(np.concatenate(some)) for some in chosen])
        return float(np.polyfit(sizes, medians, 1)[0])

    spread = [fitted([[some[i] for i in draw.integers(0, len(some), len(some))] for some in groups]) for _ in range(500)]
    low, high = np.quantile(spread, [0.025, 0.975])
    return f"{fitted(groups):.2f} [{low:.2f}, {high:.2f}]".replace("-", "−")


def _bits_table(results: list[ThresholdResult]) -> str:
    """Whether the formula tells which levels of the path end under 6 bits of attention entropy in the first layer."""
    header = [
        "window", "largest possible entropy (bits)", "entropy at λ = 0", "entropy at λ = 1", "levels", "under 6 bits",
        "above the predicted threshold of every group", "formula right",
    ]  # fmt: skip
    lines = []
    for result in results:
        path, rows = result.meta["path"], result.rows
        if path is None:
            continue
        entropy = np.array(path["entropy_bits"])[:, rows[0].layer]
        under = entropy < PAPER_BITS
        cells = [MISSING, MISSING]
        if rows[0].predicted is not None:
            above = np.array(path["levels"]) >= max(row.predicted for row in rows if row.predicted is not None)
            cells = [f"{above.sum()}", f"{np.sum(above == under)} of {len(under)}"]
        ends = [f"{entropy[0]:.2f}", f"{entropy[-1]:.2f}"]
        lines.append([_window(rows), f"{uniform_bits(result):.2f}", *ends, f"{len(under)}", f"{under.sum()}", *cells])
    if not lines:
        return ""
    title = f"Attention entropy of the first layer along the path, and the paper's mark of {PAPER_BITS:g} bits.\n"
    vacuous = all(uniform_bits(result) < PAPER_BITS for result in results)
    note = (
        f"\nWith {results[0].config.model.length} tokens no causal attention reaches {PAPER_BITS:g} bits, so every run ends below them "
        "whatever a formula says: the mark decides nothing here.\n"
        if vacuous
        else ""
    )
    return f"{title}\n{markdown(header, lines)}{note}"


def uniform_bits(result: ThresholdResult) -> float:
    """Entropy of uniform attention, the mean over a window's queries: the most that there can be."""
    model = result.config.model
    keys = np.full(model.length, model.length) if model.bidirectional else np.arange(1, model.length + 1)
    return float(np.log2(keys).mean())


def _missing(results: list[ThresholdResult]) -> list[str]:
    """Names the window sizes of the experiment without a result; none for a user's own run."""
    found = {result.rows[0].window for result in results if result.rows[0].run.startswith("window")}
    names = [f"window{size}" for size in WINDOWS if size not in found]
    if not found or not names:
        return []
    return [
        f"Not measured yet: {', '.join(names)}. `python -m launch.threshold --data_dir=$WIKITEXT2 --only={','.join(names)}` continues.\n"
    ]


def threshold_figure(results: list[ThresholdResult]) -> Figure:
    """Predicted against measured on logarithmic axes, a panel for each way of measuring, with the rank correlation of all rows."""
    with house_style(LIGHT):
        fig = Figure(figsize=(7.2, 3.9), layout="constrained")
        panels = fig.subplots(1, 2, sharex=True)
        titles = {"stationarity": "Stationarity threshold", "path": "Zeroed along the path"}
        for axes, (name, title) in zip(panels, titles.items(), strict=True):
            for result, colour, marker in zip(results, CATEGORIES, MARKERS, strict=False):
                for projection, face in (("query", colour), ("key", "none")):
                    points = _points(result.rows, name, projection)
                    label = f"windows of {_window(result.rows)}" if projection == "query" else None
                    axes.plot(*points, marker, color=colour, markerfacecolor=face, markersize=3.0, alpha=0.7, label=label)
            axes.set(
                title=f"{title}\nρ {show_correlation(correlate(results, 'predicted', name))}", xlabel="predicted λη", ylabel="measured λη"
            )
            if axes.lines and any(len(line.get_xdata()) for line in axes.lines):
                axes.set(xscale="log", yscale="log")
        fig.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, title="filled: W_Q, open: W_K")
    return fig


def _points(rows: tuple[ThresholdRow, ...], name: str, projection: str) -> tuple[list[float], list[float]]:
    some = [row for row in rows if row.projection == projection and row.predicted and getattr(row, name)]
    return [row.predicted or 0.0 for row in some], [getattr(row, name) for row in some]


def _window(rows: tuple[ThresholdRow, ...]) -> str:
    return MISSING if rows[0].window is None else str(rows[0].window)


def _median(rows: tuple[ThresholdRow, ...] | list[ThresholdRow], name: str, span: bool = True) -> str:
    values = [getattr(row, name) for row in rows if getattr(row, name) is not None]
    if not values:
        return MISSING
    return f"{np.median(values):.3g}" + (f" ({min(values):.2g} to {max(values):.2g})" if span else "")


def _range(rows: tuple[ThresholdRow, ...], name: str, form: str) -> str:
    values = [getattr(row, name) for row in rows if getattr(row, name) is not None]
    if not values:
        return MISSING
    low, high = form.format(min(values)), form.format(max(values))
    return (low if low == high else f"{low} to {high}").replace("-", "−")

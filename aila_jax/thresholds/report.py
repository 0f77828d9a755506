"""The threshold experiment's table and figure: what the formula predicts, beside what was measured in two
ways.
"""

import math
from pathlib import Path

import numpy as np

from aila_jax.files import write_atomically
from aila_jax.formats import MISSING
from aila_jax.reporting import save_figure
from aila_jax.reporting.results import result_paths
from aila_jax.reporting.tables import markdown
from aila_jax.thresholds.measure import WINDOWS
from aila_jax.thresholds.plot import threshold_figure
from aila_jax.thresholds.ranks import heads_table, ranks_table, window_name
from aila_jax.thresholds.rows import ThresholdResult, ThresholdRow, read_threshold

PAPER_BITS = 6.0  # the paper calls attention localised below it


def collect(directory: Path) -> str:
    """Makes table.md and the scatter from the result files NAME-seedS.json in `directory`; returns the table
    as Markdown.

    Raises:
      ValueError: no result file there, or one that is none of this experiment.
    """
    paths = [path for some in result_paths(directory).values() for path in some]
    results = sorted(
        (read_threshold(path) for path in paths),
        key=lambda result: (result.config.partition.size, result.config.seed),
    )
    text = describe(results)
    write_atomically(directory / "table.md", text.encode())
    save_figure(threshold_figure(results), directory / "threshold")
    return text


def describe(results: list[ThresholdResult]) -> str:
    """All tables, as Markdown, with what they say in a sentence each."""
    parts = [
        _levels_table(results),
        ranks_table(results),
        heads_table(results),
        _window_law(results),
        _bits_table(results),
        *_missing(results),
    ]
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
        above = [row.gradient > 2 * row.noise for row in rows if row.noise is not None]
        lines.append([
            window_name(rows), str(rows[0].seed), str(1 + max(row.group for row in rows)), _range(rows, "coordinates", "{:d}"),
            MISSING if meta.rho is None else f"{meta.rho:.3f}", _range(rows, "delta", "{:.2f}"), _range(rows, "sigma", "{:.2f}"),
            _median([result], "predicted"), _median([result], "stationarity"), f"{np.mean(above):.0%}" if above else MISSING,
            _median([result], "path"), _eta(result), f"{meta.targets:,} ({meta.targets_at_zero:,} at zero)",
        ])  # fmt: skip
    title = (
        "Thresholds of the first layer's groups, W_Q and W_K of every head: medians, with the range in"
        " brackets.\n"
    )
    notes = [
        f"Windows of {window_name(r.rows)}: no prediction, since {r.meta.undefined}.\n"
        for r in results
        if r.meta.undefined
    ]
    never = sum(row.path is None for result in results if result.meta.path for row in result.rows)
    if never:
        notes.append(
            f"{never} groups were not 0 at the path's last level: medians and ranks count their path"
            " thresholds as above all others. To go on until they are, raise --path_levels.\n"
        )
    return f"{title}\n{markdown(header, lines)}" + "".join(f"\n{note}" for note in notes)


def _window_law(results: list[ThresholdResult]) -> str:
    """Whether thresholds grow as √|X_i| over window sizes: the slope of log median against log size, which
    that law puts at ½.
    """
    sizes = sorted({result.rows[0].window or 0 for result in results})
    if len(sizes) < 2 or 0 in sizes:
        return ""
    header = [
        "threshold",
        *(f"median, window {size}" for size in sizes),
        "slope of log threshold over log size",
        "√X_i law",
    ]
    lines = []
    for name in ("predicted", "stationarity", "path"):
        groups = [_by_group(result, name) for result in results]
        medians = [
            _median([r for r in results if r.rows[0].window == size], name, span=False) for size in sizes
        ]
        lines.append([name, *medians, _slope(results, groups), "0.50"])
    title = (
        "Over window sizes: does a threshold grow as the square root of the block's tokens? Slopes with 95 %"
        " intervals over groups.\n"
    )
    caution = (
        "A group has D/G coordinates, and G falls as windows grow: the length of any gradient over a group"
        " grows with it about as √size too, so a slope near ½ in what was measured is no evidence for the law"
        " by itself.\n"
    )
    return f"{title}\n{markdown(header, lines)}\n{caution}"


def _by_group(result: ThresholdResult, name: str) -> list[np.ndarray]:
    """Logarithms of each group's positive values."""
    found: dict[int, list[float]] = {}
    for row in result.rows:
        value = result.value(row, name)
        if value:
            found.setdefault(row.group, []).append(math.log(value))
    return [np.array(values) for values in found.values()]


def _slope(results: list[ThresholdResult], groups: list[list[np.ndarray]]) -> str:
    if not all(groups) or not all(np.isfinite(values).all() for some in groups for values in some):
        return MISSING
    sizes = np.log([result.rows[0].window or 0 for result in results])
    draw = np.random.default_rng(0)

    def fitted(chosen: list[list[np.ndarray]]) -> float:
        medians = np.array([np.median(np.concatenate(some)) for some in chosen])
        return float(np.polyfit(sizes, medians, 1)[0])

    spread = [
        fitted([[some[i] for i in draw.integers(0, len(some), len(some))] for some in groups])
        for _ in range(500)
    ]
    low, high = np.quantile(spread, [0.025, 0.975])
    return f"{fitted(groups):.2f} [{low:.2f}, {high:.2f}]".replace("-", "−")


def _bits_table(results: list[ThresholdResult]) -> str:
    """Whether the formula tells which levels of the path end under 6 bits of attention entropy in the first
    layer.
    """
    header = [
        "window", "seed", "largest possible entropy (bits)", "entropy at λη = 0", "at the last level", "levels", "under 6 bits",
        "above the predicted threshold of every group", "formula right",
    ]  # fmt: skip
    lines = []
    for result in results:
        path, rows = result.meta.path, result.rows
        if path is None:
            continue
        entropy = np.array(path.entropy_bits)[:, rows[0].layer]
        under = entropy < PAPER_BITS
        cells = [MISSING, MISSING]
        if rows[0].predicted is not None:
            above = np.array(path.levels) >= max(row.predicted for row in rows if row.predicted is not None)
            cells = [f"{above.sum()}", f"{np.sum(above == under)} of {len(under)}"]
        ends = [f"{entropy[0]:.2f}", f"{entropy[-1]:.2f}"]
        counts = [f"{len(under)}", f"{under.sum()}", *cells]
        lines.append(
            [window_name(rows), str(result.config.seed), f"{uniform_bits(result):.2f}", *ends, *counts]
        )
    if not lines:
        return ""
    title = (
        f"Attention entropy of the first layer along the path, and the paper's mark of {PAPER_BITS:g} bits.\n"
    )
    vacuous = all(uniform_bits(result) < PAPER_BITS for result in results)
    note = (
        f"\nWith {results[0].config.model.length} tokens no causal attention reaches {PAPER_BITS:g} bits, so"
        " every run ends below them whatever a formula says: the mark decides nothing here.\n"
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
        f"Not measured yet: {', '.join(names)}. `python -m experiments.threshold --data_dir=$WIKITEXT2"
        f" --only={','.join(names)}` continues.\n"
    ]


def _median(results: list[ThresholdResult], name: str, span: bool = True) -> str:
    values = [
        value for result in results for row in result.rows if (value := result.value(row, name)) is not None
    ]
    if not values:
        return MISSING
    highest = [result.meta.path.eta for result in results if result.meta.path]

    def show(value: float, digits: int) -> str:
        return f"{value:.{digits}g}" if math.isfinite(value) else f"above {max(highest):.{digits}g}"

    return show(float(np.median(values)), 3) + (
        f" ({show(min(values), 2)} to {show(max(values), 2)})" if span else ""
    )


def _eta(result: ThresholdResult) -> str:
    """The λη at which all groups of all layers were 0."""
    path = result.meta.path
    return MISSING if path is None else f"{'' if result.path_ended else 'above '}{path.eta:.3g}"


def _range(rows: tuple[ThresholdRow, ...], name: str, form: str) -> str:
    values = [getattr(row, name) for row in rows if getattr(row, name) is not None]
    if not values:
        return MISSING
    low, high = form.format(min(values)), form.format(max(values))
    return (low if low == high else f"{low} to {high}").replace("-", "−")

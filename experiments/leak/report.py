"""The leak's table and figure: what was measured, beside what the law predicts and what the paper reports."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from aila_jax.files import write_atomically
from aila_jax.formats import MISSING
from aila_jax.presets import small
from aila_jax.reporting import save_figure
from aila_jax.reporting.results import result_paths, with_spread
from aila_jax.reporting.style import CATEGORIES, LIGHT, MARKERS, house_style, lam_axis, legend_above
from aila_jax.reporting.tables import markdown
from experiments.leak.runs import MASKS, WINDOWS, LeakRow, leak_runs, read_rows

# arXiv 2511.03559: λ → figure, for windows of 5 tokens. "6 to 7" and "≈" are the paper's.
PAPER = {
    "accuracy": {0.6: "84.7 %"},
    "perplexity": {0.6: "4.65", 0.8: "≈ 9.8"},
    "entropy_bits": {0.0: "7.18", 0.6: "≈ 7.1", 0.8: "6 to 7", 1.0: "5.36"},
}
PAPER_ACCURACY = 0.847
QUANTITIES = {
    "accuracy": "accuracy",
    "accuracy_last": "accuracy at last positions",
    "perplexity": "perplexity",
    "entropy_bits": "entropy (bits)",
}


@dataclass(frozen=True)
class CopyLaw:
    """What a model that sees its whole window, and nothing else, scores if it copies every target it sees.

    Attributes:
      share: of positions that are the last of their window, ⌈L/w⌉/L: their targets lie outside it.
      accuracy: 1 − share · (1 − p), with p the accuracy of a causal model at those positions, which sees the
        same tokens there. For L divisible by w that is (w − 1)/w + p/w.
      perplexity: that causal model's perplexity there, to the power share: no loss anywhere else.
    Source: ours (docs/method.md, section 8).
    """

    share: float
    accuracy: float
    perplexity: float


def copy_law(length: int, window: int, p: float, perplexity_last: float) -> CopyLaw:
    """The prediction for windows of `window` tokens in texts of `length`, from a causal model's scores at the
    last positions.
    """
    share = math.ceil(length / window) / length
    return CopyLaw(share, 1.0 - share * (1.0 - p), perplexity_last**share)


def collect(directory: Path) -> str:
    """Makes table.md and the figure from the result files in `directory`; returns the table as Markdown.

    Means over seeds, with half the range where there are several. What is not measured yet is a dash, and
    named at the end.

    Raises:
      ValueError: there is no result file, or one that is not a result of this experiment.
    """
    paths = result_paths(directory)
    rows = [row for files in paths.values() for path in files for row in read_rows(path)]
    laws = {window: _law(_rows(rows, False, True, window, 1.0)) for window in WINDOWS}
    text = "\n".join([_premise_table(rows, laws), _dialled_table(rows, laws), *_missing(set(paths))])
    write_atomically(directory / "table.md", text.encode())
    save_figure(leak_figure(rows, laws), directory / "leak")
    return text


def _rows(rows: list[LeakRow], leaky: bool, hard: bool, window: int, lam: float) -> list[LeakRow]:
    return [row for row in rows if (row.leaky, row.hard, row.window, row.lam) == (leaky, hard, window, lam)]


def _values(rows: list[LeakRow], name: str) -> np.ndarray:
    return np.array([getattr(row, name) for row in rows], np.float64)


def _law(causal: list[LeakRow]) -> CopyLaw | None:
    """From the causal runs with hard windows of one size; None where there is none yet."""
    if not causal:
        return None
    scores = (float(_values(causal, name).mean()) for name in ("accuracy_last", "perplexity_last"))
    return copy_law(causal[0].length, causal[0].window, *scores)


def _percent(values: np.ndarray) -> str:
    return f"{with_spread(100 * values, 1)} %" if len(values) else MISSING


def _number(values: np.ndarray, decimals: int) -> str:
    return with_spread(values, decimals) if len(values) else MISSING


def _premise_table(rows: list[LeakRow], laws: dict[int, CopyLaw | None]) -> str:
    """Runs in which each query sees its whole window (leaky) or its past in it (causal), and nothing else."""
    header = [
        "window",
        "last positions",
        "p: causal accuracy there",
        "law: accuracy",
        "leaky accuracy",
        "leaky − law",
        "leaky, at last positions",
    ]
    header += [
        "leaky, elsewhere",
        "causal accuracy",
        "law: perplexity",
        "leaky perplexity",
        "causal perplexity",
        "leaky entropy (bits)",
    ]
    lines = []
    for window, found in laws.items():
        leaky, causal = (_rows(rows, seeing, True, window, 1.0) for seeing in (True, False))
        accuracy = _values(leaky, "accuracy")
        lines.append([
            str(window),
            f"{100 * found.share:.1f} %" if found else MISSING,
            _percent(_values(causal, "accuracy_last")),
            f"{100 * found.accuracy:.1f} %" if found else MISSING,
            _percent(accuracy),
            f"{100 * (accuracy.mean() - found.accuracy):+.1f}".replace("-", "−") if found and len(leaky) else MISSING,
            _percent(_values(leaky, "accuracy_last")),
            _percent(_values(leaky, "accuracy_others")),
            _percent(_values(causal, "accuracy")),
            f"{found.perplexity:.2f}" if found else MISSING,
            _number(_values(leaky, "perplexity"), 2),
            _number(_values(causal, "perplexity"), 1),
            _number(_values(leaky, "entropy_bits"), 2),
        ])  # fmt: skip
    title = "Hard windows, where the law's premise holds: a query sees its window and nothing else.\n"
    return f"{title}\n{markdown(header, lines)}"


def _dialled_table(rows: list[LeakRow], laws: dict[int, CopyLaw | None]) -> str:
    """The plain runs, trained at λ = 0 and read at every λ with every window size, beside the law and the
    paper.
    """
    lams = sorted({row.lam for row in rows if not row.hard})
    header = ["quantity", "model", "window", *(f"λ = {lam:g}" for lam in lams), "law"]
    lines = []
    for name, title in QUANTITIES.items():
        for mask, leaky in MASKS.items():
            for window, found in laws.items():
                cells = [_values(_rows(rows, leaky, False, window, lam), name) for lam in lams]
                shown = [
                    _percent(cell) if name.startswith("accuracy") else _number(cell, 2) for cell in cells
                ]
                lines.append([title, mask, str(window), *shown, _law_cell(found, name) if leaky else ""])
        if name in PAPER:
            lines.append([title, "paper", "5", *(PAPER[name].get(lam, "") for lam in lams), ""])
    title = (
        "Plain training, dialled: trained at λ = 0 with all of the text in sight, read with windows by the"
        " margin.\n"
    )
    return f"{title}\n{markdown(header, lines)}"


def _law_cell(found: CopyLaw | None, name: str) -> str:
    if name not in ("accuracy", "perplexity"):
        return ""  # the law says nothing of it
    if found is None:
        return MISSING
    return f"{100 * found.accuracy:.1f} %" if name == "accuracy" else f"{found.perplexity:.2f}"


def _missing(found: set[str]) -> list[str]:
    """Names the runs without a result, and the command that makes them."""
    names = [name for name in leak_runs(small()) if name not in found]
    if not names:
        return []
    return [
        f"Not measured yet: {', '.join(names)}. `python -m experiments.leak --data_dir=$WIKITEXT2"
        f" --only={','.join(names)}` continues.\n"
    ]


def leak_figure(rows: list[LeakRow], laws: dict[int, CopyLaw | None]) -> Figure:
    """Accuracy predicted against measured, and the accuracy of the plain leaky run over λ beside the
    law's.
    """
    with house_style(LIGHT):
        fig = Figure(figsize=(7.2, 3.6), layout="constrained")
        left, right = fig.subplots(1, 2)
        colours = dict(zip(WINDOWS, CATEGORIES, strict=False))
        for (window, found), marker in zip(laws.items(), MARKERS, strict=False):
            style = {"color": colours[window], "marker": marker}
            plain = {row.lam: row for row in rows if row.leaky and not row.hard and row.window == window}
            if plain:
                lams = sorted(plain)
                right.plot(lams, [plain[lam].accuracy for lam in lams], label=f"windows of {window}", **style)
                lam_axis(right, lams)
            if found is not None:
                right.axhline(found.accuracy, color=colours[window], linestyle="--", linewidth=1.0)
                _points(
                    left, found, [row.accuracy for row in _rows(rows, True, True, window, 1.0)], True, style
                )
                _points(left, found, [plain[1.0].accuracy] if 1.0 in plain else [], False, style)
        left.axline((0.85, 0.85), slope=1.0, color=LIGHT.muted, linewidth=1.0)
        left.set(title="Predicted and measured", xlabel="law: accuracy", ylabel="leaky accuracy, measured")
        left.plot([], [], color=LIGHT.muted, marker="o", linestyle="", label="hard windows")
        left.plot(
            [],
            [],
            color=LIGHT.muted,
            marker="o",
            linestyle="",
            markerfacecolor="none",
            label="plain, read at λ = 1",
        )
        left.margins(0.15)
        left.legend(loc="best")
        right.set(title="Plain leaky run over λ", ylabel="accuracy")
        right.axhline(
            PAPER_ACCURACY,
            color=LIGHT.text,
            linestyle=":",
            linewidth=1.0,
            label="paper, λ = 0.6, windows of 5",
        )
        right.plot([], [], color=LIGHT.muted, linestyle="--", linewidth=1.0, label="law")
        for axes in (left, right):
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        left.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        legend_above(fig, right)
    return fig


def _points(
    axes: Axes, found: CopyLaw, measured: list[float], filled: bool, style: Mapping[str, Any]
) -> None:
    """One point a measured accuracy: filled where the law's premise holds."""
    axes.plot(
        [found.accuracy] * len(measured),
        measured,
        linestyle="",
        markerfacecolor=None if filled else "none",
        **style,
    )

"""The ablations' tables and figures, made from their result files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from aila_jax.evaluation.rows import SweepResult
from aila_jax.experiments.ablations import penalty_runs
from aila_jax.experiments.results import MISSING, markdown, results_by_run, with_spread
from aila_jax.presets import small
from aila_jax.reporting import save_figure
from aila_jax.reporting.files import write_atomically
from aila_jax.reporting.style import CATEGORIES, LIGHT, house_style, legend_above

Value = Callable[[SweepResult], float | None]


def _cell(name: str) -> Value:
    return lambda result: getattr(result.cells[0], name)


def _sparsity(name: str) -> Value:
    return lambda result: result.meta.get("sparsity", {}).get(name)


# Heading → the number of one result, a factor, decimals, what stands behind the number.
QUALITY: dict[str, tuple[Value, float, int, str]] = {
    "perplexity per token": (_cell("perplexity_token"), 1.0, 1, ""),
    "accuracy": (_cell("accuracy"), 100.0, 2, " %"),
    "entropy (bits)": (_cell("entropy_bits"), 1.0, 2, ""),
    "block mass": (_cell("block_mass"), 1.0, 3, ""),
}
BLOCKS: dict[str, tuple[Value, float, int, str]] = {
    "mean n_in": (lambda result: result.meta["n_in"], 1.0, 2, ""),
    **QUALITY,
    "block mass of uniform attention": (_cell("block_mass_uniform"), 1.0, 3, ""),
}
PENALTY: dict[str, tuple[Value, float, int, str]] = {
    **QUALITY,
    "zero groups of W_Q": (_sparsity("zero_query"), 100.0, 0, " %"),
    "zero groups of W_K": (_sparsity("zero_key"), 100.0, 0, " %"),
    "dead heads": (_sparsity("dead_heads"), 1.0, 1, ""),
    "S (nats, mean of heads)": (lambda result: float(np.mean(result.meta["score_bounds"])), 1.0, 1, ""),
    "score gap δ (nats)": (_cell("delta_measured"), 1.0, 2, ""),
}
UNIFORM = {"color": LIGHT.muted, "linestyle": (0, (4, 3)), "linewidth": 1.1}
COLUMNS = {"windows": BLOCKS, "partitions": BLOCKS, "penalty": PENALTY}


def collect(which: str, directory: Path) -> str:
    """Makes table.md and the figure of one ablation from the result files in `directory`; returns the table as Markdown.

    Means over seeds, with half the range where there are several; a dash where a quantity is not that run's.

    Raises:
      ValueError: there is no result file, or one that is no sweep.
    """
    results = results_by_run(directory, penalty_runs(small()))
    if COLUMNS[which] is BLOCKS:  # partitions of the same n_in side by side
        results = dict(sorted(results.items(), key=lambda item: item[1][0].meta["n_in"]))
    table = ablation_table(results, COLUMNS[which])
    write_atomically(directory / "table.md", table.encode())
    save_figure(ablation_figure(results), directory / "ablation")
    return table


def ablation_table(results: dict[str, list[SweepResult]], columns: dict[str, tuple[Value, float, int, str]]) -> str:
    """A row a run, a column a quantity, as Markdown."""
    lines = []
    for name, seeds in results.items():
        cells = []
        for value, factor, decimals, unit in columns.values():
            values = [value(result) for result in seeds]
            known = np.array([factor * one for one in values if one is not None])
            cells.append(f"{with_spread(known, decimals)}{unit}".replace("-", "−") if len(known) == len(seeds) else MISSING)
        lines.append([name, ", ".join(str(result.config["seed"]) for result in seeds), *cells])
    return markdown(["run", "seeds", *columns], lines)


def ablation_figure(results: dict[str, list[SweepResult]]) -> Figure:
    """Perplexity, accuracy, entropy and block mass of each run: a point a seed, a bar at their mean; dashes: uniform attention."""
    with house_style(LIGHT):
        fig = Figure(figsize=(7.2, 5.6), layout="constrained")
        panels = fig.subplots(2, 2, sharex=True).ravel()
        for axes, (title, (value, _, _, _)) in zip(panels, QUALITY.items(), strict=True):
            for place, seeds in enumerate(results.values()):
                values = np.array([value(result) for result in seeds], np.float64)
                label = {} if place else {"seed": "one seed", "mean": "mean", "uniform": "uniform attention"}
                axes.plot([place] * len(values), values, "o", color=CATEGORIES[0], alpha=0.7, label=label.get("seed"))
                axes.hlines(values.mean(), place - 0.25, place + 0.25, color=CATEGORIES[1], label=label.get("mean"))
                if title == "block mass":
                    uniform = np.mean([result.cells[0].block_mass_uniform for result in seeds])
                    axes.hlines(uniform, place - 0.35, place + 0.35, label=label.get("uniform"), **UNIFORM)
            axes.set(title=title[0].upper() + title[1:])
            axes.margins(x=0.12, y=0.12)
        panels[1].yaxis.set_major_formatter(PercentFormatter(1.0))
        panels[2].set_ylim(bottom=0.0)
        panels[3].set_ylim(0.0, 1.03)
        for axes in panels[2:]:
            turned = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if max(map(len, results)) > 9 else {}
            axes.set_xticks(range(len(results)), list(results), **turned)
        legend_above(fig, panels[3])
    return fig

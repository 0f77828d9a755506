"""The ablations' tables and figures, made from their result files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from aila_jax.evaluation.rows import HeadRow, SweepResult
from aila_jax.files import write_atomically
from aila_jax.formats import MISSING
from aila_jax.presets import small
from aila_jax.reporting import save_figure
from aila_jax.reporting.results import with_spread
from aila_jax.reporting.style import CATEGORIES, LIGHT, house_style, legend_above
from aila_jax.reporting.tables import markdown
from experiments.ablations.runs import penalty_runs
from experiments.results import results_by_run

Value = Callable[[SweepResult], float | None]


def _cell(name: str) -> Value:
    return lambda result: getattr(result.cells[0], name)


def _sparsity(name: str) -> Value:
    return lambda result: None if result.meta.sparsity is None else getattr(result.meta.sparsity, name)


def _mean_alive(value: Callable[[HeadRow, float], float]) -> Value:
    """Mean of a head's row and S over the heads that are alive: the score bound S of a dead one is 0, and its
    attention even.
    """

    def mean(result: SweepResult) -> float | None:
        bounds = result.meta.more["score_bounds"]
        alive = [
            (row, bounds[row.layer][row.head]) for row in result.heads if bounds[row.layer][row.head] > 0.0
        ]
        return float(np.mean([value(*head) for head in alive])) if alive else None

    return mean


@dataclass(frozen=True)
class Column:
    """One column of a table: `factor` times the number of each result (None where it has none), and how the
    mean is written.
    """

    value: Value
    decimals: int
    factor: float = 1.0
    unit: str = ""


QUALITY: dict[str, Column] = {
    "perplexity per token": Column(_cell("perplexity_token"), 1),
    "accuracy": Column(_cell("accuracy"), 2, 100.0, " %"),
    "entropy (bits)": Column(_cell("entropy_bits"), 2),
    "block mass": Column(_cell("block_mass"), 3),
}
BLOCKS: dict[str, Column] = {
    "mean n_in": Column(lambda result: result.meta.more["n_in"], 2),
    **QUALITY,
    "block mass of uniform attention": Column(_cell("block_mass_uniform"), 3),
}
PENALTY: dict[str, Column] = {
    **QUALITY,
    "zero groups of W_Q": Column(_sparsity("zero_query"), 0, 100.0, " %"),
    "zero groups of W_K": Column(_sparsity("zero_key"), 0, 100.0, " %"),
    "dead heads": Column(_sparsity("dead_heads"), 1),
    "S (nats), heads alive": Column(_mean_alive(lambda _, bound: bound), 1),
    "block mass, heads alive": Column(_mean_alive(lambda row, _: row.block_mass), 3),
    "score gap δ (nats)": Column(_cell("delta_measured"), 2),
}
UNIFORM = {"color": LIGHT.muted, "linestyle": (0, (4, 3)), "linewidth": 1.1}
COLUMNS = {"windows": BLOCKS, "partitions": BLOCKS, "penalty": PENALTY}


def collect(which: str, directory: Path) -> str:
    """Makes table.md and the figure of one ablation from the result files in `directory`; returns the table
    as Markdown.

    Means over seeds, with half the range where there are several; a dash where a quantity is not that run's.

    Raises:
      ValueError: there is no result file, or one that is no sweep.
    """
    results = results_by_run(directory, penalty_runs(small()))
    if COLUMNS[which] is BLOCKS:  # partitions of the same n_in side by side
        results = dict(sorted(results.items(), key=lambda item: item[1][0].meta.more["n_in"]))
    table = ablation_table(results, COLUMNS[which])
    write_atomically(directory / "table.md", table.encode())
    save_figure(ablation_figure(results), directory / "ablation")
    return table


def ablation_table(results: dict[str, list[SweepResult]], columns: dict[str, Column]) -> str:
    """A row a run, a column a quantity, as Markdown."""
    lines = []
    for name, seeds in results.items():
        cells = []
        for column in columns.values():
            values = [column.value(result) for result in seeds]
            known = np.array([column.factor * one for one in values if one is not None])
            cells.append(
                f"{with_spread(known, column.decimals)}{column.unit}".replace("-", "−")
                if len(known) == len(seeds)
                else MISSING
            )
        lines.append([name, ", ".join(str(result.config.seed) for result in seeds), *cells])
    return markdown(["run", "seeds", *columns], lines)


def ablation_figure(results: dict[str, list[SweepResult]]) -> Figure:
    """Perplexity, accuracy, entropy and block mass of each run: a point a seed, a bar at their mean; dashes:
    uniform attention.
    """
    with house_style(LIGHT):
        fig = Figure(figsize=(7.2, 5.6), layout="constrained")
        panels = fig.subplots(2, 2, sharex=True).ravel()
        for axes, (title, column) in zip(panels, QUALITY.items(), strict=True):
            for place, seeds in enumerate(results.values()):
                values = np.array([column.value(result) for result in seeds], np.float64)
                label = {} if place else {"seed": "one seed", "mean": "mean", "uniform": "uniform attention"}
                axes.plot(
                    [place] * len(values),
                    values,
                    "o",
                    color=CATEGORIES[0],
                    alpha=0.7,
                    label=label.get("seed"),
                )
                axes.hlines(
                    values.mean(), place - 0.25, place + 0.25, color=CATEGORIES[1], label=label.get("mean")
                )
                if title == "block mass":
                    uniform = np.mean([result.cells[0].block_mass_uniform for result in seeds])
                    axes.hlines(uniform, place - 0.35, place + 0.35, label=label.get("uniform"), **UNIFORM)
            axes.set(title=title[0].upper() + title[1:])
            axes.margins(x=0.12, y=0.12)
        panels[1].yaxis.set_major_formatter(PercentFormatter(1.0))
        panels[2].set_ylim(bottom=0.0)
        panels[3].set_ylim(0.0, 1.03)
        for axes in panels[2:]:
            turned = (
                {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
                if max(map(len, results)) > 9
                else {}
            )
            axes.set_xticks(range(len(results)), list(results), **turned)
        legend_above(fig, panels[3])
    return fig

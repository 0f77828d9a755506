"""The one checkpoint's tables and figures: transfer matrix, regret, goals and the τ law, made from result
files.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aila_jax.config import MarginForm
from aila_jax.files import write_atomically
from aila_jax.formats import MISSING
from aila_jax.reporting import save_figure
from aila_jax.reporting.results import with_spread
from aila_jax.reporting.style import CATEGORIES, LIGHT, MARKERS, house_style, lam_axis, legend_above
from aila_jax.reporting.tables import markdown
from experiments.one_checkpoint.curves import (
    MIN_OUTSIDE,
    DialCurve,
    Goal,
    goals,
    own_best,
    read_results,
    regret,
    tau_law,
)
from experiments.one_checkpoint.recipe import recipe_table
from experiments.one_checkpoint.runs import BUDGETS, LAMS, TRAINED

Results = dict[str, dict[int, DialCurve]]
Quantity = tuple[
    Callable[[DialCurve], np.ndarray | None], int
]  # its value at each λ, None where it was not measured; decimals
QUANTITIES: dict[str, tuple[Callable[[DialCurve], np.ndarray], int]] = {
    "Perplexity per token": (lambda one: one.perplexity, 1),
    "Attention entropy (bits)": (lambda one: one.entropy_bits, 2),
    "Block mass": (lambda one: one.block_mass, 2),
}
GUARANTEED = "Block mass that every text is guaranteed, mean over queries (– where nothing is)"
INFLUENCE = "Influence of the tokens outside the block (nats)"
REGRET_OF_BEST = (
    "Dial regret, paired by seed, where each has the best of its runs of that seed, of the matrix and the"
    " grid (the one checkpoint one for every λ)."
)
TABLES: dict[str, Quantity] = {
    **QUANTITIES,
    GUARANTEED: (lambda one: one.guaranteed, 2),
    INFLUENCE: (lambda one: one.influence, 3),
}


def collect(directory: Path) -> str:
    """Makes table.md and the figures from the result files in `directory`; returns the tables as Markdown.

    Means over seeds, ± half the range where there are several. What is not measured is a dash.

    Raises:
      ValueError: there is no result file, or one that is no result of this experiment.
    """
    found = read_results(directory)
    parts = []
    for budget in BUDGETS:
        if not any(name.startswith(f"{budget}-") for name in found):
            continue
        parts += [
            f"## {budget} tokens\n",
            *(transfer_table(found, budget, title) for title in (*QUANTITIES, GUARANTEED)),
        ]
        measured = any(
            one.influence is not None for name in rows_of(budget) for one in found.get(name, {}).values()
        )
        parts += [
            transfer_table(found, budget, INFLUENCE, empty=False) if measured else "",
            _regrets("Dial regret, paired by seed.", budget, lambda name, _: found.get(name, {})),
        ]
        for name, label in one_checkpoints(budget).items():
            parts += [_goals(goals(found, name), label), _law(found.get(name, {}), label)]
        save_figure(transfer_figure(found, budget), directory / f"transfer_{budget}")
        save_figure(regret_figure(found, budget), directory / f"regret_{budget}")
    grids = [table for budget in BUDGETS if (table := _grid(found, budget))]
    parts += [*recipe_table(found), *(["## Grid of learning rate and dropout\n", *grids] if grids else [])]
    text = "\n".join(part for part in parts if part)
    write_atomically(directory / "table.md", text.encode())
    return text


def rows_of(budget: str) -> dict[str, str]:
    """Name of a way of training at one budget → its label, in the order of the tables."""
    return {
        **{f"{budget}-fixed-{lam:g}": f"trained at λ = {lam:g}" for lam in TRAINED},
        **one_checkpoints(budget),
    }


def one_checkpoints(budget: str) -> dict[str, str]:
    """Those of `rows_of` that are trained for every λ."""
    return {
        f"{budget}-one-view": "one checkpoint, one λ a sequence",
        f"{budget}-no-pressure": "one checkpoint, no pressure",
        f"{budget}-conditional": "one checkpoint",
    }


def transfer_table(found: Results, budget: str, title: str, empty: bool = True) -> str:
    """One of `TABLES` as Markdown. Rows: ways of training, if `empty` every λ of training, run or not;
    columns: λ of reading.
    """
    values, decimals = TABLES[title]
    lines = []
    for name, label in rows_of(budget).items():
        ones = [value for one in found.get(name, {}).values() if (value := values(one)) is not None]
        if not ones and not (empty and name.startswith(f"{budget}-fixed-")):
            continue
        columns = np.array(ones).T if ones else np.full((len(LAMS), 1), np.nan)
        cells = [MISSING if np.isnan(column).any() else with_spread(column, decimals) for column in columns]
        lines.append([label, str(len(ones)), *cells])
    header = ["", "seeds", *(f"read at λ = {lam:g}" for lam in LAMS)]
    return f"{title}, τ = 1.\n\n{markdown(header, lines)}"


def _regrets(title: str, budget: str, runs_of: Callable[[str, float | None], dict[int, DialCurve]]) -> str:
    """Regret of each one checkpoint; `runs_of` gives the runs by seed of a way of training, for the λ that it
    is trained at, None for all.
    """
    lines = []
    for name, label in one_checkpoints(budget).items():
        if ones := runs_of(name, None):
            values = [100 * regret(ones, runs_of(f"{budget}-fixed-{lam:g}", lam), lam) for lam in LAMS]
            lines.append([label, *(f"{_signed(one)} %" if len(one) else MISSING for one in values)])
    return f"{title}\n\n" + markdown(["", *(f"λ = {lam:g}" for lam in LAMS)], lines)


def _signed(values: np.ndarray) -> str:
    text = with_spread(values, 1)
    return (text if values.mean() < 0 else f"+{text}").replace("-", "−")


def _goals(asked: list[Goal], label: str) -> str:
    if not asked:
        return ""
    lines = []
    for goal in asked:
        sign = "≤" if goal.most else "≥"
        lines.append(
            [
                goal.text,
                str(len(goal.values)),
                with_spread(goal.values, 3).replace("-", "−"),
                f"{sign} {goal.limit:g}",
                "yes" if goal.holds else "no",
            ]
        )
    return f"What is asked of the {label}. It holds where every seed keeps the limit.\n\n" + markdown(
        ["", "seeds", "measured", "limit", "holds"], lines
    )


def _law(ones: dict[int, DialCurve], label: str) -> str:
    if not ones:
        return ""
    law = tau_law(list(ones.values()))
    start = (
        f"Law of τ, {label}: ln(a head's mass outside the block) against the share of its margin imposed,"
        " divided by τ, λ > 0: "
    )
    if law is None:
        return f"{start}not fitted, a seed has too few rows with at least {MIN_OUTSIDE:g} outside.\n"
    left_out = f"; {law.left_out} with less than {MIN_OUTSIDE:g} outside left out" if law.left_out else ""
    fitted = (
        f"slope {law.slope:.2f} (95 % interval {law.low:.2f} to {law.high:.2f}), correlation"
        f" {law.correlation:.2f}".replace("-", "−")
    )
    nats = {one.model.margin.nats for one in ones.values() if one.model.margin.form == MarginForm.FIXED}
    if len(nats) == 1:
        fitted += f"; {law.slope / nats.pop():.2f} per nat imposed".replace("-", "−")
    return f"{start}{fitted} (seeds: {law.seeds}, rows: {law.rows}{left_out}).\n"


def _grid(found: Results, budget: str) -> str:
    """One budget of the grid of learning rate and dropout, where there is one; the configuration itself with
    the seeds that others were tried with.
    """
    lines = []
    for name, label in rows_of(budget).items():
        tried = [ones for other, ones in found.items() if other.startswith(f"grid-{name}-rate")]
        seeds = {seed for ones in tried for seed in ones}
        itself = {seed: one for seed, one in found.get(name, {}).items() if seed in seeds}
        runs = [list(ones.values()) for ones in (itself, *tried) if ones]
        for ones in sorted(runs, key=lambda ones: (ones[0].model.dropout, ones[0].learning_rate)):
            perplexity = np.array([one.perplexity for one in ones]).T
            set_to = [f"{ones[0].learning_rate:g}", f"{ones[0].model.dropout:g}", str(len(ones))]
            lines.append([label, *set_to, *(with_spread(column, 1) for column in perplexity)])
    if not lines:
        return ""
    header = ["", "learning rate", "dropout", "seeds", *(f"read at λ = {lam:g}" for lam in LAMS)]
    return (
        f"Perplexity per token, {budget} tokens, τ ="
        f" 1.\n\n{markdown(header, lines)}\n{_regrets(REGRET_OF_BEST, budget, partial(own_best, found))}"
    )


def transfer_figure(found: Results, budget: str) -> Figure:
    """Perplexity of every way of training read at every λ, mean over seeds; the darker, the further above the
    best of its column.
    """
    names = {name: label for name, label in rows_of(budget).items() if name in found}
    mean = np.array([np.mean([one.perplexity for one in found[name].values()], axis=0) for name in names])
    # The logarithm keeps a few per cent apart where other cells are far off.
    excess = np.log1p(100 * (mean / mean.min(axis=0) - 1))
    with house_style(LIGHT):
        fig = Figure(figsize=(6.4, 0.9 + 0.42 * len(names)), layout="constrained")
        axes = fig.subplots()
        axes.grid(False)
        axes.imshow(excess, cmap="viridis_r", aspect="auto")
        for row, column in np.ndindex(*mean.shape):
            colour = "white" if excess[row, column] > 0.5 * excess.max() else "black"
            axes.text(column, row, f"{mean[row, column]:.1f}", ha="center", va="center", color=colour)
        axes.set_xticks(range(len(LAMS)), [f"{lam:g}" for lam in LAMS])
        axes.set_yticks(range(len(names)), list(names.values()))
        axes.set(xlabel="read at λ", title=f"Perplexity per token, {budget} training tokens")
    return fig


def regret_figure(found: Results, budget: str) -> Figure:
    """The one checkpoints beside models trained at the λ they are read at: perplexity, entropy and block mass
    with what is guaranteed; a point a seed.
    """
    with house_style(LIGHT):
        fig = Figure(figsize=(9.0, 3.2), layout="constrained")
        panels = fig.subplots(1, 3)
        for axes, (title, (values, _)) in zip(panels, QUANTITIES.items(), strict=True):
            own = {
                lam: found[f"{budget}-fixed-{lam:g}"] for lam in LAMS if f"{budget}-fixed-{lam:g}" in found
            }
            plain = found.get(f"{budget}-fixed-0", {})
            for (name, label), colour in zip(
                reversed(one_checkpoints(budget).items()), (0, 4, 3), strict=True
            ):
                ones = found.get(name, {}).values()
                _line(
                    axes,
                    [(lam, [values(run)[index] for run in ones]) for index, lam in enumerate(LAMS)],
                    label,
                    colour,
                )
            _line(
                axes,
                [(lam, [values(run)[LAMS.index(lam)] for run in runs.values()]) for lam, runs in own.items()],
                "trained at that λ",
                1,
            )
            if not title.startswith("Perplexity"):
                _line(
                    axes,
                    [(lam, [values(run)[index] for run in plain.values()]) for index, lam in enumerate(LAMS)],
                    "plain, dialled",
                    2,
                )
                axes.set_ylim(0.0, 1.05 * axes.get_ylim()[1])
                if title == "Block mass":
                    _guarantee(axes, found.get(f"{budget}-conditional", {}))
            elif plain:  # dialled, it would leave no room for the others
                axes.axhline(
                    float(np.mean([run.perplexity[0] for run in plain.values()])),
                    color=LIGHT.muted,
                    linestyle="--",
                    linewidth=1.0,
                )
                axes.set_ylabel("dashed: plain training, λ = 0")
            axes.set_title(title)
            lam_axis(axes, LAMS)
        legend_above(fig, panels[1])
    return fig


def _guarantee(axes: Axes, ones: dict[int, DialCurve]) -> None:
    """What every text is guaranteed, dotted, where something is: the least of the seeds."""
    if not ones:
        return
    least = np.min([one.guaranteed for one in ones.values()], axis=0)
    axes.plot(LAMS, least, color=LIGHT.muted, linestyle=":", linewidth=1.2)
    if not np.isnan(least).all():
        axes.set_ylabel("dotted: guaranteed for every text")


def _line(axes: Axes, points: list[tuple[float, list[float]]], label: str, index: int) -> None:
    """A line through the means, and a small point for each seed."""
    points = [(lam, seeds) for lam, seeds in points if seeds]
    if not points:
        return
    colour = CATEGORIES[index]
    axes.plot(
        [lam for lam, _ in points],
        [np.mean(seeds) for _, seeds in points],
        color=colour,
        marker=MARKERS[index],
        label=label,
    )
    for lam, seeds in points:
        if len(seeds) > 1:
            axes.plot([lam] * len(seeds), seeds, color=colour, marker=".", markersize=3, linestyle="")

"""The dial as figures: quality and locality against λ, against each other, and head by head."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, MaxNLocator

from aila_jax.config import one_of
from aila_jax.evaluation.rows import CellRow, HeadRow, SweepResult
from aila_jax.formats import UNITS
from aila_jax.reporting.grid import by_tau, heads_at, mask_note, nearest_tau, spread
from aila_jax.reporting.labels import label_points
from aila_jax.reporting.style import (
    CATEGORIES,
    LIGHT,
    MARKERS,
    Theme,
    house_style,
    lam_axis,
    legend_above,
    ordered_colours,
    perplexity_axis,
)

MAX_LABELS = 6
MAX_LARGE_MARKERS = 11
MAX_LAMS = 6  # of the heatmaps
MAX_HEADS_WITH_NUMBERS = 4


@dataclass(frozen=True)
class Series:
    """One line of a figure: cells in order of λ, and how they are drawn."""

    label: str
    cells: tuple[CellRow, ...]
    style: dict[str, Any]

    def values(self, name: str) -> list[float]:
        """The cells' values of one field."""
        return [getattr(cell, name) for cell in self.cells]


def dial_figure(
    results: SweepResult | Mapping[str, SweepResult], *, perplexity: str = "token", theme: Theme = LIGHT
) -> Figure:
    """Perplexity, accuracy, attention entropy and block mass against λ.

    Args:
      results: one result, drawn with a line per τ; or several by label, drawn with a line each at τ = 1 (or
        the nearest, which the label then names).
      perplexity: `token`, `word` or `byte`. Results with different tokenizers compare only by word or byte.
      theme: page colours.

    Returns:
      A figure of four panels; uniform attention's block mass is dashed, what the margin guarantees dotted.

    Raises:
      ValueError: no cells, perplexity of that unit not recorded, or token perplexities of different
        tokenizers.
    """
    series = _series(results, theme)
    name = _perplexity_field(series, results, perplexity)
    with house_style(theme):
        fig = Figure(figsize=(7.2, 5.6), layout="constrained")
        panels = fig.subplots(2, 2).ravel()
        for axes, field in zip(panels, (name, "accuracy", "entropy_bits", "block_mass"), strict=True):
            for line in series:
                axes.plot(line.values("lam"), line.values(field), label=line.label, **line.style)
            lam_axis(axes, [lam for line in series for lam in line.values("lam")])
        _perplexity_panel(panels[0], series, name)
        panels[1].set(title="Accuracy", ylabel="targets ranked first")
        panels[1].yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
        panels[2].set(title="Attention entropy", ylabel="bits (mean over layers, heads)")
        panels[2].set_ylim(bottom=0.0)
        panels[3].set(title="Block mass", ylabel="attention inside the block", ylim=(0.0, 1.03))
        _uniform_lines(panels[3], series, theme)
        _guaranteed_lines(panels[2], series, theme, "guaranteed_entropy_bits")
        _guaranteed_lines(panels[3], series, theme, "guaranteed_block_mass")
        legend_above(fig, panels[3])
        fig.align_ylabels(panels)
    return fig


def tradeoff_figure(result: SweepResult, *, perplexity: str = "token", theme: Theme = LIGHT) -> Figure:
    """Perplexity against attention entropy: a line per τ, its points labelled with λ.

    At most six points a line have a label, and one that would cover something is left out.
    Arguments and errors are those of `dial_figure`.
    """
    series = _series(result, theme)
    name = _perplexity_field(series, result, perplexity)
    with house_style(theme):
        fig = Figure(figsize=(5.6, 4.4), layout="constrained")
        axes = fig.subplots()
        for line in series:
            axes.plot(line.values("entropy_bits"), line.values(name), label=line.label, **line.style)
        _perplexity_panel(axes, series, name)
        axes.set(
            title="Perplexity against attention entropy",
            ylabel=f"perplexity {axes.get_ylabel()}",
            xlabel="attention entropy (bits)",
        )
        axes.margins(0.09)
        legend_above(fig, axes)
        nearest = min(series, key=lambda line: abs(math.log(line.cells[0].tau)))
        for line in sorted(
            series, key=lambda line: line is not nearest
        ):  # the first labels find the most room
            points = list(zip(line.values("entropy_bits"), line.values(name), strict=True))
            start = "λ = " if line is nearest else ""
            labels = {index: f"{start}{line.cells[index].lam:g}" for index in spread(len(points), MAX_LABELS)}
            label_points(fig, axes, points, labels, line.style["color"])
    return fig


def heads_figure(result: SweepResult, *, theme: Theme = LIGHT) -> Figure:
    """Heatmaps of layer × head at τ = 1 (or the nearest): entropy above, block mass below, a column for each
    λ.

    At most six λ are shown, spread evenly over those measured, the ends included. Each row has one colour
    scale.

    Raises:
      ValueError: the sweep has no head rows.
    """
    tau = nearest_tau(result)
    rows = heads_at(result, tau)
    measured = list(rows)
    lams = [measured[index] for index in spread(len(measured), MAX_LAMS)]
    shown = [row for lam in lams for row in rows[lam]]
    with house_style(theme):
        layers, heads = 1 + max(row.layer for row in shown), 1 + max(row.head for row in shown)
        width = max(3.4, 1.05 * len(lams) + 1.2)
        fig = Figure(
            figsize=(width, 2 * (0.55 + 0.9 * min(2.0, max(0.6, layers / heads))) + 0.35),
            layout="constrained",
        )
        panels = fig.subplots(2, len(lams), squeeze=False, sharex=True, sharey=True)
        scales = (
            ("entropy_bits", "entropy (bits)", max(row.entropy_bits for row in shown)),
            ("block_mass", "block mass", 1.0),
        )
        for line, (field, title, most) in enumerate(scales):
            for axes, lam in zip(panels[line], lams, strict=True):
                image = _heatmap(axes, rows[lam], field, (layers, heads), most)
                axes.set_title(f"λ = {lam:g}" if line == 0 else "", loc="center", fontweight="normal")
            panels[line, 0].set_ylabel("layer")
            bar = fig.colorbar(image, ax=list(panels[line]), label=title, pad=0.015, aspect=12)
            bar.outline.set_visible(False)
        fig.supxlabel(f"head, at τ = {tau:g}", fontsize=9)
    return fig


def _series(results: SweepResult | Mapping[str, SweepResult], theme: Theme) -> list[Series]:
    """The lines to draw, with colours in order of τ, or one colour a label."""
    if isinstance(results, SweepResult):
        grid = by_tau(results)
        marked = f" ({note})" if (note := mask_note(results)) else ""
        colours = ordered_colours(len(grid), theme)
        return [
            Series(f"τ = {tau:g}{marked}", cells, _style(colours[index], index, cells))
            for index, (tau, cells) in enumerate(grid.items())
        ]
    limit = len(CATEGORIES)
    if not 1 <= len(results) <= limit:
        raise ValueError(
            f"{len(results)} results were given; there must be 1 to {limit}. Fix: compare at most {limit} in"
            " one figure."
        )
    series = []
    for index, (label, result) in enumerate(results.items()):
        tau = nearest_tau(result)
        notes = ([f"τ = {tau:g}"] if tau != 1.0 else []) + ([note] if (note := mask_note(result)) else [])
        name = f"{label} ({', '.join(notes)})" if notes else label
        cells = by_tau(result)[tau]
        series.append(Series(name, cells, _style(CATEGORIES[index], index, cells)))
    return series


def _style(colour: Any, index: int, cells: Sequence[CellRow]) -> dict[str, Any]:
    """Colour and marker of a line; the markers are smaller where they are many."""
    return {
        "color": colour,
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 4.5 if len(cells) <= MAX_LARGE_MARKERS else 2.5,
    }


def _perplexity_field(
    series: Sequence[Series], results: SweepResult | Mapping[str, SweepResult], unit: str
) -> str:
    """The row field of a perplexity that every cell has and that compares across the results."""
    one_of("perplexity", unit, UNITS)
    field = f"perplexity_{unit}"
    for line in series:
        if None in line.values(field):
            raise ValueError(
                f"{line.label}: {field} is None; it must be recorded in every cell. Fix: pass"
                " perplexity='token', or score the whole split."
            )
    if unit == "token" and not isinstance(results, SweepResult):
        made = {label: tokenizer_of(result) for label, result in results.items()}
        if len(set(made.values())) > 1:
            raise ValueError(
                f"perplexity is per token, but the tokenizers are {made}; they must be the same. Fix: pass"
                " perplexity='byte' or 'word'."
            )
    return field


def tokenizer_of(result: SweepResult) -> tuple[Any, ...]:
    """What the configuration says of the tokenizer."""
    data = result.config.data
    return data.corpus, data.tokenizer, data.vocab_size


def _perplexity_panel(axes: Axes, series: Sequence[Series], name: str) -> None:
    values = [value for line in series for value in line.values(name)]
    splits = " and ".join(sorted({cell.split for line in series for cell in line.cells}))
    perplexity_axis(axes, values)
    scale = ", log scale" if axes.get_yscale() == "log" else ""
    axes.set(title="Perplexity", ylabel=f"per {name.removeprefix('perplexity_')} ({splits}{scale})")


def _uniform_lines(axes: Axes, series: Sequence[Series], theme: Theme) -> None:
    """Dashes uniform attention's block mass: one line where all series share it, else one in each series'
    colour.
    """
    for line in _distinct_uniform(series):
        shared = len(_distinct_uniform(series)) == 1
        colour, label = (
            (theme.muted, "uniform attention") if shared else (line.style["color"], f"uniform, {line.label}")
        )
        marker = "_" if len(line.cells) == 1 else ""  # one point alone draws no line
        axes.plot(
            line.values("lam"),
            line.values("block_mass_uniform"),
            color=colour,
            linestyle=(0, (4, 3)),
            linewidth=1.1,
            label=label,
            marker=marker,
            ms=14,
        )


def _guaranteed_lines(axes: Axes, series: Sequence[Series], theme: Theme, field: str) -> None:
    """Dots what is guaranteed, in each series' colour, at the λ where anything is; one entry in the legend
    for all.
    """
    for line in series:
        points = [(cell.lam, getattr(cell, field)) for cell in line.cells if getattr(cell, field) is not None]
        if points:
            axes.plot(
                *zip(*points, strict=True), color=line.style["color"], linestyle=":", marker="_", markersize=6
            )
    if any(getattr(cell, field) is not None for line in series for cell in line.cells):
        axes.plot([], [], color=theme.muted, linestyle=":", marker="_", markersize=6, label="guaranteed")


def _distinct_uniform(series: Sequence[Series]) -> list[Series]:
    """The series, less those whose uniform block mass an earlier one shows already (to three decimals)."""
    seen: dict[tuple[tuple[float, float], ...], Series] = {}
    for line in series:
        key = tuple((cell.lam, round(cell.block_mass_uniform, 3)) for cell in line.cells)
        seen.setdefault(key, line)
    return list(seen.values())


def _heatmap(
    axes: Axes, rows: tuple[HeadRow, ...], field: str, shape: tuple[int, int], most: float
) -> AxesImage:
    """One layer × head image from 0 to `most`; blank where a head is missing; with numbers where there is
    room.
    """
    values = np.full(shape, np.nan)
    for row in rows:
        values[row.layer, row.head] = getattr(row, field)
    image = axes.imshow(
        values, vmin=0.0, vmax=most or 1.0, cmap="viridis", aspect="auto", interpolation="nearest"
    )
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.tick_params(length=0)
    if max(shape) <= MAX_HEADS_WITH_NUMBERS:
        for row in rows:
            value = getattr(row, field)
            colour = "#ffffff" if value < 0.6 * (most or 1.0) else "#000000"
            text = (
                f"{value:.1f}"
                if field == "entropy_bits"
                else f"{value:.2f}".lstrip("0")
                if value < 1
                else f"{value:.1f}"
            )
            axes.text(row.head, row.layer, text, ha="center", va="center", fontsize=6.5, color=colour)
    return image

"""Entropy and block mass of every layer and head, as heatmaps along λ."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from aila_jax.evaluation.rows import HeadRow, SweepResult
from aila_jax.reporting.grid import heads_at, nearest_tau, spread
from aila_jax.reporting.style import LIGHT, Theme, house_style

MOST_LAMS = 6
MOST_HEADS_WITH_NUMBERS = 4


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
    lams = [measured[index] for index in spread(len(measured), MOST_LAMS)]
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
    if max(shape) <= MOST_HEADS_WITH_NUMBERS:
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

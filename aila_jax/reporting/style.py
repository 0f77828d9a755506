"""The look of every figure: colours, sizes and axes, for light and dark pages; and how figures are saved."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from aila_jax.files import write_atomically

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
# Okabe and Ito's colours that stand out on white and on near-black; for results that have no order.
CATEGORIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LOG_SPAN = 3.0


@dataclass(frozen=True)
class Theme:
    """Page colours, and the part of the viridis map that stands out on the background."""

    background: str
    text: str
    muted: str
    grid: str
    ramp: tuple[float, float]


LIGHT = Theme("#ffffff", "#1b1f24", "#5b6570", "#dfe3e8", (0.0, 0.76))
DARK = Theme("#161b22", "#e6e9ed", "#a3adb8", "#333b45", (0.38, 1.0))


@contextlib.contextmanager
def house_style(theme: Theme = LIGHT) -> Iterator[None]:
    """Matplotlib's defaults with this package's changes, whatever the user's own settings; restored on
    leaving.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "figure.facecolor": theme.background,
                "figure.dpi": 100,
                "figure.constrained_layout.w_pad": 0.08,
                "figure.constrained_layout.h_pad": 0.08,
                "savefig.facecolor": theme.background,
                "svg.hashsalt": "aila_jax",
                "font.size": 9,
                "axes.titlesize": 9.5,
                "axes.titleweight": "bold",
                "axes.titlelocation": "left",
                "axes.facecolor": theme.background,
                "axes.edgecolor": theme.muted,
                "axes.labelcolor": theme.text,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.grid": True,
                "axes.axisbelow": True,
                "grid.color": theme.grid,
                "grid.linewidth": 0.6,
                "lines.linewidth": 1.6,
                "lines.markersize": 4.5,
                "legend.frameon": False,
                "legend.labelcolor": theme.text,
                "text.color": theme.text,
                "xtick.color": theme.muted,
                "ytick.color": theme.muted,
                "xtick.labelcolor": theme.text,
                "ytick.labelcolor": theme.text,
            }
        )
        yield


def ordered_colours(count: int, theme: Theme) -> list[tuple[float, ...]]:
    """`count` colours in the perceptual order of viridis, dark to bright."""
    low, high = theme.ramp
    places = np.linspace(low, high, count) if count > 1 else [0.5 * (low + high)]
    return [matplotlib.colormaps["viridis"](float(place)) for place in places]


def lam_axis(axes: Axes, lams: Sequence[float]) -> None:
    """Labels the x axis as λ, with a tick at every λ measured where they are few and apart."""
    axes.set_xlabel("locality λ")
    low, high = min(lams), max(lams)
    room = 0.04 * (high - low) or 0.05
    axes.set_xlim(low - room, high + room)
    values = sorted(set(lams))
    if len(values) <= 11 and (len(values) == 1 or min(np.diff(values)) >= 0.075 * (high - low)):
        axes.set_xticks(values, [f"{lam:g}" for lam in values])


def perplexity_axis(axes: Axes, values: Sequence[float]) -> None:
    """Makes the y axis logarithmic where `values` span more than a factor of 3, with ticks in plain
    numbers.
    """
    if max(values) <= LOG_SPAN * min(values):
        return
    axes.set_yscale("log")
    decades = np.log10(max(values) / min(values))
    subs = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if decades < 1 else (1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=20))
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:,.6g}" if value < 1e6 else f"{value:.0e}")
    )
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


def legend_above(fig: Figure, axes: Axes) -> None:
    """One legend for the figure, of what `axes` shows, above the panels in as many columns as fit."""
    handles, labels = axes.get_legend_handles_labels()
    per_character, per_handle = 0.068, 0.5  # inches
    columns = int(fig.get_figwidth() / (per_character * max(map(len, labels)) + per_handle))
    fig.legend(handles, labels, loc="outside upper center", ncols=max(1, min(columns, len(labels))))


def save_figure(fig: Figure, path_without_suffix: str | Path) -> list[Path]:
    """Writes `<path>.png` (200 dots an inch) and `<path>.svg`; returns both paths. A dot in the name is
    kept.
    """
    contents = {".png": figure_bytes(fig, "png"), ".svg": figure_bytes(fig, "svg")}
    paths = [Path(f"{path_without_suffix}{suffix}") for suffix in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        write_atomically(path, content)
    return paths


def figure_bytes(fig: Figure, kind: str) -> bytes:
    """The figure as `png` or `svg`, without date and program version, so that equal figures are equal
    files.
    """
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}[kind]
    FigureCanvasAgg(fig)
    buffer = io.BytesIO()
    with house_style():
        fig.savefig(buffer, format=kind, dpi=200, facecolor=fig.get_facecolor(), metadata=metadata)
    return buffer.getvalue()

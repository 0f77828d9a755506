"""Figures as PNG and SVG, the same bytes every time."""

import io
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from aila_jax.reporting.files import write_atomically
from aila_jax.reporting.style import house_style


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

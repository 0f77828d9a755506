"""Where heads look in a text: maps, figures and the page with a slider over λ."""

from pathlib import Path
from typing import Any

from aila_jax.config.options import AttentionOptions
from aila_jax.evaluation.rows import SweepResult
from aila_jax.files import write_atomically
from aila_jax.inference.attention_maps import AttentionMaps, save_maps
from aila_jax.reporting import (
    attention_figure,
    attention_page,
    dial_figure,
    heads_figure,
    save_figure,
    tradeoff_figure,
    training_figure,
)
from aila_jax.runs.opened import OpenedRun, opened


def attention(run: OpenedRun | str | Path, options: AttentionOptions, out: str | Path = "") -> list[Path]:
    """Draws a checkpoint's attention over a text: a figure (PNG and SVG) for each λ, and attention.html with
    a slider over them; the weights as .npz where asked for.

    Args:
      run: an opened run, or its path.
      options: the text, the dial, and what is drawn.
      out: folder for the files; `attention` in the run directory by default.

    Returns:
      The paths written.
    """
    run = opened(run)
    maps = tuple(
        _asked(one, options)
        for one in run.model.attention_dial(options.text, lams=options.lam, tau=options.tau)
    )
    page = attention_page(maps)
    figures = {
        f"attention_lam{one.lam:g}_tau{options.tau:g}": attention_figure(one, options.layers, options.heads)
        for one in maps
    }
    directory = run.folder(out, "attention")
    written = [path for name, figure in figures.items() for path in save_figure(figure, directory / name)]
    write_atomically(directory / "attention.html", page.encode("utf-8"))
    written.append(directory / "attention.html")
    if options.npz:
        save_maps(maps, options.npz)
        written.append(Path(options.npz))
    return written


def _asked(maps: AttentionMaps, options: AttentionOptions) -> AttentionMaps:
    """By word, and averaged, where that is asked for."""
    maps = maps.by_word() if options.by_word else maps
    maps = maps.mean_heads() if options.mean_heads else maps
    return maps.mean_layers() if options.mean_layers else maps


def draw_figures(result: SweepResult, log: list[dict[str, Any]] | None, directory: Path) -> list[Path]:
    """dial, tradeoff and heads figures, and the training curve where there is a log, as PNG and SVG."""
    figures = {
        "dial": dial_figure(result),
        "tradeoff": tradeoff_figure(result),
        "heads": heads_figure(result),
    }
    if log:
        figures["training"] = training_figure(log)
    return [path for name, figure in figures.items() for path in save_figure(figure, directory / name)]

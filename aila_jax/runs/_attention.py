"""Where heads look in a text: maps, figures and the page with a slider over λ."""

from pathlib import Path
from typing import Any

from aila_jax.config import PartitionKind, require
from aila_jax.config.options import AttentionOptions
from aila_jax.evaluation.rows import SweepResult
from aila_jax.files import write_atomically
from aila_jax.inference.attention_maps import AttentionMaps
from aila_jax.inference.inputs import read_text
from aila_jax.inference.language_model import LanguageModel
from aila_jax.reporting import (
    attention_figure,
    attention_page,
    dial_figure,
    heads_figure,
    save_figure,
    tradeoff_figure,
    training_figure,
)
from aila_jax.reporting.attention_slider import most_tokens
from aila_jax.runs.opened import OpenedRun, opened

# Line ends are blocks where blocks came with the data; other partitions read it as one line.
SAMPLE_LINES = (
    "Return a new list",
    "containing the first item",
    "of each list ,",
    "or None if the list",
    "has no items .",
    "The old list",
    "is not changed .",
)


SLIDER_LAMS = tuple(index / 10 for index in range(11))


def dial_maps(
    model: LanguageModel, text: str = "", tau: float = 1.0, hard: bool = False
) -> tuple[AttentionMaps, ...]:
    """A model's attention over `text` along the dial, for the report's slider: eleven λ, or λ = 1 alone for
    hard blocks.

    The sample sentence, taken where `text` is empty, is cut to what the model reads and the page holds;
    `text` is never cut.
    """
    config = model.config.model
    lams = (1.0,) if hard else SLIDER_LAMS
    longest = min(
        config.length, most_tokens(len(lams), config.n_layers, config.n_heads, not config.bidirectional)
    )
    sample = ("\n" if model.config.partition.kind == PartitionKind.GIVEN else " ").join(SAMPLE_LINES)
    tokens, ids = read_text(model, text or sample)
    require(
        not text or len(tokens) <= longest,
        "text",
        f"{len(tokens)} tokens",
        f"at most {longest} for this model",
        "shorten it",
    )
    ids = None if ids is None else ids[:longest]
    return model.attention_dial(tokens[:longest], lams=lams, tau=tau, block_ids=ids, hard=hard)


def attention(run: OpenedRun | str | Path, options: AttentionOptions, out: str | Path = "") -> list[Path]:
    """Draws a checkpoint's attention over a text: a figure (PNG and SVG) for each λ, and attention.html with
    a slider over them.

    Args:
      run: an opened run, or its path.
      options: the text, the dial, and what is drawn.
      out: folder for the files; `attention` in the run directory by default.

    Returns:
      The paths written.
    """
    run = opened(run)
    maps = run.model.attention_dial(options.text, lams=options.lam, tau=options.tau)
    page = attention_page(maps)
    figures = {
        f"attention_lam{one.lam:g}_tau{options.tau:g}": attention_figure(one, options.layers, options.heads)
        for one in maps
    }
    directory = run.folder(out, "attention")
    written = [path for name, figure in figures.items() for path in save_figure(figure, directory / name)]
    write_atomically(directory / "attention.html", page.encode("utf-8"))
    return [*written, directory / "attention.html"]


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

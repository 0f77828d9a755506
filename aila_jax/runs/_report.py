"""What is shown of a checkpoint or a sweep: figures, the HTML page, attention maps, generated text."""

from pathlib import Path
from typing import Any

from aila_jax.checkpoint import DIRECTORY, whole_steps
from aila_jax.config import require
from aila_jax.config.options import GenerateOptions, ReportOptions
from aila_jax.evaluation.rows import SweepResult
from aila_jax.inference.generation import Continuation
from aila_jax.inference.language_model import LanguageModel, load
from aila_jax.reporting import (
    read_sweep,
    read_training_log,
)
from aila_jax.reporting import report as write_report
from aila_jax.reporting.grid import nearest_tau
from aila_jax.reporting.records import sweep_folder
from aila_jax.reporting.samples import read_samples, write_samples
from aila_jax.runs._attention import dial_maps, draw_figures
from aila_jax.runs.opened import OpenedRun, opened
from aila_jax.runs.workdir import check_writable


def report(
    sweep_path: str | Path,
    options: ReportOptions = ReportOptions(),
    out: str | Path = "",
    samples: list[dict[str, Any]] | None = None,
) -> Path:
    """Draws figures beside a sweep's files and writes the self-contained HTML page; returns the page's path.

    Rows are enough for everything but attention, which is left out where there is no checkpoint. Without a
    text of the user's it is that of a sentence of this program's, as many tokens as fit, and nothing where
    lines are not the blocks of training.

    Args:
      sweep_path: the folder of sweep.json, or the file.
      options: what the page shows beside the rows.
      out: the page; report.html beside the sweep by default.
      samples: generated texts to show; written to samples.json beside the sweep. By default those that are
        there.
    """
    checkpoint, text = options.checkpoint, options.text
    folder = sweep_folder(sweep_path)
    result = read_sweep(sweep_path)
    page = Path(out) if out else folder / "report.html"
    check_writable(page.parent)
    log_path = Path(options.log) if options.log else folder / "metrics.jsonl"
    records = read_training_log(log_path) if options.log or log_path.exists() else None
    maps = None
    if _shows_attention(checkpoint, folder, text):
        model = load(checkpoint or folder, fallback=options.fallback)
        same = model.run == result.cells[0].run
        model, hard = (
            (_as_scored(model, result), result.cells[0].hard) if same else (model, model.config.model.hard)
        )
        # Without a text of the user's the page goes without, where lines are not the blocks of training.
        shows = text or model.config.partition.kind != "given" or model.given == "lines"
        maps = dial_maps(model, text, nearest_tau(result), hard) if shows else None
    if samples is None:
        samples = read_samples(folder, result)
    else:
        write_samples(samples, folder, result)
    draw_figures(result, records, page.parent)
    return write_report(result, page, log=records, samples=samples, maps=maps)


def _shows_attention(checkpoint: str | Path, folder: Path, text: str) -> bool:
    """Whether a report has a checkpoint to show the attention of; ValueError where a text is given for
    none.
    """
    shown = str(checkpoint) != "none" and (bool(checkpoint) or bool(whole_steps(folder / DIRECTORY)))
    require(
        shown or not text,
        "text",
        text,
        "left out where there is no checkpoint",
        "pass --checkpoint=RUN, or leave --text out",
    )
    return shown


def _as_scored(model: LanguageModel, result: SweepResult) -> LanguageModel:
    """The model read with the partition that the rows were read with; a sweep may have had other windows than
    training.
    """
    config = result.config
    if config.partition == model.config.partition:
        return model
    limit = "that of the checkpoint, windows or given: rows hold no table of another one"
    require(
        not config.partition.fitted,
        "partition.kind of the sweep",
        config.partition.kind,
        limit,
        "pass --checkpoint=none",
    )
    return model.with_partition(config.partition)


def generate(run: OpenedRun | str | Path, options: GenerateOptions) -> Continuation:
    """The prompt's continuation by a checkpoint at one setting of the dial."""
    return opened(run).model.continuation(options)

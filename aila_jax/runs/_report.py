"""What is shown of a checkpoint or a sweep: figures, the HTML page, generated text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aila_jax.checkpoint import DIRECTORY, whole_steps
from aila_jax.config import require
from aila_jax.config.options import ReportOptions
from aila_jax.evaluation.rows import SweepResult
from aila_jax.inference.language_model import LanguageModel
from aila_jax.loading.models import load
from aila_jax.reporting import read_sweep, read_training_log
from aila_jax.reporting.grid import nearest_tau
from aila_jax.reporting.html import write_page
from aila_jax.reporting.page_data import MAX_WEIGHT_BYTES, RunOnPage, grid_of
from aila_jax.reporting.records import sweep_folder
from aila_jax.reporting.samples import read_samples, write_samples
from aila_jax.runs._attention import draw_figures
from aila_jax.runs._reading import (
    LAMS,
    FromModel,
    PageGrid,
    read_as_scored,
    read_page_text,
    shows_sample_text,
    write_sample_texts,
)
from aila_jax.runs.workdir import check_writable

WITHOUT_MODEL = (
    "Attention, loss by token and new sample texts need the model: there is no checkpoint beside this sweep."
)
NOT_ASKED = "Attention, loss by token and new sample texts need the model, which was not asked for."
BLOCKS_UNSEEN = (
    "Attention and loss by token are left out: a sentence of the program's does not show the model's blocks."
    " Give a text."
)


@dataclass(frozen=True)
class Given:
    """What a page is given of one run beside its rows; None means what lies beside them.

    Attributes:
      model: to read the text with.
      log: records of its training log.
      samples: generated texts.
      alone: it has the page for itself.
    """

    model: LanguageModel | None = None
    log: Sequence[Mapping[str, Any]] | None = None
    samples: Sequence[Mapping[str, Any]] | None = None
    alone: bool = True


def report(
    sweep_path: str | Path,
    options: ReportOptions = ReportOptions(),
    out: str | Path = "",
    samples: list[dict[str, Any]] | None = None,
) -> Path:
    """Draws figures beside the page and writes the page, one self-contained HTML file; returns its path. Of
    two sweeps side by side no figures are drawn.

    Args:
      sweep_path: the folder of sweep.json, or the file.
      options: what the page shows beside the rows.
      out: the page; report.html beside the sweep by default.
      samples: generated texts to show; written to samples.json beside the sweep. By default those that are
        there, or new ones.
    """
    folder = sweep_folder(sweep_path)
    page = Path(out) if out else folder / "report.html"
    check_writable(page.parent)
    both = folder_runs(sweep_path, options, Given(samples=samples))
    result = both[0].result
    assert result is not None, "folders hold sweeps"
    if samples is not None:
        write_samples(samples, folder, result)
    log = both[0].log
    if not options.beside:  # dial.png beside a page of two would be of one of them
        draw_figures(result, None if log is None else [dict(record) for record in log], page.parent)
    return write_page(both, page)


def folder_runs(path: str | Path, options: ReportOptions, given: Given = Given()) -> list[RunOnPage]:
    """The run of a sweep's folder, and that of `options.beside`, where there is one; the second is read with
    its own checkpoint.
    """
    if not options.beside:
        return [folder_run(path, options, given)]
    checkpoint = "none" if options.checkpoint == "none" else ""
    second = replace(options, beside="", log="", checkpoint=checkpoint)
    return told_apart(
        [
            folder_run(path, options, replace(given, alone=False)),
            folder_run(options.beside, second, Given(alone=False)),
        ]
    )


def told_apart(runs: list[RunOnPage]) -> list[RunOnPage]:
    """The runs with a number each where they have one name."""
    if len({run.label for run in runs}) == len(runs):
        return runs
    return [replace(run, label=f"{run.label} ({number})") for number, run in enumerate(runs, 1)]


def folder_run(path: str | Path, options: ReportOptions, given: Given) -> RunOnPage:
    """A sweep with what lies beside it."""
    folder, result = sweep_folder(path), read_sweep(path)
    log_path = Path(options.log) if options.log else folder / "metrics.jsonl"
    if given.log is None and (options.log or log_path.exists()):
        given = replace(given, log=read_training_log(log_path))
    if given.model is None and _shows_model(options, folder):
        model = load(options.checkpoint or folder, fallback=options.fallback)
        given = replace(given, model=model)
    if given.samples is None and not options.prompt:
        given = replace(given, samples=read_samples(folder, result))
    return sweep_run(result, options, given)


def sweep_run(result: SweepResult, options: ReportOptions, given: Given) -> RunOnPage:
    """A sweep, and what its model makes of a text where one is given."""
    run = RunOnPage(result.cells[0].run, result, given.log, given.samples or ())
    if given.model is None:
        asked = options.checkpoint != "none"
        return replace(run, missing=(WITHOUT_MODEL if asked else NOT_ASKED,))
    same = given.model.run == result.cells[0].run
    model = read_as_scored(given.model, result) if same else given.model
    hard = result.cells[0].hard if same else model.config.model.hard
    lams, taus = grid_of([run])
    grid = PageGrid((1.0,) if hard else tuple(lams), tuple(taus), nearest_tau(result), hard)
    return with_model(run, model, options, _sharing(grid, given))


def model_run(model: LanguageModel, options: ReportOptions, given: Given) -> RunOnPage:
    """A model without a sweep, at eleven λ and τ = 1."""
    run = RunOnPage(model.run, samples=given.samples or (), log=given.log)
    hard = model.config.model.hard
    grid = PageGrid((1.0,) if hard else LAMS, (1.0,), 1.0, hard)
    return with_model(run, model, options, _sharing(grid, given))


def _sharing(grid: PageGrid, given: Given) -> PageGrid:
    return grid if given.alone else replace(grid, room=MAX_WEIGHT_BYTES // 2)


def with_model(run: RunOnPage, model: LanguageModel, options: ReportOptions, grid: PageGrid) -> RunOnPage:
    """The run with a text read over the dial, and with sample texts where it has none yet."""
    shows = bool(options.text) or shows_sample_text(model)
    read = read_page_text(model, options, grid) if shows else FromModel(missing=(BLOCKS_UNSEEN,))
    wrote = FromModel() if run.samples else write_sample_texts(model, options, grid)
    return replace(
        run,
        reading=read.reading,
        samples=run.samples or wrote.samples,
        missing=(*run.missing, *read.missing, *wrote.missing),
    )


def _shows_model(options: ReportOptions, folder: Path) -> bool:
    """Whether a page has a checkpoint to read a text with; ValueError where a text is given for none."""
    checkpoint, text = options.checkpoint, options.text
    shown = checkpoint != "none" and (bool(checkpoint) or bool(whole_steps(folder / DIRECTORY)))
    require(
        shown or not text,
        "text",
        text,
        "left out where there is no checkpoint",
        "pass --checkpoint=RUN, or leave --text out",
    )
    return shown

"""`aila.report`: the page from Python."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aila_jax.config import require, user_path
from aila_jax.config.options import ReportOptions
from aila_jax.evaluation.rows import SweepResult
from aila_jax.inference.attention_maps import AttentionMaps
from aila_jax.inference.language_model import LanguageModel
from aila_jax.inference.text_reading import reading_of_maps
from aila_jax.loading.models import load
from aila_jax.reporting import read_training_log
from aila_jax.reporting.html import write_page
from aila_jax.reporting.page_data import RunOnPage
from aila_jax.reporting.samples import SAMPLE_KEYS
from aila_jax.runs._report import Given, folder_run, model_run, sweep_run, told_apart

Source = SweepResult | LanguageModel | str | Path


def report(
    result: Source | Sequence[Source],
    path: str | Path = "report.html",
    log: Sequence[Mapping[str, Any]] | str | Path | None = None,
    samples: Sequence[Mapping[str, Any]] | None = None,
    maps: Sequence[AttentionMaps] | None = None,
    *,
    checkpoint: LanguageModel | str | Path = "",
    text: str = "",
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    prompt: str = "",
    sample_tokens: int = 32,
) -> Path:
    """Writes the report as a self-contained HTML file of at most 5 MB: the page of `aila report`.

    Given a path, it shows the checkpoint, the training log and the samples that lie beside the sweep, unless
    others are given. Rows alone have no model, and a model alone has no numbers of a split: what is missing
    is named on the page.

    Args:
      result: the path that `read_sweep` takes, a sweep, or a model; or two of these, side by side.
      path: the file to write; its folder is made, an older report is replaced as a whole.
      log: records of `read_training_log`, or the path it takes, for the training curve.
      samples: generated text, as dicts with lam, tau, prompt and text. The first 100 are shown, 4,000
        characters of each.
      maps: attention maps of one text at several λ, as `model.attention_dial` returns them, in place of
        those of a text that the page reads itself.
      checkpoint: the model to read a text with, or its path, or `none`.
      Everything else: see `ReportOptions`.

    Returns:
      The path written.

    Raises:
      ValueError: the sweep or the log is missing, empty or malformed, a sample lacks a key, the maps are of
        several texts, or the page exceeds 5 MB.
    """
    path = user_path(path, "path")
    model = checkpoint if isinstance(checkpoint, LanguageModel) else None
    options = ReportOptions(
        checkpoint="" if isinstance(checkpoint, LanguageModel) else _text_of(checkpoint),
        text=text,
        layers=layers,
        heads=heads,
        prompt=prompt,
        sample_tokens=sample_tokens,
    )
    log = read_training_log(user_path(log, "log")) if isinstance(log, str | Path) else log
    _check_items("log", log, Mapping, "records of read_training_log, or the path of a metrics.jsonl")
    _check_items("samples", samples, Mapping, f"a sequence of dictionaries with {', '.join(SAMPLE_KEYS)}")
    _check_items("maps", maps, AttentionMaps, "a sequence of AttentionMaps, as of model.attention_dial")
    if isinstance(result, Sequence) and not isinstance(result, str | bytes) and len(result) == 2:
        for name, value in (("log", log), ("samples", samples), ("maps", maps), ("checkpoint", model)):
            fix = f"leave {name} out: each has what lies beside it"
            require(value is None, name, value, "left out beside two runs", fix)
        return write_page(told_apart([_run(one, options, Given(alone=False)) for one in result]), path)
    given = Given(model=model, log=log, samples=samples)
    if maps is None:
        return write_page([_run(result, options, given)], path)
    run = _run(result, replace(options, checkpoint="none", text=""), given)
    return write_page([replace(run, reading=reading_of_maps(maps), missing=())], path)


def _text_of(checkpoint: Any) -> str:
    """A path as text, or the empty one."""
    return checkpoint if checkpoint == "" else str(user_path(checkpoint, "checkpoint"))


def _run(source: Any, options: ReportOptions, given: Given) -> RunOnPage:
    """One run, whatever it is given as."""
    if isinstance(source, LanguageModel):
        return model_run(source, options, given)
    if not isinstance(source, SweepResult):
        return folder_run(user_path(source, "result"), options, given)
    if given.model is None and options.checkpoint not in ("", "none"):
        given = replace(given, model=load(options.checkpoint))
    fix = "pass checkpoint=, or leave the text out"
    require(
        given.model is not None or not options.text, "text", options.text, "left out without a model", fix
    )
    return sweep_run(source, options, given)


def _check_items(name: str, items: Any, kind: type, limit: str) -> None:
    """Raises ValueError unless `items` is None or a sequence of `kind` alone."""
    right = isinstance(items, Sequence) and all(isinstance(item, kind) for item in items)
    require(items is None or right, name, items, limit, f"leave {name} out, or put it into a list")

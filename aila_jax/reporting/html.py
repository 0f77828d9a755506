"""The report: one HTML file that holds everything and fetches nothing."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from aila_jax import formats
from aila_jax.config import require, to_dict, user_path
from aila_jax.config.checks import plain, real
from aila_jax.evaluation.rows import CellRow, SweepResult
from aila_jax.files import write_atomically
from aila_jax.inference.attention_maps import AttentionMaps
from aila_jax.reporting.attention_slider import attention_context
from aila_jax.reporting.grid import by_tau, heads_at, nearest_tau, sees_targets
from aila_jax.reporting.html_tables import cell_columns, flatten, head_columns, run_facts, sweep_facts
from aila_jax.reporting.pages import environment, figure_sources, page_bytes
from aila_jax.reporting.plots import dial_figure, heads_figure, tradeoff_figure
from aila_jax.reporting.plots_training import training_figure
from aila_jax.reporting.records import read_sweep, sweep_folder
from aila_jax.reporting.samples import SAMPLE_KEYS, check_sample, read_samples
from aila_jax.reporting.summary import baselines, sentences
from aila_jax.reporting.training_log import read_training_log

MAX_HEAD_ROWS = 1000
MAX_SAMPLES = 50
MAX_SAMPLE_CHARACTERS = 4000


def report(
    result: SweepResult | str | Path,
    path: str | Path = "report.html",
    log: Sequence[Mapping[str, Any]] | str | Path | None = None,
    samples: Sequence[Mapping[str, Any]] | None = None,
    maps: Sequence[AttentionMaps] | None = None,
) -> Path:
    """Writes the report of one sweep as a self-contained HTML file of at most 5 MB.

    Given a path, it shows the training log and the samples that lie beside the sweep, unless others are
    given.

    Args:
      result: the sweep, or the path that `read_sweep` takes.
      path: the file to write; its folder is made, an older report is replaced as a whole.
      log: records of `read_training_log`, or the path it takes, for the training curve.
      samples: generated text, as dicts with lam, tau, prompt and text. The first 50 are shown, 4,000
        characters of each.
      maps: attention maps of one text at several λ, as `model.attention_dial` returns them, for a section
        with a slider.

    Returns:
      The path written.

    Raises:
      ValueError: the sweep or the log is missing, empty or malformed, a sample lacks a key, the maps are of
        several texts, or the page exceeds 5 MB.
    """
    path = user_path(path, "path")
    log = read_training_log(user_path(log, "log")) if isinstance(log, str | Path) else log
    _check_items("log", log, Mapping, "records of read_training_log, or the path of a metrics.jsonl")
    _check_items("samples", samples, Mapping, f"a sequence of dictionaries with {', '.join(SAMPLE_KEYS)}")
    _check_items("maps", maps, AttentionMaps, "a sequence of AttentionMaps, as of model.attention_dial")
    if not isinstance(result, SweepResult):
        result = user_path(result, "result")
        folder, result = sweep_folder(result), read_sweep(result)
        samples = read_samples(folder, result) if samples is None else samples
        beside = folder / "metrics.jsonl"
        log = read_training_log(beside) if log is None and beside.is_file() else log
    source = (
        environment().get_template("report.html.jinja").render(**_context(result, log, samples or (), maps))
    )
    page = page_bytes(source, "sweep fewer cells, or pass fewer samples")
    write_atomically(path, page)
    return path


def _check_items(name: str, items: Any, kind: type, limit: str) -> None:
    """Raises ValueError unless `items` is None or a sequence of `kind` alone."""
    right = isinstance(items, Sequence) and all(isinstance(item, kind) for item in items)
    require(items is None or right, name, items, limit, f"leave {name} out, or put it into a list")


def _context(
    result: SweepResult,
    log: Sequence[Mapping[str, Any]] | None,
    samples: Sequence[Mapping[str, Any]],
    maps: Sequence[AttentionMaps] | None,
) -> dict[str, Any]:
    """Everything that the template shows."""
    tau = nearest_tau(result)
    cells = by_tau(result)[tau]
    heads = [row for rows in heads_at(result, tau).values() for row in rows] if result.heads else []
    return {
        "run": result.cells[0].run,
        "split": result.cells[0].split,
        "targets": f"{result.cells[0].targets:,}",
        "tau": f"{tau:g}",
        "sees_targets": sees_targets(result),
        "sentences": sentences(result),
        "tiles": _tiles(cells),
        "dial": _dial_data(result),
        "cells": cell_columns(result.cells),
        "heads": head_columns(heads[:MAX_HEAD_ROWS]),
        "heads_shown": min(len(heads), MAX_HEAD_ROWS),
        "heads_total": len(heads),
        "figures": _figures(result, log),
        "run_facts": run_facts(result),
        "sweep_facts": sweep_facts(result),
        "config": flatten(to_dict(result.config)),
        "baselines": {name: formats.perplexity(value) for name, value in baselines(result).items()},
        "best": formats.perplexity(min(cell.perplexity_token for cell in cells)),
        "samples": [_sample(sample, index) for index, sample in enumerate(samples[:MAX_SAMPLES])],
        "samples_total": len(samples),
        "attention": None if maps is None else attention_context(maps),
        "scored": _scored(result),
    }


def _scored(result: SweepResult) -> str:
    """The model that the rows are of, in the words of `AttentionMaps.source`; a step that is not recorded is
    named unknown.
    """
    step = result.meta.checkpoint_step
    return f"{result.cells[0].run}, step {'unknown' if step is None else step}"


def _texts(cell: CellRow) -> dict[str, str]:
    """A cell's dial quantities as they are shown."""
    return {
        "perplexity_token": formats.perplexity(cell.perplexity_token),
        "accuracy": formats.percent(cell.accuracy),
        "entropy_bits": formats.fixed(cell.entropy_bits, 2),
        "block_mass": formats.percent(cell.block_mass),
        "block_mass_lift": formats.lift(cell.block_mass_lift),
    }


def _tiles(cells: Sequence[CellRow]) -> list[dict[str, str]]:
    """The dial's two ends side by side."""
    first, last = cells[0], cells[-1]
    names = {
        "perplexity_token": "perplexity per token",
        "accuracy": "accuracy",
        "entropy_bits": "attention entropy (bits)",
        "block_mass": "block mass",
    }
    return [
        {
            "name": name,
            "first_lam": f"{first.lam:g}",
            "first": _texts(first)[field],
            "last_lam": f"{last.lam:g}",
            "last": _texts(last)[field],
        }
        for field, name in names.items()
    ]


def _dial_data(result: SweepResult) -> dict[str, Any]:
    """What the page's script reads: the grid, and for each cell its numbers and the texts shown for them."""
    fields = ("perplexity_token", "accuracy", "entropy_bits", "block_mass", "block_mass_uniform")
    return {
        "lams": sorted({cell.lam for cell in result.cells}),
        "taus": list(by_tau(result)),
        "start_tau": nearest_tau(result),
        "cells": [
            {
                "lam": cell.lam,
                "tau": cell.tau,
                "numbers": {name: getattr(cell, name) for name in fields},
                "texts": _texts(cell),
            }
            for cell in result.cells
        ],
    }


def _figures(result: SweepResult, log: Sequence[Mapping[str, Any]] | None) -> dict[str, dict[str, Any]]:
    """The figures, each for light and for dark pages, as data addresses with a width in pixels."""
    makers: dict[str, Callable[..., Figure]] = {
        "dial": functools.partial(dial_figure, result),
        "tradeoff": functools.partial(tradeoff_figure, result),
    }
    if result.heads:
        makers["heads"] = functools.partial(heads_figure, result)
    if log:
        makers["training"] = functools.partial(training_figure, log)
    return {name: figure_sources(make) for name, make in makers.items()}


def _sample(sample: Mapping[str, Any], index: int) -> dict[str, Any]:
    """A sample cut to the length shown; raises ValueError where a key is missing."""
    check_sample(sample, index)
    text = str(sample["text"])
    lam, tau = (plain(sample[name]) for name in ("lam", "tau"))
    for name, value in (("lam", lam), ("tau", tau)):
        require(real(value), f"samples[{index}][{name!r}]", value, "a number", f"{{{name!r}: 1.0}}, say")
    return {
        "lam": f"{lam:g}",
        "tau": f"{tau:g}",
        "prompt": str(sample["prompt"])[:MAX_SAMPLE_CHARACTERS],
        "text": text[:MAX_SAMPLE_CHARACTERS],
        "cut": max(0, len(text) - MAX_SAMPLE_CHARACTERS),
    }

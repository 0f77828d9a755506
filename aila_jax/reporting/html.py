"""The report: one HTML file that holds everything and fetches nothing."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from aila_jax import formats
from aila_jax.config import require, to_dict
from aila_jax.evaluation.rows import SweepResult
from aila_jax.files import write_atomically
from aila_jax.formats import LEAKY
from aila_jax.inference.text_reading import TextReading
from aila_jax.reporting.glossary import GLOSSARY
from aila_jax.reporting.grid import heads_at, mask_note, nearest_tau, sees_targets
from aila_jax.reporting.html_tables import (
    Fact,
    PageColumn,
    cell_columns,
    flatten,
    head_columns,
    run_facts,
    sweep_facts,
)
from aila_jax.reporting.page_data import MAX_SAMPLES, RunOnPage, page_data, sample_shown
from aila_jax.reporting.pages import environment, figure_sources, page_bytes
from aila_jax.reporting.plots import heads_figure, tokenizer_of, tradeoff_figure
from aila_jax.reporting.plots_training import training_figure
from aila_jax.reporting.summary import baselines, sentences

MAX_HEAD_ROWS = 1000
MAX_RUNS = 2
LIMIT = (
    "Attention is not influence: a weight says where a head looks, not what the prediction depends on. These"
    " maps are of one text; another text has others."
)


@dataclass(frozen=True)
class RunContext:
    """What the template shows of one run; what is empty is left out."""

    index: int
    label: str
    suffix: str
    lead: str
    recorded: bool
    sees_targets: bool
    mask: str = ""
    split: str = ""
    targets: str = ""
    tau: str = ""
    best: str = ""
    sentences: Sequence[str] = ()
    cells: Sequence[PageColumn] = ()
    heads: Sequence[PageColumn] = ()
    heads_shown: int = 0
    heads_total: int = 0
    figures: Mapping[str, Any] | None = None
    samples: Sequence[Mapping[str, Any]] = ()
    samples_total: int = 0
    baselines: Mapping[str, str] | None = None
    facts: Sequence[tuple[str, Sequence[Fact]]] = ()


def write_page(runs: Sequence[RunOnPage], path: Path) -> Path:
    """Writes the page of one run or of two side by side as a self-contained HTML file of at most 5 MB.

    Raises:
      ValueError: other than one or two runs, a sample lacks a key, or the page exceeds 5 MB.
    """
    right = 1 <= len(runs) <= MAX_RUNS
    require(right, "runs", len(runs), f"1 or {MAX_RUNS} on a page", "compare two at a time")
    dial = dial_context(runs)
    shown = [_run_context(run, index) for index, run in enumerate(runs)]
    source = (
        environment()
        .get_template("report.html.jinja")
        .render(
            title=f"{' and '.join(run.label for run in runs)}: locality dial report",
            runs=shown,
            dial=dial,
            glossary=GLOSSARY,
            sections=_sections(dial, shown),
        )
    )
    page = page_bytes(source, "sweep fewer cells, pass fewer samples, or show fewer layers and heads")
    write_atomically(path, page)
    return path


def dial_context(runs: Sequence[RunOnPage]) -> dict[str, Any]:
    """What the template `instrument.html.jinja` shows."""
    data = page_data(runs)
    results = [run.result for run in runs if run.result is not None]
    cells = [cell for result in results for cell in result.cells]
    bounds = [(cell.guaranteed_block_mass, cell.guaranteed_entropy_bits) for cell in cells]
    readings = [run.reading for run in runs]
    return {
        "data": data,
        "numbers": bool(results),
        "cautions": _cautions(results),
        "guaranteed": any(one is not None for pair in bounds for one in pair),
        "samples": any(run.samples for run in runs),
        "attention": any(readings),
        "losses": any(reading is not None and reading.loss is not None for reading in readings),
        "reach": any(reading is not None and reading.reach is not None for reading in readings),
        "missing": [
            f"{run.label}: {line}" if len(runs) > 1 else line for run in runs for line in run.missing
        ],
        "limit": LIMIT,
        "relation": any(reading is not None and reading.kinds is not None for reading in readings),
        "runs": [
            {
                "index": index,
                "label": run.label,
                "sentence": "" if run.reading is None else _reading_sentence(run),
                "losses": run.reading is not None and run.reading.loss is not None,
                "reach": run.reading is not None and run.reading.reach is not None,
                "no_reach": "" if run.reading is None else run.reading.no_reach,
            }
            for index, run in enumerate(runs)
        ],
    }


def _cautions(results: Sequence[SweepResult]) -> list[str]:
    """Why the numbers of two sweeps do not compare, a line each."""
    found = []
    if len({tokenizer_of(result) for result in results if result.recorded}) > 1:
        found.append(
            "The two runs have different corpora or tokenizers: their perplexities per token, accuracies and"
            " losses by token do not compare."
        )
    scored = [f"{result.cells[0].targets:,} of {result.cells[0].split}" for result in results]
    if len(set(scored)) > 1:
        found.append(f"The numbers are of different targets: {' against '.join(scored)}.")
    return found


def _reading_sentence(run: RunOnPage) -> str:
    """What the maps are of, what is left out, and whose numbers stand above them if not theirs."""
    reading = run.reading
    assert reading is not None, "the run has one"
    lams, taus = reading.lams, reading.taus
    span = (
        f"λ = {lams[0]:g}" if len(lams) == 1 else f"{len(lams)} values of λ from {lams[0]:g} to {lams[-1]:g}"
    )
    of = f" of {reading.source}" if reading.source else ""
    said = (
        f"Attention weights{of} over one text of {len(reading.tokens)} tokens, for {_kept(reading)}, at {span},"
        f" τ = {', '.join(f'{tau:g}' for tau in taus)}."
    )
    if not reading.causal:
        said += f" The model ({LEAKY}) has no causal mask."
    if run.result is not None and reading.source != (scored := _scored(run.result)):
        said += f" The numbers above are those of {scored}."
    return said


def _kept(reading: TextReading) -> str:
    """Layers and heads, and how many of them are left out."""
    layers, heads = reading.shape
    kept = len(reading.layers), len(reading.heads)
    if kept == reading.shape:
        return f"{layers} layers of {heads} heads"
    named = [", ".join(map(str, numbers)) for numbers in (reading.layers, reading.heads)]
    return (
        f"layers {named[0]} and heads {named[1]} (the model's other maps, of its {layers} layers of {heads}"
        " heads, are left out)"
    )


def _sections(dial: Mapping[str, Any], runs: Sequence[RunContext]) -> list[tuple[str, str]]:
    """(id, title) of those that the page has, in their order."""
    there = {
        "summary": ("Summary", any(run.sentences for run in runs)),
        "numbers": ("Numbers", dial["numbers"]),
        "samples": ("Sample text", dial["samples"]),
        "attention": ("Attention", dial["attention"]),
        "reach": ("Reach", dial["reach"]),
        "losses": ("Loss by token", dial["losses"]),
        "figures": ("Figures", any(run.figures for run in runs)),
        "heads": ("Heads", any(run.heads_total for run in runs)),
        "cells": ("All cells", any(run.cells for run in runs)),
        "texts": ("All texts", dial["samples"]),
        "facts": ("Where from", True),
        "reading": ("How to read this", True),
    }
    return [(name, title) for name, (title, shown) in there.items() if shown]


def _run_context(run: RunOnPage, index: int) -> RunContext:
    result, suffix = run.result, f"-{index}" if index else ""
    samples = [sample_shown(sample, place) for place, sample in enumerate(run.samples[:MAX_SAMPLES])]
    if result is None:
        lead = f"{run.label}: one text read by the model; no sweep has scored it."
        causal = run.reading is None or run.reading.causal
        return RunContext(
            index, run.label, suffix, lead, True, not causal, samples=samples, samples_total=len(run.samples)
        )
    tau, first = nearest_tau(result), result.cells[0]
    heads = [row for rows in heads_at(result, tau).values() for row in rows] if result.heads else []
    mask = mask_note(result)
    targets = f"{first.targets:,}"
    return RunContext(
        index=index,
        label=run.label,
        suffix=suffix,
        lead=(
            f"{run.label}: one checkpoint, scored on {targets} targets of the {first.split} split at every setting"
            " of the dial: locality λ (0 is ordinary attention, 1 is attention concentrated in semantic blocks)"
            " and temperature τ."
        ),
        recorded=result.recorded,
        sees_targets=sees_targets(result),
        mask=mask,
        split=first.split,
        targets=targets,
        tau=f"{tau:g}",
        best=formats.perplexity(min(cell.perplexity_token for cell in result.cells)),
        sentences=sentences(result),
        cells=cell_columns(result.cells),
        heads=head_columns(heads[:MAX_HEAD_ROWS]),
        heads_shown=min(len(heads), MAX_HEAD_ROWS),
        heads_total=len(heads),
        figures=_figures(result, run.log),
        samples=samples,
        samples_total=len(run.samples),
        baselines={name: formats.perplexity(value) for name, value in baselines(result).items()},
        facts=_facts(result, mask),
    )


def _facts(result: SweepResult, mask: str) -> list[tuple[str, Sequence[Fact]]]:
    """Provenance, a folded list for each topic."""
    config: Sequence[Fact] = (
        flatten(to_dict(result.config)) if result.recorded else [("configuration", "not recorded")]
    )
    made = sweep_facts(result)
    training = [(name.removeprefix("training."), text) for name, text in made if name.startswith("training.")]
    return [
        ("The run", [*run_facts(result), ("attention mask", mask.capitalize() or "Causal")]),
        ("What made this sweep", [fact for fact in made if not fact[0].startswith("training.")]),
        ("What trained the model", training),
        ("Full configuration", config),
    ]


def _scored(result: SweepResult) -> str:
    """The model that the rows are of, in the words of `TextReading.source`; a step that is not recorded is
    named unknown.
    """
    step = result.meta.checkpoint_step
    return f"{result.cells[0].run}, step {'unknown' if step is None else step}"


def _figures(result: SweepResult, log: Sequence[Mapping[str, Any]] | None) -> dict[str, dict[str, Any]]:
    """The figures, each for light and for dark pages, as data addresses with a width in pixels."""
    makers: dict[str, Callable[..., Figure]] = {"tradeoff": functools.partial(tradeoff_figure, result)}
    if result.heads:
        makers["heads"] = functools.partial(heads_figure, result)
    if log:
        makers["training"] = functools.partial(training_figure, log)
    return {name: figure_sources(make) for name, make in makers.items()}

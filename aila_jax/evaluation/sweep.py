"""The dial's grid: one checkpoint, every λ × τ, one compiled program."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from aila_jax.config.checks import check_flag, require
from aila_jax.config.options import SweepOptions
from aila_jax.data.dataset import Dataset
from aila_jax.data.packing import Windows
from aila_jax.data.pipeline import eval_batches
from aila_jax.evaluation.evaluator import Evaluation, evaluate
from aila_jax.evaluation.meta import origin_of
from aila_jax.evaluation.origin import Scope, SweepMeta
from aila_jax.evaluation.rows import CellRow, HeadRow, RowLabel, SweepResult
from aila_jax.evaluation.sweep_rows import Guarantees, cell_row, head_rows
from aila_jax.inference.corpus import as_dataset, windows_of
from aila_jax.inference.dial import dial_lams, dial_values
from aila_jax.inference.language_model import LanguageModel
from aila_jax.loading.models import as_model
from aila_jax.metrics.sums import summarize
from aila_jax.model.interface import Dial
from aila_jax.progress import Progress
from aila_jax.training.sharding import batch_sharding


def sweep(
    model: LanguageModel | str | Path,
    dataset: Dataset | None = None,
    *,
    lams: Sequence[float] | None = None,
    taus: Sequence[float] | None = None,
    split: str | None = None,
    batch_size: int | None = None,
    max_batches: int | None = None,
    part: str | None = None,
    hard: bool | None = None,
    delta: bool = False,
    pointers: str = "auto",
    quiet: bool = False,
    fallback: bool = False,
) -> SweepResult:
    """Evaluates one model over every λ × τ; arguments left out come from the run's `config.sweep`.

    Args:
      model: a loaded checkpoint, or the path of one.
      dataset: from `aila_jax.load_dataset`, encoded with the model's tokenizer; by default the corpus that
        the model was trained on.
      lams: the λ of the grid; 1 alone by default where attention is hard.
      taus: the τ of the grid.
      split: `train`, `validation` or `test`.
      batch_size: sequences a batch, divisible by the devices.
      max_batches: 0 scores the whole split.
      part: which windows are scored where it is not the whole split: `spread` or `first`.
      hard: block attention only (then every λ must be 1).
      delta: also measure score gaps.
      quiet: no progress bar.
      pointers: what pointer fidelity is measured on: `anchors`, `answers` (rule corpora), `relation` (the
        pointers of the model's relation), `none`, or `auto`: answers where the data set has them, else
        anchors where the model has them, else the relation's pointers where it has any.
      fallback: of a path, where the newest checkpoint is damaged, take the newest whole one, and say so.

    Returns:
      One row per cell and one per cell, layer and head; λ varies slowest.

    Raises:
      ValueError: a value outside its limits, or another tokenizer than the model's.
    """
    options = SweepOptions(
        lams=lams,
        taus=taus,
        split=split,
        batch_size=batch_size,
        max_batches=max_batches,
        part=part,
        hard=hard,
        delta=delta,
        pointers=pointers,
    )
    quiet = check_flag("quiet", quiet)
    model = as_model(model, fallback=fallback)
    return sweep_grid(model, as_dataset(model, dataset), options, quiet)


Cell = tuple[CellRow, tuple[HeadRow, ...]]  # and its heads


class Keep:
    """Where the cells of a sweep that was stopped are: nowhere."""

    def has(self, lam: float, tau: float) -> bool:
        """Whether a cell was measured before."""
        return False

    def cell(self, lam: float, tau: float, make: Callable[[], Cell]) -> Cell:
        """A cell that was measured before, or else the one that `make` measures."""
        return make()


NOTHING_KEPT = Keep()


def sweep_grid(
    model: LanguageModel,
    dataset: Dataset,
    options: SweepOptions,
    quiet: bool = False,
    keep: Keep = NOTHING_KEPT,
) -> SweepResult:
    """`sweep`, by options; cells that are kept from before are not measured again."""
    config, reading = model.config, options.reading(model.config)
    lams = dial_lams(config, options.lams, reading.hard)
    taus = [float(tau) for tau in (config.sweep.taus if options.taus is None else options.taus)]
    split, hard, batch_size = reading.split, reading.hard, reading.batch_size
    windows = windows_of(model, dataset, split)
    sharding = batch_sharding(batch_size, "sweep.batch_size")
    pointers = choose_pointers(options.pointers, model, windows)
    batches = list(eval_batches(windows, batch_size, reading.max_batches, reading.part))
    tokens = sum(int(np.sum(batch.weights > 0)) for batch in batches)
    params = sharding.replicate(model.params)
    guarantees = Guarantees(model, batches, lams, taus, hard)

    part = 0 < reading.max_batches * batch_size < len(windows.batch.tokens)
    whole = None if part else dataset.splits[split]
    evaluation = Evaluation(hard, config.train.loss_chunk, options.delta, answers=pointers == "answers")
    grid = [(lam, tau) for lam in lams for tau in taus]
    found: list[Cell] = []

    def measured(lam: float, tau: float) -> Cell:
        sums = evaluate(
            model.network,
            params,
            batches,
            Dial(dial_values(lam, "lam", batch_size), dial_values(tau, "tau", batch_size)),
            sharding,
            evaluation,
            anchors=model.anchors if pointers == "anchors" else None,
        )
        summary = summarize(sums)
        if pointers == "none":  # of a relation with pointers they are measured all the same
            summary = replace(summary, pointers=None)
        label = RowLabel(model.run, config.seed, model.meta.get("commit", "unknown"), split, lam, tau)
        # Under a document mask the first token of each document is not scored, but its word is counted.
        counted = None if config.model.document_mask else whole
        words, text_bytes = (None, None) if counted is None else (counted.words, counted.bytes)
        guaranteed = guarantees.at(lam, tau)
        row = cell_row(label, summary, config, hard, words, text_bytes, pointers, guaranteed)
        return row, tuple(head_rows(label, summary, config, hard, guaranteed))

    before = sum(keep.has(lam, tau) for lam, tau in grid)
    with Progress(len(grid) * tokens, "token", start=before * tokens, quiet=quiet) as progress:
        for lam, tau in grid:
            began, there = time.monotonic(), keep.has(lam, tau)
            found.append(keep.cell(lam, tau, partial(measured, lam, tau)))
            if there:
                continue
            progress.advance(tokens)
            speed = tokens / (time.monotonic() - began)
            progress.report(f"λ {lam:g}, τ {tau:g}, loss {found[-1][0].loss:.3f}, {speed:,.0f} tokens/s")
    scope = Scope(max_batches=reading.max_batches, batch_size=batch_size, part=reading.part)
    meta = SweepMeta(**vars(origin_of(model, dataset)), scope=scope)
    cells, heads = tuple(cell for cell, _ in found), tuple(head for _, own in found for head in own)
    return SweepResult(cells, heads, config, meta)


def choose_pointers(asked: str, model: LanguageModel, windows: Windows) -> str:
    """`answers`, `anchors`, `relation` or `none`, as asked for or as there is something to measure.

    Raises:
      ValueError: anchors of a model that has none (yet), answers of data without any, or pointers of a
        relation that has none.
    """
    relation = model.config.relation
    if asked == "auto":
        if windows.batch.pointers is not None:
            return "answers"
        if model.anchors is not None:
            return "anchors"
        return "relation" if relation.points else "none"
    if asked == "relation":
        limit = "left out where relation.pointers is 'none'"
        require(
            relation.points, "pointers", asked, limit, "pointers='auto', or --config.relation.pointers=ends"
        )
    if asked == "anchors":
        model.need_anchors()
    if asked == "answers" and windows.batch.pointers is None:
        raise ValueError(
            "pointers is 'answers', but this corpus has no known answers. Fix: pointers='auto', or a rule"
            " corpus (docs/data.md)"
        )
    return asked

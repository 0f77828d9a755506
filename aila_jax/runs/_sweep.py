"""What is measured of a checkpoint: one cell of the dial, or the whole grid."""

import hashlib
from dataclasses import replace
from pathlib import Path

from aila_jax.answering.cache import weights_checksum
from aila_jax.config import require, to_dict
from aila_jax.config.checks import check_flag, check_instance
from aila_jax.config.options import EvaluateOptions, SweepOptions
from aila_jax.data.dataset import Dataset
from aila_jax.data.pipeline import chosen_windows, take
from aila_jax.evaluation.baselines import baselines
from aila_jax.evaluation.meta import origin_of
from aila_jax.evaluation.origin import Baseline
from aila_jax.evaluation.rows import CellRow, SweepResult
from aila_jax.evaluation.sweep import NOTHING_KEPT, sweep_grid
from aila_jax.inference.corpus import as_dataset, split_windows
from aila_jax.inference.language_model import LanguageModel
from aila_jax.loading.models import as_model
from aila_jax.processes import here
from aila_jax.reporting import dial_table, write_sweep
from aila_jax.reporting.kept_cells import NAME, KeptCells
from aila_jax.runs.opened import OpenedRun, opened


def evaluate(
    checkpoint: LanguageModel | str | Path,
    dataset: Dataset | None = None,
    *,
    lam: float = 0.0,
    tau: float = 1.0,
    split: str | None = None,
    hard: bool | None = None,
    data_dir: str | Path = "",
    window: int | None = None,
    batch_size: int | None = None,
    max_batches: int | None = None,
    part: str | None = None,
    quiet: bool = False,
    fallback: bool = False,
) -> CellRow:
    """Evaluates a model at one λ and τ.

    Args:
      checkpoint: a loaded model, a run directory or a checkpoint.
      dataset: from `aila_jax.load_dataset`, encoded with the model's tokenizer; by default the corpus that
        the model was trained on.
      data_dir: where that corpus is now, if elsewhere than in training.
      window: read the model with windows of another size than in training (`LanguageModel.with_window`).
      quiet: no progress.
      fallback: of a path, where the newest checkpoint is damaged, take the newest whole one, and say so.
      Everything else: see `EvaluateOptions`.

    Raises:
      ValueError: a value outside its limits, or both a data set and where the model's own is.
    """
    options = EvaluateOptions(
        lam=lam, tau=tau, split=split, hard=hard, batch_size=batch_size, max_batches=max_batches, part=part
    )
    quiet = check_flag("quiet", quiet)
    check_instance("data_dir", data_dir, str | Path, "a path, or empty", "data_dir='wikitext-2', say")
    once = dataset is None or not data_dir
    require(once, "data_dir", data_dir, "left out beside a data set", "leave one of them out")
    model = as_model(checkpoint, "checkpoint", fallback)
    model = model if window is None else model.with_window(window)
    return _one_cell(model, as_dataset(model, dataset, data_dir), options, quiet)


def evaluate_cell(run: OpenedRun, options: EvaluateOptions, quiet: bool = False) -> CellRow:
    """`evaluate`, by options."""
    return _one_cell(run.model, run.corpus, options, quiet)


def _one_cell(model: LanguageModel, dataset: Dataset, options: EvaluateOptions, quiet: bool) -> CellRow:
    cell = SweepOptions(
        lams=(options.lam,),
        taus=(options.tau,),
        split=options.split,
        hard=options.hard,
        batch_size=options.batch_size,
        max_batches=options.max_batches,
        part=options.part,
    )
    return sweep_grid(model, dataset, cell, quiet).cells[0]


def sweep(
    run: OpenedRun | str | Path,
    options: SweepOptions = SweepOptions(),
    out: str | Path = "",
    quiet: bool = False,
) -> SweepResult:
    """Evaluates a checkpoint over λ × τ and writes sweep.csv, sweep_heads.csv and sweep.json to `out`.

    One that is stopped leaves its cells there in sweep_cells.jsonl; the same call goes on from them.

    Args:
      run: an opened run, or its path.
      options: the grid, and what is scored.
      out: folder for the files; by default the run directory, or, for other windows than in training, the
        folder windowSIZE in it.
      quiet: no progress.
    """
    run = opened(run)
    directory = run.folder(out)
    kept = _kept(run, options, directory, quiet)
    result = sweep_grid(run.model, run.corpus, options, quiet, kept or NOTHING_KEPT)
    result = replace(result, meta=replace(result.meta, baselines=_baselines(run, options)))
    if here.first():
        write_sweep(result, directory)
    if kept is not None:
        kept.forget()
    here.agree("the files of the sweep")
    return result


def _kept(run: OpenedRun, options: SweepOptions, directory: Path, quiet: bool) -> KeptCells | None:
    """The cells of a sweep that was stopped, of the same model, text, settings and versions; None where
    several processes sweep, which begin anew.
    """
    if here.count() > 1:
        return None
    settings = {name: value for name, value in vars(options).items() if name not in ("lams", "taus")}
    about = (
        weights_checksum(run.model.params),
        to_dict(run.model.config),
        vars(options.reading(run.model.config)),
        settings,
        vars(origin_of(run.model, run.corpus)),
    )
    kept = KeptCells(directory / NAME, hashlib.sha256(repr(about).encode()).hexdigest())
    if (found := kept.read()) and not quiet:
        print(f"sweep    goes on: {found} cells are in {directory / NAME}", flush=True)
    return kept


def _baselines(run: OpenedRun, options: SweepOptions) -> dict[str, Baseline]:
    """What must be beaten, on the very targets that the model is scored on."""
    config, reading = run.model.config, options.reading(run.model.config)
    windows = split_windows(config, run.corpus, reading.split)
    read = chosen_windows(len(windows), reading.batch_size, reading.max_batches, reading.part)
    scored = take(windows.batch, read)
    keep = scored.weights > 0
    return baselines(
        run.corpus.splits["train"].tokens,
        scored.tokens[keep],
        scored.targets[keep],
        run.corpus.tokenizer.vocab_size,
    )


def describe_sweep(result: SweepResult) -> str:
    """The dial's table at τ = 1 (or the first τ), the targets scored, and the baselines."""
    taus = [row.tau for row in result.cells]
    tau = 1.0 if 1.0 in taus else taus[0]
    lines = [dial_table(result, tau=tau)]
    for name, entry in (result.meta.baselines or {}).items():
        lines.append(f"{name} baseline, same text: perplexity per token {entry.perplexity_token:.1f}")
    counts = result.meta.sparsity
    if counts is not None:
        lines.append(
            f"group-sparsity penalty: {counts.zero_query:.0%} of the query groups and"
            f" {counts.zero_key:.0%} of the key groups are 0, {counts.dead_heads} of {counts.heads}"
            " heads are dead"
        )
    return "\n".join(lines)

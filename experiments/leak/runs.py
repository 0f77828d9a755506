"""The leak: models without a causal mask, which see the tokens that they are scored on, beside causal
ones.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from aila_jax.config import Config, DialMode, LocalityConfig, PartitionConfig
from aila_jax.data.dataset import Dataset
from aila_jax.data.pipeline import eval_batches
from aila_jax.evaluation.evaluator import Evaluation, evaluate
from aila_jax.inference.language_model import LanguageModel
from aila_jax.metrics.places import by_place, last_and_others
from aila_jax.metrics.sums import summarize
from aila_jax.model.interface import Dial
from aila_jax.progress import Progress
from aila_jax.training.sharding import batch_sharding
from experiments.results import read_row_file, write_row_files

WINDOWS = (3, 5, 10)
MASKS = {"leaky": True, "causal": False}  # name → model.bidirectional
FORMAT = "aila_jax leak, version 1"


def leak_runs(base: Config) -> dict[str, Config]:
    """The runs by name, leaky and causal alike: plain training, and training with nothing but the own window
    in sight.

    Plain training (λ = 0) does not know the window size, so one run is read with every size. The law is about
    queries that see their whole window and nothing else, which hard block attention makes true; those runs
    learn quickly and get half the steps.
    """
    model = replace(base.model, film=False)
    plain = LocalityConfig(mode=DialMode.FIXED, lam=0.0)
    short = replace(base.train, steps=max(base.train.steps // 2, 1))
    runs = {}
    for mask, bidirectional in MASKS.items():
        seeing = replace(model, bidirectional=bidirectional)
        runs[mask] = replace(base, model=seeing, locality=plain)
        for size in WINDOWS:
            runs[f"{mask}-window{size}"] = replace(
                base,
                model=replace(seeing, hard=True),
                partition=PartitionConfig(size=size),
                locality=replace(plain, lam=1.0),
                train=short,
            )
    return runs


@dataclass(frozen=True)
class LeakRow:
    """One run read with one window size at one λ, τ = 1.

    Attributes:
      run: as in `CellRow`, and so are seed, commit and split.
      leaky: no causal mask.
      hard: nothing outside the window is seen.
      window: tokens a window it is read with.
      length: tokens of text it sees at once.
      steps: optimizer steps it was trained for.
      targets: over the split, as in `CellRow`, and so are accuracy, entropy_bits and block_mass.
      perplexity: over the split, per token.
      targets_last: that follow the last position of a window, which no query inside the window sees.
      perplexity_last: of those.
      accuracy_last: of those.
      perplexity_others: of all others, which a leaky model sees.
      accuracy_others: of those.
      accuracy_by_place: accuracy at the first, second, … position of a window.
    """

    run: str
    seed: int
    commit: str
    split: str
    leaky: bool
    hard: bool
    window: int
    length: int
    steps: int
    lam: float
    targets: int
    perplexity: float
    accuracy: float
    entropy_bits: float
    block_mass: float
    targets_last: int
    perplexity_last: float | None
    accuracy_last: float | None
    perplexity_others: float | None
    accuracy_others: float | None
    accuracy_by_place: tuple[float | None, ...]


def measure(model: LanguageModel, dataset: Dataset, quiet: bool = False) -> list[LeakRow]:
    """A plain run at every λ of its `sweep.lams` with every window size; a run with hard windows at λ = 1
    with its own.
    """
    config = model.config
    hard = config.model.hard
    sizes, lams = ((config.partition.size,), (1.0,)) if hard else (WINDOWS, config.sweep.lams)
    rows = []
    with Progress(len(sizes) * len(lams), "cell", quiet=quiet) as progress:
        for size in sizes:
            for lam in lams:
                rows.append(_row(model.with_window(size), dataset, lam))
                progress.advance()
                progress.report(f"{rows[-1].run}, window {size}, λ {lam:g}, accuracy {rows[-1].accuracy:.3f}")
    return rows


def _row(model: LanguageModel, dataset: Dataset, lam: float) -> LeakRow:
    config, window = model.config, model.config.partition.size
    batch_size = config.sweep.batch_size
    windows = dataset.windows(config.sweep.split, config.model.length, config.model.document_mask)
    sums = evaluate(
        model.network,
        model.params,
        eval_batches(windows, batch_size, config.sweep.max_batches, config.sweep.part),
        Dial(np.full(batch_size, lam, np.float32), np.ones(batch_size, np.float32)),
        batch_sharding(batch_size, "sweep.batch_size"),
        Evaluation(config.model.hard, config.train.loss_chunk, places=window),
    )
    assert sums.places is not None, "they are asked for"
    total, (last, others) = summarize(sums), last_and_others(sums.places)
    return LeakRow(
        run=model.run,
        seed=config.seed,
        commit=model.meta.get("commit", "unknown"),
        split=config.sweep.split,
        leaky=config.model.bidirectional,
        hard=config.model.hard,
        window=window,
        length=config.model.length,
        steps=model.step,
        lam=lam,
        targets=total.targets,
        perplexity=math.exp(total.loss),
        accuracy=total.accuracy,
        entropy_bits=float(total.entropy_bits.mean()),
        block_mass=float(total.block_mass.mean()),
        targets_last=last.targets,
        perplexity_last=None if last.loss is None else math.exp(last.loss),
        accuracy_last=last.accuracy,
        perplexity_others=None if others.loss is None else math.exp(others.loss),
        accuracy_others=others.accuracy,
        accuracy_by_place=tuple(part.accuracy for part in by_place(sums.places)),
    )


def write_rows(
    rows: list[LeakRow], model: LanguageModel, dataset: Dataset, path_without_suffix: Path
) -> None:
    """Writes `.csv` and `.json`: `write_row_files`."""
    write_row_files(rows, FORMAT, model, dataset, path_without_suffix)


def read_rows(path: Path) -> list[LeakRow]:
    """The rows of a file that `write_rows` wrote; ValueError where it is not such a file."""
    return read_row_file(path, "leak", FORMAT, LeakRow)

"""The sweep that a run directory holds, where it is one of the run itself."""

from pathlib import Path

from aila_jax.evaluation.rows import SweepResult
from aila_jax.inference.language_model import LanguageModel
from aila_jax.reporting.records import read_sweep

SAME = (
    "model",
    "partition",
    "relation",
    "locality",
    "train",
    "seed",
)  # settings that make a checkpoint what it is


def own_sweep(directory: Path, model: LanguageModel) -> SweepResult | None:
    """The folder's sweep, or None where it has none of this very checkpoint, read as its configuration says:
    the same blocks, split and batches. Settings that are newer than the file have their defaults.

    Raises:
      ValueError: the file is there and cannot be read.
    """
    if not (directory / "sweep.json").is_file():
        return None
    result = read_sweep(directory)
    asked, scope = model.config.sweep, result.meta.scope
    same = all(getattr(result.config, name) == getattr(model.config, name) for name in SAME)
    same = same and (result.cells[0].run, result.meta.checkpoint_step) == (model.run, model.step)
    whole = scope is not None and scope.max_batches == asked.max_batches
    if scope is not None and asked.max_batches:  # batch size and rule decide what a part of the split is
        whole = whole and (scope.batch_size, scope.part) == (asked.batch_size, asked.part)
    same = same and result.recorded
    return result if same and whole and all(cell.split == asked.split for cell in result.cells) else None

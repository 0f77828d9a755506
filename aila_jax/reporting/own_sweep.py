"""The sweep that a run directory holds, where it is one of the run itself."""

from pathlib import Path

from aila_jax.config import saved_config, to_dict
from aila_jax.evaluation.rows import SweepResult
from aila_jax.inference.language_model import LanguageModel
from aila_jax.reporting.records import read_sweep


def own_sweep(directory: Path, model: LanguageModel) -> SweepResult | None:
    """The folder's sweep, or None where it has none of this very checkpoint, read as its configuration says:
    the same blocks, split and batches.
    """
    if not (directory / "sweep.json").is_file():
        return None
    result = read_sweep(directory)
    try:
        swept = to_dict(
            saved_config(result.config)
        )  # settings that are newer than the file have their defaults
    except ValueError:
        return None
    config, asked = to_dict(model.config), model.config.sweep
    same = all(swept[name] == config[name] for name in ("model", "partition", "locality", "train", "seed"))
    same = same and (result.cells[0].run, result.meta.get("checkpoint_step")) == (model.run, model.step)
    scope = result.meta.get("scope", {})
    part = (
        asked.max_batches and asked.batch_size
    )  # the batch size decides what a part of the split is, and nothing else
    whole = scope.get("max_batches") == asked.max_batches and (not part or scope.get("batch_size") == part)
    return result if same and whole and all(cell.split == asked.split for cell in result.cells) else None

"""samples.json: the generated text that a sweep's page shows, so that a page that is made again has it."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aila_jax.evaluation.rows import SweepResult
from aila_jax.files import write_atomically

SAMPLE_KEYS = ("lam", "tau", "prompt", "text")


def write_samples(samples: Sequence[Mapping[str, Any]], folder: Path, result: SweepResult) -> None:
    """Writes samples.json beside the sweep of the model that they are of.

    Raises:
      ValueError: a sample lacks a key.
    """
    for index, sample in enumerate(samples):
        check_sample(sample, index)
    shown = [{key: sample[key] for key in SAMPLE_KEYS} for sample in samples]
    run, step = _model(result)
    document = {"run": run, "checkpoint_step": step, "samples": shown}
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    write_atomically(folder / "samples.json", text.encode("utf-8"))


def read_samples(folder: Path, result: SweepResult) -> list[dict[str, Any]] | None:
    """The samples that lie beside a sweep, or None where there are none; those of another model than the
    sweep's are left out with a warning.

    Raises:
      ValueError: the file is no file of samples.
    """
    path = folder / "samples.json"
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        model = document["run"], document["checkpoint_step"]
        samples = [{key: sample[key] for key in SAMPLE_KEYS} for sample in document["samples"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no file of samples ({error!r}). Fix: remove it, or generate them again"
        ) from error
    if model != _model(result):
        there, swept = (f"run {run}, step {step}" for run, step in (model, _model(result)))
        warnings.warn(f"{path} is of {there}; the sweep of {swept}: its samples are left out", stacklevel=2)
        return None
    return samples


def check_sample(sample: Mapping[str, Any], index: int) -> None:
    """Raises ValueError where a key is missing."""
    missing = [key for key in SAMPLE_KEYS if key not in sample]
    if missing:
        raise ValueError(
            f"samples[{index}] lacks {', '.join(missing)}; it must have {', '.join(SAMPLE_KEYS)}. Fix: add"
            " what is missing."
        )


def _model(result: SweepResult) -> tuple[str, int | None]:
    """Which model the rows are of: its run, and its step where that is recorded."""
    return result.cells[0].run, result.meta.checkpoint_step

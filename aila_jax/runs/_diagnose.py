"""Diagnosis of a run: which failure signatures it shows, why, and what to change."""

from pathlib import Path

from aila_jax.config import require
from aila_jax.diagnosis.diagnose import Diagnosis
from aila_jax.diagnosis.diagnose import diagnose as diagnose_facts
from aila_jax.diagnosis.files import describe_diagnosis, write_diagnosis
from aila_jax.diagnosis.measure import FactFinder
from aila_jax.evaluation.meta import sweep_meta
from aila_jax.inference.language_model import load
from aila_jax.runs.opened import dataset_of
from aila_jax.runs.workdir import check_writable, run_directory

__all__ = ["describe_diagnosis", "diagnose"]


def diagnose(
    checkpoint: str, *, batches: int = 8, data_dir: str = "", out: str = "", quiet: bool = False
) -> Diagnosis:
    """Says which failure signatures a run shows, with likely causes and what to change, and writes
    diagnosis.json to `out`.

    Reads the run's sweep.json and metrics.jsonl where they are, and measures the rest on a little text. Why
    each threshold is what it is: `aila_jax.diagnosis.signatures`.

    Args:
      checkpoint: run directory or checkpoint.
      batches: of the run's sweep.batch_size sequences, for each thing that is measured, at least 1.
      data_dir: where its corpus is now, if elsewhere than in training.
      out: folder of diagnosis.json; the run directory by default.
      quiet: no progress.
    """
    require(batches >= 1, "batches", batches, "at least 1", "set --batches=8")
    model, folder = load(checkpoint), run_directory(checkpoint)
    directory = check_writable(Path(out) if out else folder)
    dataset = dataset_of(model, data_dir)
    facts = FactFinder(model, dataset, folder, batches, quiet).facts()
    diagnosis = diagnose_facts(facts)
    write_diagnosis(diagnosis, facts, {**sweep_meta(model, dataset), "batches": batches}, directory)
    return diagnosis

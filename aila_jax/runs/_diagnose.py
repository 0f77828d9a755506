"""Diagnosis of a run: which failure signatures it shows, why, and what to change."""

from pathlib import Path

from aila_jax.config.options import DiagnoseOptions
from aila_jax.diagnosis.diagnose import Diagnosis
from aila_jax.diagnosis.diagnose import diagnose as diagnose_facts
from aila_jax.diagnosis.files import describe_diagnosis, write_diagnosis
from aila_jax.diagnosis.measure import FactFinder
from aila_jax.evaluation.meta import origin_of
from aila_jax.runs.opened import OpenedRun, opened

__all__ = ["describe_diagnosis", "diagnose"]


def diagnose(
    run: OpenedRun | str | Path,
    options: DiagnoseOptions = DiagnoseOptions(),
    out: str | Path = "",
    quiet: bool = False,
) -> Diagnosis:
    """Says which failure signatures a run shows, with likely causes and what to change, and writes
    diagnosis.json to `out`.

    Reads the run's sweep.json and metrics.jsonl where they are, and measures the rest on a little text. Why
    each threshold is what it is: `aila_jax.diagnosis.signatures`.

    Args:
      run: an opened run, or its path.
      options: how much text is read.
      out: folder of diagnosis.json; the run directory by default.
      quiet: no progress.
    """
    run, batches = opened(run), options.batches
    directory = run.folder(out)
    facts = FactFinder(run.model, run.corpus, run.directory, batches, quiet).facts()
    diagnosis = diagnose_facts(facts)
    meta = {**origin_of(run.model, run.corpus).to_json(), "batches": batches}
    write_diagnosis(diagnosis, facts, meta, directory)
    return diagnosis

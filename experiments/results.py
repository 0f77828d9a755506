"""What experiments share: their result files NAME-seedS.json, and tables of means over seeds."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from aila_jax.config import require, to_dict
from aila_jax.data.dataset import Dataset
from aila_jax.evaluation.meta import origin_of
from aila_jax.evaluation.rows import CellRow, SweepResult
from aila_jax.files import write_atomically
from aila_jax.inference.language_model import LanguageModel
from aila_jax.reporting import read_sweep, write_sweep
from aila_jax.reporting.results import portable, read_document, result_paths
from aila_jax.reporting.tables import csv_text, json_rows, json_text, rows_from, write_files

Row = TypeVar("Row")


def write_result(result: SweepResult, directory: str | Path, stem: str) -> None:
    """Writes one run's rows as a result file, `stem` being NAME-seedS."""
    Path(directory).mkdir(parents=True, exist_ok=True)
    write_sweep(replace(result, config=portable(result.config)), directory, stem=stem)


def write_document(result: Any, form: str, directory: Path, stem: str) -> None:
    """Writes a dataclass with a `config` as the file NAME-seedS.json of a format."""
    directory.mkdir(parents=True, exist_ok=True)
    document = {"format": form, **asdict(result), "config": to_dict(portable(result.config))}
    write_atomically(directory / f"{stem}.json", (json.dumps(document, indent=1) + "\n").encode())


def write_row_files(
    rows: Sequence[Any], form: str, model: LanguageModel, dataset: Dataset, path_without_suffix: Path
) -> None:
    """Writes `.csv` (a row each) and `.json` (format, rows, configuration, versions, commits), the JSON last;
    rows are of one class, at least one.
    """
    document = {
        "format": form,
        "config": to_dict(portable(model.config)),
        "meta": origin_of(model, dataset).to_json(),
        "rows": json_rows(rows),
    }
    name = path_without_suffix.name
    contents = {f"{name}.csv": csv_text(type(rows[0]), rows), f"{name}.json": json_text(document)}
    write_files(path_without_suffix.parent, contents)


def read_row_file(path: Path, experiment: str, form: str, cls: type[Row]) -> list[Row]:
    """The rows of a file that `write_row_files` wrote.

    Raises:
      ValueError: it is not such a file.
    """

    def parse(document: Mapping[str, Any]) -> list[Row]:
        return list(rows_from(cls, document["rows"], "rows"))

    return read_document(path, experiment, form, parse)


def results_by_run(directory: Path, order: Iterable[str]) -> dict[str, list[SweepResult]]:
    """The sweeps of a folder by name, those of `order` first and in its order.

    Raises:
      ValueError: there is none, or a file is no sweep.
    """
    found = result_paths(directory)
    names = [name for name in order if name in found]
    return {
        name: [read_sweep(path) for path in found[name]]
        for name in [*names, *(name for name in found if name not in names)]
    }


def cell_at(result: SweepResult, lam: float, tau: float = 1.0) -> CellRow:
    """The cell at λ and τ.

    Raises:
      ValueError: it is not in the sweep.
    """
    found = [row for row in result.cells if row.lam == lam and row.tau == tau]
    at = sorted({(row.lam, row.tau) for row in result.cells})
    require(
        bool(found),
        "the sweep's grid (λ, τ)",
        at,
        f"one with ({lam:g}, {tau:g})",
        "set --config.sweep.lams=(0,0.2,0.4,0.6,0.8,1)",
    )
    return found[0]

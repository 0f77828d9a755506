"""The table of a population: on the terminal, as CSV and as JSON."""

from dataclasses import asdict
from pathlib import Path

from aila_jax.columns import columns_of
from aila_jax.config import to_dict
from aila_jax.evaluation.population_rows import MemberRow, Population
from aila_jax.provenance import git_commit, versions
from aila_jax.reporting.tables import Table, csv_text, json_rows, json_text, write_files
from aila_jax.training.sharding import describe_devices

FORMAT = "aila_jax population, version 1"


def describe_population(found: Population) -> str:
    """The table, aligned."""
    noted = any(row.note for row in found.rows)
    columns = [column for column in columns_of(MemberRow) if noted or column.name != "note"]
    return "\n".join(Table.of(columns, found.rows).aligned(last_left=noted))


def write_population(found: Population) -> list[Path]:
    """Writes `population.csv` and `population.json` beside the members; returns the paths."""
    document = {
        "format": FORMAT,
        "config": to_dict(found.config),
        "meta": {
            "versions": versions(),
            "commit": git_commit(),
            "device": describe_devices(),
            "made": asdict(found.made),
        },
        "members": json_rows(found.rows),
    }
    files = {"population.csv": csv_text(MemberRow, found.rows), "population.json": json_text(document)}
    return write_files(found.workdir, files)

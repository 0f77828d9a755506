"""The rows of the threshold experiment, as CSV and JSON."""

import csv
import io
import json
import math
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

from aila_jax.config import Config, saved_config, to_dict
from aila_jax.reporting.files import write_atomically
from aila_jax.reporting.results import portable, read_document

FORMAT = "aila_jax threshold, version 1"


@dataclass(frozen=True)
class ThresholdRow:
    """One feature group of one head's query or key weights.

    All thresholds are levels of λη: λ times the penalty's strength, for a group of weight a_i = 1 in a layer
    of scale 1.

    Attributes:
      run, seed, commit: as in `CellRow`.
      window: tokens a block, None for other partitions.
      layer, head, group: counted from 0.
      projection: `query` or `key`.
      coordinates: of the input, in the group.
      importance: a_i.
      tokens, sigma, delta: |X_i|, σ_X,i and the head's δ in nats; None where the formula does not apply.
      predicted: the papers' formula, or None.
      gradient: ‖∂CE/∂W_i‖_F at W_i = 0.
      noise: its standard error, or more; None where too little was read.
      stationarity: gradient ÷ (λ's layer scale · a_i): from this λη on a zero group stays zero.
      path: λη of the first level of the path from which on the group is 0; None where there was no path, or
        it never was.
      path_lam: the same as λ, with the η at which λ = 1 zeroes every group; None too where the path ended
        before there was one.
    """

    run: str
    seed: int
    commit: str
    window: int | None
    layer: int
    head: int
    projection: str
    group: int
    coordinates: int
    importance: float
    tokens: float | None
    sigma: float | None
    delta: float | None
    predicted: float | None
    gradient: float
    noise: float | None
    stationarity: float
    path: float | None
    path_lam: float | None


COLUMNS = [column.name for column in fields(ThresholdRow)]


@dataclass(frozen=True)
class ThresholdResult:
    """One run's rows and what made them.

    Attributes:
      rows: one a head, projection and group.
      config: the run's.
      meta: training, versions, commit, device; settings; `undefined`, why there is no prediction (empty where
        there is one); rho; inputs_read; targets, those that gradients were taken of, and targets_at_zero;
        path: eta, and of each level λη, zero groups and entropy by layer, loss.
    """

    rows: tuple[ThresholdRow, ...]
    config: Config
    meta: dict[str, Any]

    def value(self, row: ThresholdRow, name: str) -> float | None:
        """`predicted`, `stationarity` or `path` of a row; infinite for a group that was not 0 at the path's
        last level.

        Left out, the groups with the highest thresholds would be missing from medians and ranks.
        """
        found = getattr(row, name)
        return math.inf if found is None and name == "path" and self.meta["path"] is not None else found

    @property
    def path_ended(self) -> bool:
        """Was every group of every layer 0 at the path's last level, so that its η says something?"""
        return self.meta["path"] is not None and min(self.meta["path"]["share_zero"][-1]) == 1.0


def write_threshold(result: ThresholdResult, path_without_suffix: Path) -> list[Path]:
    """Writes `.csv` (a row each) and `.json` (rows, configuration, versions, commits), the JSON last; returns
    both paths.
    """
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in result.rows)
    head = {
        "format": FORMAT,
        "config": portable(to_dict(result.config)),
        "meta": result.meta,
        "columns": COLUMNS,
    }
    # A row a line: indented, its numbers would take most of the file.
    lines = ",\n".join(
        f"  {json.dumps(astuple(row), allow_nan=False, ensure_ascii=False)}" for row in result.rows
    )
    text = (
        json.dumps(head, allow_nan=False, ensure_ascii=False, indent=1).removesuffix("\n}")
        + f',\n "rows": [\n{lines}\n ]\n}}\n'
    )
    paths = [
        path_without_suffix.with_name(f"{path_without_suffix.name}{suffix}") for suffix in (".csv", ".json")
    ]
    for path, content in zip(paths, (table.getvalue(), text), strict=True):
        write_atomically(path, content.encode())
    return paths


def read_threshold(path: Path) -> ThresholdResult:
    """What `write_threshold` wrote.

    Raises:
      ValueError: it is not such a file.
    """

    def parse(document: dict[str, Any]) -> ThresholdResult:
        rows = tuple(
            ThresholdRow(**dict(zip(document["columns"], row, strict=True))) for row in document["rows"]
        )
        return ThresholdResult(rows, saved_config(document["config"]), document["meta"])

    return read_document(path, "threshold", FORMAT, parse)

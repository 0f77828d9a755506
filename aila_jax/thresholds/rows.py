"""The rows of the threshold experiment, as CSV and JSON."""

import json
import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from aila_jax.cards import Card, Shown
from aila_jax.columns import Column, to_pandas
from aila_jax.config import Config, saved_config, to_dict
from aila_jax.evaluation.origin import Origin, Record
from aila_jax.reporting.results import portable, read_document
from aila_jax.reporting.tables import csv_text, json_text, names_of, row_from, write_files

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT = "aila_jax threshold, version 1"


@dataclass(frozen=True)
class ThresholdRow:
    """One feature group of one head's query or key weights.

    All thresholds are levels of λη: λ times the penalty's strength, for a group of weight a_i = 1 in a layer
    of scale 1.

    Attributes:
      run: as in `CellRow`, and so are seed and commit.
      window: tokens a block, None for other partitions.
      layer: counted from 0, and so are head and group.
      projection: `query` or `key`.
      coordinates: of the input, in the group.
      importance: a_i.
      tokens: |X_i|; None where the formula does not apply.
      sigma: σ_X,i; None likewise.
      delta: the head's δ in nats; None likewise.
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
    delta: Annotated[float | None, Column(unit="nats")]
    predicted: Annotated[float | None, Column(help="λη by the papers' formula")]
    gradient: float
    noise: float | None
    stationarity: Annotated[float, Column(help="λη from which on a zero group stays zero")]
    path: Annotated[float | None, Column(help="λη of the path's first level from which on the group is 0")]
    path_lam: float | None


@dataclass(frozen=True, kw_only=True)
class PathMeta(Record):
    """The path of rising penalties, level by level.

    Attributes:
      eta: λη at which all groups of all layers were 0, or of the last level.
      levels: λη of each.
      share_zero: of the groups, by layer.
      loss: on the held-out batches.
      entropy_bits: of attention, by layer.
    """

    eta: float
    levels: list[float]
    share_zero: list[list[float]]
    loss: list[float]
    entropy_bits: list[list[float]]


@dataclass(frozen=True, kw_only=True)
class ThresholdMeta(Origin):
    """What made a result of the threshold experiment.

    Attributes:
      settings: `ThresholdSettings` as JSON has them.
      undefined: why there is no prediction; empty where there is one.
      rho: ρ_max, or None where there is none.
      inputs_read: tokens that σ and ρ were taken of.
      targets: that gradients were taken of.
      targets_at_zero: the same with a group set to zero.
      path: level by level, or None where there was none.
    """

    settings: Mapping[str, Any]
    undefined: str
    rho: float | None
    inputs_read: int
    targets: int
    targets_at_zero: int
    path: PathMeta | None


@dataclass(frozen=True, repr=False)
class ThresholdResult(Shown):
    """One run's rows and what made them.

    Attributes:
      rows: one a head, projection and group.
      config: the run's.
      meta: versions, commit, device, settings, and what was measured beside the rows.
    """

    rows: tuple[ThresholdRow, ...]
    config: Config
    meta: ThresholdMeta

    def value(self, row: ThresholdRow, name: str) -> float | None:
        """`predicted`, `stationarity` or `path` of a row; infinite for a group that was not 0 at the path's
        last level.

        Left out, the groups with the highest thresholds would be missing from medians and ranks.
        """
        found = getattr(row, name)
        return math.inf if found is None and name == "path" and self.meta.path is not None else found

    @property
    def path_ended(self) -> bool:
        """Was every group of every layer 0 at the path's last level, so that its η says something?"""
        return self.meta.path is not None and min(self.meta.path.share_zero[-1]) == 1.0

    def to_pandas(self) -> "DataFrame":
        """The rows as a data frame."""
        return to_pandas(ThresholdRow, self.rows)

    def card(self) -> Card:
        names = ("predicted", "stationarity", "path")
        found = {name: [self.value(row, name) for row in self.rows] for name in names}
        medians = {
            f"{name} λη, median": f"{float(np.median(values)):.3g}" if values else "none"
            for name, values in (
                (name, [value for value in values if value is not None]) for name, values in found.items()
            )
        }
        facts = {"groups": f"{len(self.rows)} of heads' queries and keys", **medians}
        if self.meta.undefined:
            facts["not predicted"] = self.meta.undefined
        run = self.rows[0].run if self.rows else "no run"
        return Card(f"ThresholdResult of {run}, seed {self.config.seed}", facts)


def write_threshold(result: ThresholdResult, path_without_suffix: Path) -> list[Path]:
    """Writes `.csv` (a row each) and `.json` (rows, configuration, versions, commits), the JSON last; returns
    both paths.
    """
    head = {
        "format": FORMAT,
        "config": to_dict(portable(result.config)),
        "meta": result.meta.to_json(),
        "columns": names_of(ThresholdRow),
    }
    # A row a line: indented, its numbers would take most of the file.
    lines = ",\n".join(
        f"  {json.dumps(astuple(row), allow_nan=False, ensure_ascii=False)}" for row in result.rows
    )
    text = json_text(head).removesuffix("\n}\n") + f',\n "rows": [\n{lines}\n ]\n}}\n'
    name = path_without_suffix.name
    contents = {f"{name}.csv": csv_text(ThresholdRow, result.rows), f"{name}.json": text}
    return write_files(path_without_suffix.parent, contents)


def read_threshold(path: Path) -> ThresholdResult:
    """What `write_threshold` wrote.

    Raises:
      ValueError: it is not such a file.
    """

    def parse(document: Mapping[str, Any]) -> ThresholdResult:
        rows = tuple(
            row_from(ThresholdRow, dict(zip(document["columns"], row, strict=True)), f"rows[{index}]")
            for index, row in enumerate(document["rows"])
        )
        meta = ThresholdMeta.from_json(document["meta"])
        return ThresholdResult(rows, saved_config(document["config"]), meta)

    return read_document(path, "threshold", FORMAT, parse)

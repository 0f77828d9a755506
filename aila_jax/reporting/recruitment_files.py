"""A recruitment on the terminal, as text, CSV and JSON."""

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aila_jax.partition.classes.recruitment import Recruitment, RecruitmentStep
from aila_jax.partition.listing import ClassEntry
from aila_jax.partition.statistics import BlockStatistics
from aila_jax.reporting.files import write_atomically

FORMAT = "aila_jax recruitment, version 1"


@dataclass(frozen=True)
class RecruitmentReport:
    """A recruitment, and what its classes are as blocks of the training split's windows.

    Attributes:
      source: the corpus.
      recruitment: steps and class table.
      classes: most tokens first.
      statistics: None for a single class.
      meta: configuration, commit, versions, fingerprint of the corpus.
    """

    source: str
    recruitment: Recruitment
    classes: tuple[ClassEntry, ...]
    statistics: BlockStatistics | None
    meta: dict[str, Any]


def describe_recruitment(report: RecruitmentReport) -> str:
    """The report as text: what was found at which price, then a line for each class with its most frequent
    types.
    """
    found = report.recruitment
    first, last = found.steps[0], found.steps[-1]
    kinds = [step.kind for step in found.steps]
    most = report.meta["config"]["partition"]["max_classes"]
    ended = (
        "no split, move or merge tried lowers the bits"
        if found.finished
        else "stopped at max_rounds, before nothing lowered the bits"
    )
    if found.classes == most:
        ended = f"stopped at max_classes = {most}, beyond which no split is tried"
    lines = [
        (
            f"{found.classes} classes recruited from {first.classes} on {report.source}: {found.pairs:,}"
            f" pairs, {found.types_seen:,} types"
        ),
        (
            f"{kinds.count('recruit')} splits, {kinds.count('move')} sweeps of moves, {kinds.count('merge')}"
            f" merges; {ended}"
        ),
        f"more than {found.most_classes:,} classes could never pay for themselves",
        "",
        *_table(
            ("", "classes", "data bits", "model bits", "total bits", "total a token"),
            [(name, *_bits(step, found.pairs)) for name, step in (("start", first), ("end", last))],
        ),
    ]
    if report.statistics is not None:
        lines += ["", f"keys in a query's block: {report.statistics.n_in:.2f} on average"]
    rows = [
        (
            f"{entry.number}",
            f"{entry.share:.2%}",
            f"{entry.types:,}",
            " ".join(text.strip() or repr(text) for text, _ in entry.frequent),
        )
        for entry in report.classes
    ]
    return "\n".join(
        [*lines, "", *_table(("class", "of tokens", "types", "most frequent"), rows, last_left=True)]
    )


def write_recruitment(report: RecruitmentReport, directory: Path) -> list[Path]:
    """Writes recruitment.csv (a row a step), recruitment.txt (the listing) and recruitment.json (everything);
    returns the paths.
    """
    found = report.recruitment
    document = {
        "format": FORMAT,
        "source": report.source,
        "pairs": found.pairs,
        "types_seen": found.types_seen,
        "most_classes": found.most_classes,
        "finished": found.finished,
        "steps": [dataclasses.asdict(step) for step in found.steps],
        "statistics": None if report.statistics is None else dataclasses.asdict(report.statistics),
        "classes": [dataclasses.asdict(entry) for entry in report.classes],
        "table": found.table.tolist(),
        "meta": report.meta,
    }
    contents = {
        "recruitment.csv": _csv(found.steps),
        "recruitment.txt": describe_recruitment(report) + "\n",
        "recruitment.json": json.dumps(document, allow_nan=False, ensure_ascii=False) + "\n",
    }
    for name, content in contents.items():
        write_atomically(directory / name, content.encode("utf-8"))
    return [directory / name for name in contents]


def _bits(step: RecruitmentStep, pairs: int) -> tuple[str, ...]:
    bits = (step.data_bits, step.model_bits, step.total_bits)
    return f"{step.classes}", *(f"{value:,.0f}" for value in bits), f"{step.total_bits / pairs:.4f}"


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]], last_left: bool = False) -> list[str]:
    """Columns of equal width, set to the right; with `last_left` the last one is as long as it is."""
    fixed = len(header) - last_left
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(fixed)]
    return [
        "  ".join([*(text.rjust(width) for text, width in zip(row, widths, strict=False)), *row[fixed:]])
        for row in (header, *rows)
    ]


def _csv(steps: tuple[RecruitmentStep, ...]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(
        text, [field.name for field in dataclasses.fields(RecruitmentStep)], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(dataclasses.asdict(step) for step in steps)
    return text.getvalue()

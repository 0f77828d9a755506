"""A recruitment on the terminal, as text, CSV and JSON."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aila_jax.cards import Card, Shown
from aila_jax.columns import chosen, to_pandas
from aila_jax.config import PartitionConfig, from_dict
from aila_jax.evaluation.origin import PartitionOrigin
from aila_jax.partition.classes.recruitment import Recruitment, RecruitmentStep
from aila_jax.partition.listing import ClassEntry
from aila_jax.partition.statistics import BlockStatistics
from aila_jax.reporting.tables import Table, csv_text, json_text, write_files

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT = "aila_jax recruitment, version 1"
_CLASS = ("number", "share", "types", "frequent")
_TITLES = {"share": "of tokens"}


@dataclass(frozen=True, repr=False)
class RecruitmentReport(Shown):
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
    meta: PartitionOrigin

    def to_pandas(self, classes: bool = False) -> "DataFrame":
        """The steps as a data frame, or, with `classes`, a line for each class."""
        return (
            to_pandas(ClassEntry, self.classes)
            if classes
            else to_pandas(RecruitmentStep, self.recruitment.steps)
        )

    def card(self) -> Card:
        found = self.recruitment.card()
        largest = "; ".join(
            f"{entry.share:.1%}: {' '.join(text for text, _ in entry.frequent[:3])}"
            for entry in self.classes[:3]
        )
        keys = "–" if self.statistics is None else f"{self.statistics.n_in:.2f}"
        title = f"{found.title.replace('Recruitment', 'RecruitmentReport')} on {self.source}"
        return Card(title, {**found.facts, "largest classes": largest, "keys in a block": keys})


def describe_recruitment(report: RecruitmentReport) -> str:
    """The report as text: what was found at which price, then a line for each class with its most frequent
    types.
    """
    found = report.recruitment
    first, last = found.steps[0], found.steps[-1]
    kinds = [step.kind for step in found.steps]
    most = from_dict(PartitionConfig, report.meta.config["partition"]).max_classes
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
        *_bits_table(first, last, found.pairs).aligned(),
    ]
    if report.statistics is not None:
        lines += ["", f"keys in a query's block: {report.statistics.n_in:.2f} on average"]
    columns = [
        dataclasses.replace(c, title=_TITLES.get(c.field, c.title)) for c in chosen(ClassEntry, _CLASS)
    ]
    return "\n".join([*lines, "", *Table.of(columns, report.classes).aligned(last_left=True)])


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
        "meta": report.meta.to_json(),
    }
    return write_files(
        directory,
        {
            "recruitment.csv": csv_text(RecruitmentStep, found.steps),
            "recruitment.txt": describe_recruitment(report) + "\n",
            "recruitment.json": json_text(document, indent=None),
        },
    )


def _bits_table(first: RecruitmentStep, last: RecruitmentStep, pairs: int) -> Table:
    """The bits before and after."""
    columns = chosen(RecruitmentStep, ("classes", "data_bits", "model_bits", "total_bits"))
    rows = [
        (name, *(column.text(step) for column in columns), f"{step.total_bits / pairs:.4f}")
        for name, step in (("start", first), ("end", last))
    ]
    return Table(("", *(column.title for column in columns), "total a token"), tuple(rows))

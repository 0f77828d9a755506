"""A recruitment's files: what is written is read back, and the committed ones say what the documentation
quotes.
"""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from aila_jax.evaluation.origin import PartitionOrigin
from aila_jax.partition.classes.description_length import model_bits
from aila_jax.partition.classes.recruitment import Recruitment, RecruitmentStep
from aila_jax.partition.listing import ClassEntry
from aila_jax.partition.statistics import BlockStatistics
from aila_jax.reporting.recruitment_files import RecruitmentReport, describe_recruitment, write_recruitment

DOCS = Path(__file__).resolve().parents[2] / "docs"
COMMITTED = DOCS / "results" / "recruitment"


def read_recruitment(path: Path) -> RecruitmentReport:
    """What a recruitment.json says, bit for bit."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    found = Recruitment(
        np.array(stored["table"], np.int64),
        tuple(RecruitmentStep(**step) for step in stored["steps"]),
        **{name: stored[name] for name in ("pairs", "types_seen", "most_classes", "finished")},
    )
    classes = tuple(
        ClassEntry(**{**entry, "frequent": tuple(map(tuple, entry["frequent"]))})
        for entry in stored["classes"]
    )
    statistics = BlockStatistics(**stored["statistics"])
    return RecruitmentReport(
        stored["source"], found, classes, statistics, PartitionOrigin.from_json(stored["meta"])
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    report = read_recruitment(COMMITTED / "recruitment.json")
    paths = write_recruitment(report, tmp_path)
    assert [path.name for path in paths] == ["recruitment.csv", "recruitment.txt", "recruitment.json"]
    for path in paths:
        assert path.read_bytes() == (COMMITTED / path.name).read_bytes()
    again = read_recruitment(tmp_path / "recruitment.json")
    assert again.recruitment.steps == report.recruitment.steps
    assert (again.classes, again.statistics, again.meta) == (report.classes, report.statistics, report.meta)
    np.testing.assert_array_equal(again.recruitment.table, report.recruitment.table)


def test_the_committed_recruitment_is_what_the_documentation_quotes() -> None:
    report = read_recruitment(COMMITTED / "recruitment.json")
    found = report.recruitment
    first, last = found.steps[0], found.steps[-1]
    assert found.finished and "-dirty" not in report.meta.commit
    assert all(after.total_bits < before.total_bits for before, after in pairwise(found.steps))
    assert len(found.table) == 4096 and found.table.max() + 1 == found.classes
    assert last.model_bits == pytest.approx(float(model_bits(4096, found.classes, found.pairs)))
    text = (DOCS / "method.md").read_text(encoding="utf-8")
    quoted = [f"{found.classes} classes, where more than {found.most_classes:,} could never pay"]
    quoted += [
        f"from {first.data_bits:,.0f} to {last.data_bits:,.0f}",
        f"from {first.model_bits:,.0f} to {last.model_bits:,.0f}",
    ]
    quoted += [
        f"from {first.total_bits / found.pairs:.4f} to {last.total_bits / found.pairs:.4f} bits a token"
    ]
    assert report.statistics is not None
    quoted += [f"{report.statistics.n_in:.2f} keys in its block"]
    for words in quoted:
        assert words in text, words
    described = describe_recruitment(report)
    assert described.startswith("248 classes recruited from 2 on wikitext2")
    assert "no split, move or merge tried lowers the bits" in described
    limited = {
        **report.meta.config,
        "partition": {**report.meta.config["partition"], "max_classes": found.classes},
    }
    described = describe_recruitment(replace(report, meta=replace(report.meta, config=limited)))
    assert "; stopped at max_classes = 248, beyond which no split is tried" in described
    assert "lowers the bits" not in described

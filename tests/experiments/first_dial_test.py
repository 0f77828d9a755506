"""The first dial's committed table and README rows against its committed files."""

import shutil
from pathlib import Path

from experiments.first_dial.runs import collect_first_dial

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "docs" / "results" / "first_dial"


def test_the_committed_table_is_that_of_the_committed_files_and_the_readme_shows_it(tmp_path):
    copy = Path(
        shutil.copytree(
            COMMITTED, tmp_path / "dial", ignore=shutil.ignore_patterns("*.png", "*.svg", "table.md")
        )
    )
    table = collect_first_dial(copy)
    assert table == (COMMITTED / "table.md").read_text(encoding="utf-8")
    assert table.count("\n") >= 9
    assert table in (ROOT / "README.md").read_text(encoding="utf-8")

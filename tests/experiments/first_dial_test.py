"""The first dial's committed table and the page that shows it against its committed files."""

import shutil
from pathlib import Path

from experiments.first_dial.runs import collect_first_dial

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "docs" / "results" / "first_dial"


def test_the_committed_table_is_that_of_the_committed_files_and_its_page_shows_it(tmp_path):
    copy = Path(
        shutil.copytree(
            COMMITTED, tmp_path / "dial", ignore=shutil.ignore_patterns("*.png", "*.svg", "table.md")
        )
    )
    table = collect_first_dial(copy)
    assert table == (COMMITTED / "table.md").read_text(encoding="utf-8")
    assert table.count("\n") >= 9
    assert table in (COMMITTED.parent / "first_dial.md").read_text(encoding="utf-8")

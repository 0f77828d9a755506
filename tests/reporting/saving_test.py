"""Figures as files: the same bytes every time, and nothing but the figure in them."""

import struct
from pathlib import Path

from aila_jax.evaluation.rows import SweepResult
from aila_jax.reporting.plots import dial_figure
from aila_jax.reporting.style import save_figure


def test_both_files_are_written_under_the_whole_name(sweep: SweepResult, tmp_path: Path) -> None:
    png, svg = save_figure(dial_figure(sweep), tmp_path / "new" / "dial.v1")
    assert (png, svg) == (tmp_path / "new" / "dial.v1.png", tmp_path / "new" / "dial.v1.svg")
    content = png.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert struct.unpack(">II", content[16:24]) == (1440, 1120)
    assert b"<svg" in svg.read_bytes()


def test_equal_figures_are_equal_files(sweep: SweepResult, tmp_path: Path) -> None:
    first, again = (save_figure(dial_figure(sweep), tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]


def test_neither_date_nor_version_is_stored(sweep: SweepResult, tmp_path: Path) -> None:
    png, svg = save_figure(dial_figure(sweep), tmp_path / "dial")
    assert b"<dc:date>" not in svg.read_bytes()
    assert b"Matplotlib v" not in svg.read_bytes()
    assert b"Software" not in png.read_bytes()

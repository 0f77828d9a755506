"""A sweep that is stopped goes on: what was measured is not measured again, and nothing else is taken for
it.
"""

import shutil
from pathlib import Path

import pytest

from aila_jax import runs
from aila_jax.config.options import SweepOptions
from aila_jax.evaluation import sweep as measuring
from aila_jax.reporting import read_sweep
from aila_jax.reporting.kept_cells import NAME
from tests.support.tiny import Trained

GRID = SweepOptions(lams=(0.0, 0.5, 1.0), taus=(0.5, 1.0))


@pytest.fixture
def copied(trained: Trained, tmp_path: Path) -> Path:
    return shutil.copytree(trained.run.workdir, tmp_path / "copy")


@pytest.fixture
def measured(monkeypatch) -> list[tuple[float, float]]:
    """The λ and τ of each cell that is measured; `stop_after` of them a sweep is stopped."""
    real, cells = measuring.evaluate, []

    def evaluate(network, params, batches, dial, *args, **kwargs):
        cells.append((float(dial.lam[0]), float(dial.tau[0])))
        return real(network, params, batches, dial, *args, **kwargs)

    monkeypatch.setattr(measuring, "evaluate", evaluate)
    return cells


def stopped(run: Path, after: int, monkeypatch, options: SweepOptions = GRID) -> None:
    """A sweep that is stopped in the middle of a cell."""
    real, count = measuring.summarize, [0]

    def summarize(sums):
        count[0] += 1
        if count[0] > after:
            raise KeyboardInterrupt
        return real(sums)

    with monkeypatch.context() as patch:
        patch.setattr(measuring, "summarize", summarize)
        with pytest.raises(KeyboardInterrupt):
            runs.sweep(run, options, quiet=True)


@pytest.mark.parametrize("after", [0, 1, 4])
def test_the_missing_cells_alone_are_measured(copied, tmp_path, measured, monkeypatch, capsys, after):
    whole = runs.sweep(copied, GRID, tmp_path / "whole", quiet=True)
    stopped(copied, after, monkeypatch)
    assert not (copied / "sweep.json").exists()
    measured.clear()
    again = runs.sweep(copied, GRID)
    assert measured == [(row.lam, row.tau) for row in whole.cells[after:]]
    assert (again.cells, again.heads) == (whole.cells, whole.heads)
    assert ("sweep    goes on" in capsys.readouterr().out) == (after > 0)
    assert read_sweep(copied).cells == whole.cells
    for name in ("sweep.csv", "sweep_heads.csv", "sweep.json"):
        assert (copied / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (copied / NAME).exists()


def test_a_larger_grid_takes_the_cells_that_are_there(copied, measured, monkeypatch):
    stopped(copied, 2, monkeypatch)
    measured.clear()
    found = runs.sweep(copied, SweepOptions(lams=(0.0, 0.25), taus=(1.0, 0.5)), quiet=True)
    assert measured == [(0.25, 1.0), (0.25, 0.5)]
    assert [(row.lam, row.tau) for row in found.cells] == [(0.0, 1.0), (0.0, 0.5), (0.25, 1.0), (0.25, 0.5)]


@pytest.mark.parametrize("other", [
    {"split": "test"}, {"max_batches": 1}, {"delta": True}, {"pointers": "none"}, {"batch_size": 16},
])  # fmt: skip
def test_cells_of_other_settings_are_not_taken(copied, measured, monkeypatch, other):
    stopped(copied, 2, monkeypatch)
    measured.clear()
    runs.sweep(copied, SweepOptions(lams=GRID.lams, taus=GRID.taus, **other), quiet=True)
    assert len(measured) == 6


def test_cells_of_another_checkpoint_are_not_taken(copied, measured, monkeypatch):
    stopped(copied, 2, monkeypatch)
    shutil.rmtree(copied / "checkpoints" / "24")
    measured.clear()
    runs.sweep(copied, GRID, quiet=True)
    assert len(measured) == 6


@pytest.mark.parametrize("damage", ["cut", "flipped", "zeroed", "twice", "nonsense"])
def test_a_damaged_line_is_measured_again(copied, tmp_path, measured, monkeypatch, damage):
    whole = runs.sweep(copied, GRID, tmp_path / "whole", quiet=True)
    stopped(copied, 3, monkeypatch)
    path = copied / NAME
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[:-40])
    if damage == "flipped":  # a digit of the last cell's loss
        at = content.rindex(b'"loss": ') + 10
        path.write_bytes(content[:at] + (b"7" if content[at : at + 1] != b"7" else b"8") + content[at + 1 :])
    if damage == "zeroed":
        path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    if damage == "twice":
        path.write_bytes(content + content)
    if damage == "nonsense":
        path.write_bytes(b'[1]\n{"sha256": 3}\nnull\n\xff\n' + content)
    missing = {"cut": 4, "flipped": 4, "twice": 3, "nonsense": 3}
    measured.clear()
    again = runs.sweep(copied, GRID, quiet=True)
    assert len(measured) == missing.get(damage, len(measured)) >= 3
    assert (again.cells, again.heads) == (whole.cells, whole.heads)


def test_where_nothing_can_be_kept_the_sweep_goes_on(copied, monkeypatch, capsys):
    from aila_jax.reporting import kept_cells

    def full(file, content):
        raise OSError(28, "No space left on device", None)

    monkeypatch.setattr(kept_cells, "write_whole", full)
    assert len(runs.sweep(copied, GRID, quiet=True).cells) == 6
    assert capsys.readouterr().err.count("cannot be written (No space left on device)") == 6


def test_a_link_in_its_place_is_refused(copied, tmp_path):
    (tmp_path / "precious").write_text("precious")
    (copied / NAME).symlink_to(tmp_path / "precious")
    with pytest.raises(ValueError, match="is a link"):
        runs.sweep(copied, GRID, quiet=True)
    assert (tmp_path / "precious").read_text() == "precious"

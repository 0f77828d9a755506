"""Faults of the machine and of a run folder while a model trains: a full disk, links, a directory that is
moved.
"""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from aila_jax import runs
from aila_jax.checkpoint import find_checkpoint
from aila_jax.data.pipeline import TrainBatches
from aila_jax.reporting import read_training_log
from aila_jax.runs.opened import OpenedRun


@contextlib.contextmanager
def within(seconds):
    """Fails, and does not wait, where what is inside takes longer."""

    def late(signum, frame):
        pytest.fail(f"not done within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def logging_often(config, steps=60):
    return replace(
        config,
        train=replace(config.train, steps=steps, log_every=1, eval_every=steps, checkpoint_every=steps),
    )


def test_a_log_that_cannot_be_written_ends_training_after_saving(trained, tmp_path, monkeypatch):
    from aila_jax.training import event_file, logs

    real, written = event_file.EventFile.add, []

    def add(self, step, scalars):
        written.append(step)
        if step >= 3:
            raise OSError(errno.ENOSPC, "No space left on device", "board")
        real(self, step, scalars)

    monkeypatch.setattr(event_file.EventFile, "add", add)
    with pytest.raises(logs.LogUnwritable) as caught:
        runs.train(logging_often(trained.config), tmp_path / "run", quiet=True)
    step = find_checkpoint(tmp_path / "run").step
    assert str(caught.value).startswith(
        "board cannot be written (No space left on device). Training ended after"
        f" step {step}, which is saved. Fix: "
    )
    assert written == [1, 2, 3]  # it is tried once
    assert 3 <= step <= 12


@pytest.fixture
def full_board(tmp_path):
    """A run directory whose TensorBoard folder is a disk of 16 kB."""
    board = tmp_path / "run" / "tensorboard"
    board.mkdir(parents=True)
    mount = shutil.which("mount")
    command = [mount, "-t", "tmpfs", "-o", "size=16k", "tmpfs", board]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here: that needs root on Linux")
    yield tmp_path / "run"
    subprocess.run(["umount", "--lazy", board], check=True)


def test_a_full_disk_does_not_hang_training(trained, full_board):
    with within(120), pytest.raises(OSError, match=r"cannot be written \(No space left on device\)"):
        runs.train(logging_often(trained.config, steps=200), full_board, quiet=True)
    assert 10 < len(read_training_log(full_board)) < 200
    assert 10 < find_checkpoint(full_board).step < 200


NAMES = (".lock", ".lease", "metrics.jsonl", "config.json", "run.json")


@pytest.mark.parametrize("name", NAMES)
def test_no_link_is_followed_for_a_file_of_the_run(trained, tmp_path, no_work, name):
    copy = Path(shutil.copytree(trained.run.workdir, tmp_path / "run"))
    precious = tmp_path / "precious"
    precious.write_bytes((copy / name).read_bytes() if not name.startswith(".l") else b"precious")
    before = precious.read_bytes()
    (copy / name).unlink(missing_ok=True)
    (copy / name).symlink_to(precious)
    with pytest.raises(ValueError, match=rf"{name}' is a link; .*Fix: remove it"):
        runs.train(trained.config, copy, quiet=True)
    assert precious.read_bytes() == before


@pytest.mark.parametrize("name", ["tensorboard", "checkpoints", "checkpoints/16", "checkpoints/24/params"])
def test_no_link_is_followed_for_a_folder_of_the_run(trained, tmp_path, no_work, name):
    copy = Path(shutil.copytree(trained.run.workdir, tmp_path / "run"))
    (copy / name).rename(tmp_path / "elsewhere")
    (copy / name).symlink_to(tmp_path / "elsewhere")
    before = sorted((tmp_path / "elsewhere").rglob("*"))
    with pytest.raises(ValueError, match=rf"{name}' is a link; .*Fix: remove it"):
        runs.train(trained.config, copy, quiet=True)
    assert sorted((tmp_path / "elsewhere").rglob("*")) == before


def test_temporary_files_of_a_finished_run_that_goes_on_follow_no_link(trained, tmp_path):
    copy = Path(shutil.copytree(trained.run.workdir, tmp_path / "run"))
    (tmp_path / "precious").write_text("precious")
    (copy / "metrics.tmp").symlink_to(tmp_path / "precious")
    runs.train(trained.config, copy, quiet=True)
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_run_directory_that_is_a_link_is_the_users_own(trained, tmp_path):
    copy = Path(shutil.copytree(trained.run.workdir, tmp_path / "run"))
    (tmp_path / "link").symlink_to(copy)
    assert runs.train(trained.config, tmp_path / "link", quiet=True).step == 24


def test_no_link_is_followed_for_what_is_measured(trained, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "window3").symlink_to(tmp_path / "elsewhere")
    run = OpenedRun(trained.model, tmp_path / "run", tmp_path / "run" / "window3", "")
    for default in ("", "certificate/text"):
        with pytest.raises(ValueError, match="window3' is a link"):
            run.folder("", default)
    assert run.folder(tmp_path / "run" / "window3") == tmp_path / "run" / "window3"  # the user named it
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("found", [True, False])
def test_a_directory_that_is_moved_while_training_stays_one_run(trained, tmp_path, monkeypatch, found):
    """`found`: the system tells where the directory is now."""
    workdir, moved = tmp_path / "run", tmp_path / "moved"
    real, drawn = TrainBatches.__next__, []

    def next_batch(self):
        drawn.append(1)
        if len(drawn) == 10:
            workdir.rename(moved)
        return real(self)

    monkeypatch.setattr(TrainBatches, "__next__", next_batch)
    if not found:
        monkeypatch.setattr(os, "readlink", lambda path: "/gone")
    with pytest.raises(OSError, match="run directory") as caught:
        runs.train(trained.config, workdir, quiet=True)
    assert type(caught.value).__name__ == "RunMoved"
    assert str(workdir) in str(caught.value)
    if found:
        assert f"was moved to {moved} while" in str(caught.value)
        assert f"of step 8. Fix: the same command with --workdir={moved} continues" in str(caught.value)
    else:
        assert "it is not known where it is" in str(caught.value)
    assert not workdir.exists()
    assert find_checkpoint(moved).step == 8

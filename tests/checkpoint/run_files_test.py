"""The files of a run beside its checkpoints: whatever happens to them is found, and growing is no damage."""

import json
import shutil
from pathlib import Path

import pytest

from aila_jax import runs
from aila_jax.checkpoint import find_checkpoint, verify_run
from aila_jax.checkpoint.manifest import FileEntry
from aila_jax.checkpoint.run_files import FILES, Known
from tests.support.tiny import Trained

NAMES = ("config.json", "run.json", "metrics.jsonl", "tensorboard")


@pytest.fixture
def copied(trained: Trained, tmp_path: Path) -> Path:
    return shutil.copytree(trained.run.workdir, tmp_path / "copy")


def file_of(run: Path, name: str) -> Path:
    return run / name if name != "tensorboard" else next((run / name).iterdir())


def damaged(run: Path) -> list[Path]:
    return [one.folder for one in verify_run(run) if one.damaged]


@pytest.mark.parametrize("how", ["flipped", "cut", "zeroed", "gone", "link", "folder"])
@pytest.mark.parametrize("name", NAMES)
def test_damage_is_found(copied, tmp_path, name, how):
    assert damaged(copied) == []
    path = file_of(copied, name)
    content = path.read_bytes()
    if how == "flipped":
        at = len(content) // 2
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    elif how == "cut":
        path.write_bytes(content[:-1])
    elif how == "zeroed":
        path.write_bytes(bytes(len(content)))
    else:
        path.unlink()
    if how == "link":
        (tmp_path / "same").write_bytes(content)
        path.symlink_to(tmp_path / "same")
    if how == "folder":
        path.mkdir()
    assert damaged(copied) == [path]


@pytest.mark.parametrize("name", NAMES)
def test_logs_grow_and_settings_do_not(copied, name):
    with file_of(copied, name).open("ab") as file:
        file.write(b"\n")
    assert damaged(copied) == ([] if name in ("metrics.jsonl", "tensorboard") else [file_of(copied, name)])


def test_a_run_that_goes_on_keeps_what_was_known(trained, copied):
    """Damage from before is still found after more steps, and the files of both parts are known."""
    before = find_checkpoint(copied).files
    shutil.rmtree(copied / "checkpoints" / "24")
    run = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps({**run, "seed": 9}))
    runs.train(trained.config, copied, quiet=True)
    after = find_checkpoint(copied).files
    assert find_checkpoint(copied).step == 24
    assert after.entries["run.json"] == before.entries["run.json"]
    assert len(after.entries) == len(before.entries) + 1  # another file for TensorBoard
    assert damaged(copied) == [copied / "run.json"]


def test_what_is_known_is_on_disk_before_the_checkpoint_has_its_name(trained, tmp_path, monkeypatch):
    import os

    events: list[str] = []
    fsync, rename = os.fsync, os.rename
    monkeypatch.setattr(
        os, "fsync", lambda fd: (events.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd))[1]
    )
    monkeypatch.setattr(
        os, "rename", lambda old, new: (events.append(f"named {Path(new).name}"), rename(old, new))[1]
    )
    run = tmp_path / "run"
    runs.train(trained.config, run, quiet=True)
    for step in ("8", "16", "24"):
        since = events[: events.index(f"named {step}")]
        if "named 8" in since:
            since = since[len(since) - since[::-1].index("named 8") :]
        assert {str(run / "metrics.jsonl"), str(file_of(run, "tensorboard"))} <= set(since)


@pytest.mark.parametrize("name", [
    "../precious", "/etc/passwd", "tensorboard/../../precious", "tensorboard/", "tensorboard/..", "checkpoints/24/x",
    "tensorboard/a\\b", "tensorboard/\x1b[2J", "tensorboard/" + "a" * 300,
])  # fmt: skip
def test_a_record_names_no_file_elsewhere(name):
    with pytest.raises(ValueError, match="which no version wrote"):
        Known.from_meta({FILES: {name: {"size": 1, "sha256": "0"}}})


@pytest.mark.parametrize(
    "value", [None, 3, {}, {"size": 1}, {"size": "1", "sha256": ""}, {"size": True, "sha256": "0"}]
)
def test_an_entry_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match=r"no version wrote|must be an? .*object"):
        Known.from_meta({FILES: {"run.json": value}})


def test_meta_and_back():
    known = Known({"run.json": FileEntry(3, "ab"), "tensorboard/x": FileEntry(0, "")})
    assert Known.from_meta(json.loads(json.dumps(known.to_meta()))) == known
    assert Known.from_meta({}) == Known()


def test_a_folder_that_is_a_link_is_damage(copied, tmp_path):
    (copied / "tensorboard").rename(tmp_path / "elsewhere")
    (copied / "tensorboard").symlink_to(tmp_path / "elsewhere")
    assert damaged(copied) == [file_of(copied, "tensorboard")]

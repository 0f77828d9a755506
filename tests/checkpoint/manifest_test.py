"""Tests of format 2: every edit of a checkpoint shows, with a key that of somebody who covers it up too."""

import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest

import aila_jax as aila
from aila_jax.checkpoint import CheckpointStore, Record, find_checkpoint, verify_run
from aila_jax.checkpoint.manifest import (
    KEY_VARIABLE,
    NAME,
    read_manifest,
)
from aila_jax.model.transformer import build_transformer
from aila_jax.runs import initial_state
from aila_jax.training.optimizer import build_optimizer
from tests.runs.golden_test import training_state
from tests.support.checkpoints import GOLDEN, KEY, edit, reseal, step_folder
from tests.support.tiny import Trained


@pytest.fixture
def copied(trained: Trained, tmp_path: Path) -> Path:
    return shutil.copytree(trained.run.workdir, tmp_path / "copy")


EDITS = {
    "margin": lambda stored: stored["config"]["model"]["margin"].update(nats=99.0),
    "cap": lambda stored: stored["config"]["model"].update(score_cap=1.0),
    "position": lambda stored: stored["data"]["position"]["grain"].update(next_index=3),
    "fingerprint": lambda stored: stored["data"].update(fingerprint="0" * 64),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_of_the_record_in_valid_json_is_damage(copied, name):
    folder = step_folder(copied)
    edit(folder / "record" / "metadata", EDITS[name])
    with pytest.raises(ValueError, match=r"24: its record cannot be used.*--checkpoint=.*16, or --fallback"):
        aila.load(copied)
    reseal(folder)  # and so is one that is covered up: the mark in the arrays is of another record
    with pytest.raises(ValueError, match="mark in the arrays"):
        aila.load(copied)


def test_an_edit_of_the_anchors_is_damage(tmp_path):
    """Format 1 takes it, which is why there is format 2."""
    old = shutil.copytree(GOLDEN, tmp_path / "old")
    edit(step_folder(old) / "record" / "metadata", lambda stored: stored["anchors"].update(k=1))
    assert aila.load(old).need_anchors().k == 1


def test_a_manifest_that_was_removed_is_damage_and_no_older_format(copied):
    folder = step_folder(copied)
    (folder / NAME).unlink()
    with pytest.raises(ValueError, match=f"{NAME} is missing"):
        aila.load(copied)
    edit(folder / "record" / "metadata", lambda stored: stored.update(format=1))
    with pytest.raises(ValueError, match=f"{NAME} is missing"):
        aila.load(copied)


@pytest.mark.parametrize("change", [
    lambda stored: stored["manifest"].update(step=25),
    lambda stored: stored["manifest"]["files"].popitem(),
    lambda stored: stored["manifest"].update(base="0" * 64),
    lambda stored: stored.update(sha256="0" * 64),
    lambda stored: stored.pop("manifest"),
    lambda stored: stored["manifest"].update(files=[1]),
    lambda stored: stored["manifest"].update(more=1),
])  # fmt: skip
def test_an_edit_of_the_manifest_is_damage(copied, change):
    edit(step_folder(copied) / NAME, change)
    with pytest.raises(ValueError, match=f"the files are damaged.*{NAME}"):
        aila.load(copied)


def test_a_folder_with_the_name_of_another_step_is_damage(copied, trained):
    step_folder(copied).rename(step_folder(copied, 30))
    with pytest.raises(ValueError, match="the folder is named 30, but holds step 24"):
        aila.load(copied)
    old = shutil.copytree(GOLDEN, copied / "old")
    step_folder(old).rename(step_folder(old, 30))
    with pytest.raises(
        ValueError, match=r"its state is of step 24, so the folder was renamed\. Fix: rename it to 24"
    ):
        training_state(old, 30)


def test_files_that_come_go_or_are_links_are_damage(copied):
    folder = step_folder(copied)
    (folder / "more").write_text("x")
    with pytest.raises(ValueError, match="more was not saved with it"):
        aila.load(copied)
    (folder / "more").unlink()
    found = next(path for path in (folder / "state").rglob("*") if path.is_file() and path.stat().st_size)
    shutil.copy(found, copied / "kept")
    found.unlink()
    with pytest.raises(ValueError, match="is missing"):
        aila.load(copied)
    found.symlink_to(copied / "kept")
    with pytest.raises(ValueError, match="is a link"):
        aila.load(copied)


def test_every_file_is_verified_on_request_and_the_newest_whole_step_taken(copied, capsys):
    assert [found.state for found in verify_run(copied)] == ["verified"] * 6  # two steps, and four files
    state = max(
        (step_folder(copied) / "state").rglob("*"), key=lambda path: path.stat().st_size * path.is_file()
    )
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(bytes(content))
    first, second, *files = verify_run(copied)
    assert (first.state, second.state) == ("verified", "damaged")
    assert state.name in second.detail
    assert all(one.detail == "as step 16 knows it" and not one.damaged for one in files)
    capsys.readouterr()
    assert find_checkpoint(copied, fallback=True).step == 16
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "step 16 is used instead" in said[1]
    assert find_checkpoint(copied).step == 24  # loads: the parameters are whole, and are verified when read


def test_format_1_is_said_to_be_unverified():
    assert {found.state for found in verify_run(GOLDEN)} == {"not verified"}
    assert verify_run(GOLDEN)[0].detail.startswith("format 1")
    assert find_checkpoint(GOLDEN).manifest is None


def test_with_a_key_a_covered_up_edit_shows(trained, tmp_path, monkeypatch):
    """Somebody without the key writes a whole checkpoint of other weights, manifest, mark and all."""
    key_file = tmp_path / "key"
    key_file.write_bytes(KEY + b"\n")
    found = find_checkpoint(trained.run.workdir)
    state = found.state(_template(trained))
    monkeypatch.setenv(KEY_VARIABLE, str(key_file))
    with CheckpointStore(tmp_path / "mine", keep=1) as store:
        store.save(24, state, found.record)
    monkeypatch.delenv(KEY_VARIABLE)
    with CheckpointStore(tmp_path / "theirs", keep=1) as store:
        store.save(24, state, replace(found.record, data={"name": "other"}))
    other = tmp_path / "other"
    other.write_bytes(KEY[::-1])
    assert verify_run(tmp_path / "mine", key_file)[0].detail.endswith("signed with the key")
    assert verify_run(tmp_path / "mine")[0].state == "verified"  # readable without the key
    assert "not of this key" in verify_run(tmp_path / "mine", other)[0].detail
    assert "not signed" in verify_run(tmp_path / "theirs", key_file)[0].detail
    reseal(step_folder(tmp_path / "mine"), KEY[::-1])
    monkeypatch.setenv(KEY_VARIABLE, str(key_file))
    for run in ("mine", "theirs"):
        with pytest.raises(ValueError, match=r"its record cannot be used.*(not signed|not of this key)"):
            aila.load(tmp_path / run)
    with pytest.raises(ValueError, match="format 1, which is not signed"):
        aila.load(GOLDEN)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "it cannot be read"), (b"short\n", "holds 5 bytes; it must")]
)
def test_a_key_that_cannot_be_used_is_refused_before_training(tmp_path, monkeypatch, content, message):
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "key"))
    with pytest.raises(ValueError, match=message):
        CheckpointStore(tmp_path / "run", keep=1)


def test_the_manifest_names_every_file_and_comes_last(trained, tmp_path, monkeypatch):
    folder = step_folder(trained.run.workdir)
    manifest = read_manifest(folder)
    assert manifest is not None
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert set(manifest.files) == there - {NAME}
    assert (manifest.step, manifest.run, manifest.base) == (24, "run", None)
    # Where earlier versions look, so that they say which format it is.
    assert json.loads((folder / "record" / "metadata").read_text())["format"] == 2
    assert json.loads((folder / NAME).read_text())["manifest"] == asdict(manifest)
    # Everything is flushed before the folder has its name.
    events = []
    real_fsync, real_rename = os.fsync, os.rename
    monkeypatch.setattr(
        os, "fsync", lambda fd: (events.append(os.readlink(f"/proc/self/fd/{fd}")), real_fsync(fd))[1]
    )
    monkeypatch.setattr(os, "rename", lambda a, b: (events.append(f"rename {b}"), real_rename(a, b))[1])
    state = find_checkpoint(trained.run.workdir).state(_template(trained))
    with CheckpointStore(tmp_path, keep=1) as store:
        store.save(24, state, Record.of(trained.config, trained.model.tokenizer, {}, {}))
    done = events.index(f"rename {tmp_path / 'checkpoints' / '24'}")
    flushed = {os.path.relpath(name, tmp_path / "checkpoints" / "24.unfinished") for name in events[:done]}
    made = read_manifest(tmp_path / "checkpoints" / "24")
    assert made is not None
    assert {*made.files, NAME, "record", "."} <= flushed
    assert events[done + 1] == str(tmp_path / "checkpoints")


def _template(trained: Trained):
    module = build_transformer(trained.config, trained.model.tokenizer.vocab_size)
    return initial_state(trained.config, module, build_optimizer(trained.config.train))


def test_the_mark_stands_in_the_arrays(trained):
    folder = step_folder(trained.run.workdir)
    manifest = read_manifest(folder)
    with ocp.StandardCheckpointer() as checkpointer:
        mark = checkpointer.restore(folder / "params")["aila_checkpoint"]
    assert mark[0] == 2
    assert manifest is not None
    assert np.asarray(mark[1:], np.int32).astype(">i4").tobytes().hex() == manifest.mark

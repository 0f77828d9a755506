"""Tests of saving: a save that fails is told in one line and loses nothing, and good ones do not go for bad
ones.
"""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
import pytest

import aila_jax as aila
from aila_jax.checkpoint import CheckpointStore, Record, SaveError, find_checkpoint, verify_run, whole_steps
from aila_jax.checkpoint.store import not_finite
from aila_jax.config import TrainConfig, to_dict
from aila_jax.model.transformer import build_transformer
from aila_jax.runs import NonFiniteError, initial_state
from aila_jax.training.optimizer import build_optimizer
from tests.support.tiny import Trained, make_config, write_corpus

FULL = [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    ValueError("UNKNOWN: Error writing file: [OS error 28: No space left on device]\nmany\nlines"),
]


@pytest.fixture
def record(trained: Trained) -> Record:
    return Record.of(trained.config, trained.model.tokenizer, {}, {})


@pytest.fixture(scope="module")
def state(trained: Trained):
    module = build_transformer(trained.config, trained.model.tokenizer.vocab_size)
    return initial_state(trained.config, module, build_optimizer(trained.config.train))


def at(state, step: int):
    return state.replace(step=jnp.int32(step))


@pytest.mark.parametrize("error", FULL, ids=["OSError", "ValueError"])
def test_a_full_disk_is_told_in_one_line_and_what_was_saved_stays(
    tmp_path, monkeypatch, state, record, error
):
    def fail(*_, **__):
        raise error

    with CheckpointStore(tmp_path / "run", keep=2) as store:
        with monkeypatch.context() as patch:
            patch.setattr(ocp.StandardCheckpointer, "save", fail)
            with pytest.raises(SaveError) as first:
                store.save(4, at(state, 4), record)
        store.save(8, at(state, 8), record)
        with monkeypatch.context() as patch:
            patch.setattr(ocp.StandardCheckpointer, "save", fail)
            with pytest.raises(SaveError) as second:
                store.save(12, at(state, 12), record)
        place = tmp_path / "run" / "checkpoints"
        assert str(first.value) == (
            f"the checkpoint of step 4 was not saved in {place}: No space left on device; no other is there. "
            "Fix: make room, then run the same command, which begins again"
        )
        assert str(second.value) == (
            f"the checkpoint of step 12 was not saved in {place}: No space left on device; step 8 is intact there. "
            "Fix: make room, then run the same command, which goes on from step 8"
        )
        assert [entry.name for entry in place.iterdir()] == ["8"]
        store.save(12, at(state, 12), record)
    assert find_checkpoint(tmp_path / "run").step == 12


def test_what_a_save_left_that_was_cut_off_is_removed(tmp_path, state, record):
    place = tmp_path / "run" / "checkpoints"
    (place / "4.unfinished" / "params").mkdir(parents=True)
    (place / "8.orbax-checkpoint-tmp-1").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (place / "9.unfinished").symlink_to(tmp_path / "elsewhere")
    with CheckpointStore(tmp_path / "run", keep=2) as store:
        assert list(place.iterdir()) == []
        store.save(4, at(state, 4), record)
    assert (tmp_path / "elsewhere").is_dir()
    assert whole_steps(place) == [4]


@pytest.mark.parametrize("part", ["params", "opt_state", "importance"])
def test_numbers_that_are_not_finite_are_not_saved(tmp_path, state, record, part):
    bad = {
        "params": {**state.params, "embedding": state.params["embedding"].at[0, 0].set(jnp.inf)},
        "opt_state": jax.tree.map(
            lambda leaf: leaf * jnp.nan if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf, state.opt_state
        ),
        "importance": jnp.full((2, 2), jnp.nan),
    }
    with CheckpointStore(tmp_path, keep=1) as store:
        store.save(1, at(state, 1), record)
        with pytest.raises(
            SaveError, match=r"of step 2 was not saved .* not finite; step 1 is intact there\. Fix"
        ):
            store.save(2, at(state.replace(**{part: bad[part]}), 2), record)
        assert whole_steps(tmp_path / "checkpoints") == [1]
        store.save(4, at(state, 4), record)
        assert whole_steps(tmp_path / "checkpoints") == [4]


def test_the_newest_the_best_and_every_kth_stay(tmp_path, state, record):
    place = tmp_path / "checkpoints"
    with CheckpointStore(tmp_path, keep=2, keep_every=4) as store:
        for step in range(1, 11):
            store.save(step, at(state, step), record, best=3 if step >= 3 else None)
            assert {step, step - 1} - {0} <= set(
                whole_steps(place)
            )  # what a run goes on from, and one before
    assert whole_steps(place) == [3, 4, 8, 9, 10]
    with CheckpointStore(tmp_path, keep=1) as store:
        store.save(11, at(state, 11), record)
    assert whole_steps(place) == [11]


def test_numbers_of_every_precision_are_looked_at():
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32):
        assert not_finite({"params": {"a": jnp.ones(2, dtype), "n": jnp.ones(2, jnp.int32)}}) is None
        assert (
            not_finite({"params": {"b": jnp.ones(2)}, "state": {"a": jnp.array([1.0, jnp.inf], dtype)}})
            == "state/a"
        )


def test_a_removal_that_is_cut_off_leaves_no_half_of_a_checkpoint(tmp_path, monkeypatch, state, record):
    def cut(*_, **__):
        raise KeyboardInterrupt

    place = tmp_path / "checkpoints"
    with CheckpointStore(tmp_path, keep=1) as store:
        store.save(1, at(state, 1), record)
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "rmtree", cut)
            with pytest.raises(KeyboardInterrupt):
                store.save(2, at(state, 2), record)
    assert [found.state for found in verify_run(tmp_path)] == ["verified"]
    assert (whole_steps(place), (place / "1.unfinished").is_dir()) == ([2], True)
    with CheckpointStore(tmp_path, keep=1):
        assert [entry.name for entry in place.iterdir()] == ["2"]


def test_a_checkpoints_folder_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"checkpoints is a link; it must be a folder of its own\. Fix: "):
        CheckpointStore(tmp_path / "run", keep=1)


def test_a_learning_rate_beyond_float32_is_refused():
    with pytest.raises(
        ValueError, match=r"train.learning_rate is 1e\+300; it must be at most 3.40282e\+38.*Fix: "
    ):
        TrainConfig(learning_rate=1e300)


def test_a_learning_rate_at_the_end_of_float32_leaves_the_last_good_weights(tmp_path):
    config = make_config(
        write_corpus(tmp_path / "text"),
        learning_rate=1e38,
        clip_norm=1e30,
        warmup_steps=0,
        checkpoint_every=1,
        max_skipped=5,
    )
    with pytest.raises(
        NonFiniteError,
        match=r"first at step \d, in .*discarded\. Fix: lower train.learning_rate",
    ):
        aila.train(config, tmp_path / "run", quiet=True)
    found = find_checkpoint(tmp_path / "run")
    assert not_finite({"params": aila.load(tmp_path / "run").params}) is None
    assert found.step >= 1


@pytest.mark.medium
def test_a_disk_that_is_full_indeed(tmp_path):
    """A file system of so few bytes that the third checkpoint does not fit."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1200k", "none", str(disk)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.decode().strip()}")
    try:
        config = make_config(write_corpus(tmp_path / "text"), checkpoint_every=4, keep=20)
        code = (
            "import sys, aila_jax as aila\n"
            "from aila_jax.cli.main import explained\n"
            "from aila_jax.config import from_dict, Config\n"
            "import json\n"
            f"config = from_dict(Config, json.load(open({str(tmp_path / 'config.json')!r})))\n"
            f"sys.exit(explained(lambda: aila.train(config, {str(disk / 'run')!r}, quiet=True) and 0))\n"
        )
        (tmp_path / "config.json").write_text(json.dumps(to_dict(config)))
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
            check=False,
        )
        said = [line for line in done.stderr.splitlines() if line.strip()]
        assert done.returncode == 1, done.stderr[-2000:]
        assert len(said) == 1, done.stderr[-2000:]
        assert "No space left on device" in said[0]
        assert "is intact there" in said[0]
        shutil.copytree(disk / "run", tmp_path / "run")
        assert aila.load(tmp_path / "run").step >= 4
    finally:
        subprocess.run(["umount", str(disk)], check=True)

"""The checkpoint of the lowest validation loss, and a run that ends early, with losses that are written
down."""

import math
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import aila_jax as aila
from aila_jax import runs
from aila_jax.checkpoint import find_checkpoint, whole_steps
from aila_jax.cli.main import main
from aila_jax.data.pipeline import TrainBatches
from aila_jax.reporting import read_training_log
from aila_jax.runs import _train as training_run
from aila_jax.runs import setup
from aila_jax.training.stopping import TrainingStopped
from tests.support.checkpoints import edit, reseal
from tests.support.tiny import Trained, make_config, write_corpus

# Means over λ = 0 and 1; patience of three ends the run at step 10, and step 4 was the best.
LOSSES = {2: 5.0, 4: 3.0, 6: 3.5, 8: 3.0, 10: math.nan, 12: 1.0}
OTHER = dict.fromkeys(("tau", "perplexity", "accuracy", "entropy_bits", "block_mass"), 1.0)


@pytest.fixture(scope="module")
def scripted(trained):
    """After `trained`, which is trained as it is: evaluations that find `LOSSES`, and, as targets, how many
    batches they read.
    """
    with pytest.MonkeyPatch.context() as patch:
        real, steps = training_run._measure, []

        def measure(measured, log, watch, save, step, state):
            steps.append(step)
            real(measured, log, watch, save, step, state)

        def record(config, network, params, batches, sharding, lam):
            return {
                "lam": lam,
                "loss": LOSSES[steps[-1]] + (0.5 if lam else -0.5),
                "targets": len(batches),
                **OTHER,
            }

        patch.setattr(training_run, "_measure", measure)
        patch.setattr(setup, "eval_record", record)
        yield


@pytest.fixture(scope="module")
def watched(scripted, tmp_path_factory):
    """Configuration and directory of a run that ended early; nobody may change its files."""
    folder = tmp_path_factory.mktemp("watched")
    train = {
        "eval_every": 2,
        "checkpoint_every": 4,
        "keep": 1,
        "keep_best": True,
        "patience": 3,
        "log_every": 4,
    }
    config = make_config(write_corpus(folder / "text"), **train)
    run = runs.train(config, folder / "run", quiet=True)
    assert (run.step, run.began) == (10, 0)
    return config, folder / "run"


def without_times(workdir):
    return [{k: v for k, v in one.items() if k != "tokens_per_second"} for one in read_training_log(workdir)]


def test_it_ends_after_evaluations_without_a_lower_loss_and_keeps_the_best(watched):
    _, workdir = watched
    assert whole_steps(workdir / "checkpoints") == [4, 10]
    assert aila.load(workdir).step == 10
    best = aila.load(workdir, step="best")
    assert best.step == 4
    assert find_checkpoint(workdir, "best").seen.loss == 3.0
    logged = without_times(workdir)
    evaluated = [
        (one["step"], one["targets"]) for one in logged if one["kind"] == "eval" and one["lam"] == 0.0
    ]
    assert [step for step, _ in evaluated] == [2, 4, 6, 8, 10]
    assert {count for _, count in evaluated[:-1]} == {2}
    assert evaluated[-1][1] > 2  # after the last step, early or not, the log has the whole split
    assert [one["step"] for one in logged if one["kind"] == "train"] == [4, 8, 10]


def test_a_run_that_was_killed_ends_at_the_same_step_with_the_same_bits(
    watched, tmp_path, monkeypatch, capsys
):
    config, whole = watched
    real, drawn = TrainBatches.__next__, []

    def next_batch(self):
        drawn.append(1)
        if len(drawn) == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self)

    with monkeypatch.context() as patch:
        patch.setattr(TrainBatches, "__next__", next_batch)
        with pytest.raises(TrainingStopped):
            runs.train(config, tmp_path / "run", quiet=True)
    assert whole_steps(tmp_path / "run" / "checkpoints") == [4, 7]
    assert runs.train(config, tmp_path / "run").step == 10
    said = capsys.readouterr().out
    assert "stopped  early after step 10: no validation loss was lower than 3.0000 in 3 evaluations" in said
    assert "best     step 4, validation loss 3.0000" in said
    assert whole_steps(tmp_path / "run" / "checkpoints") == [4, 10]
    for step in (4, 10):
        models = [aila.load(path, step=step) for path in (whole, tmp_path / "run")]
        for old, new in zip(*(jax.tree.leaves(model.params) for model in models), strict=True):
            np.testing.assert_array_equal(old, new)
    assert without_times(tmp_path / "run") == without_times(whole)


def test_asked_for_again_it_is_finished(watched, capsys, no_work, monkeypatch):
    config, workdir = watched
    monkeypatch.undo()
    with monkeypatch.context() as patch:
        patch.setattr(training_run, "fit", lambda *_, **__: pytest.fail("training began again"))
        run = runs.train(config, workdir)
    assert (run.step, run.began) == (10, 10)
    assert "is already finished: step 10 of 24, stopped early: no validation loss" in capsys.readouterr().out


def test_the_command_takes_the_best(watched, monkeypatch, capsys):
    _, workdir = watched
    opened = []
    monkeypatch.setattr(runs, "evaluate_cell", lambda run, options: opened.append(run.model.step) or 1 / 0)
    for flag in ("--step=best", "--step=10", "--fallback"):
        with pytest.raises(ZeroDivisionError):
            main(["evaluate", f"--checkpoint={workdir}", flag])
    assert opened == [4, 10, 10]
    assert main(["evaluate", f"--checkpoint={workdir}", "--step=bset"]) == 2
    assert "--step is 'bset'; it must be the number of a step, or best" in capsys.readouterr().err
    assert main(["evaluate", f"--checkpoint={workdir}", "--step=8"]) == 2
    assert "step is 8" in capsys.readouterr().err


def test_a_best_that_is_not_there_is_told_of(watched, trained: Trained, tmp_path):
    with pytest.raises(
        ValueError, match=r"step is 'best'; it must be left out: the run in .* keeps no best checkpoint"
    ):
        aila.load(trained.run.workdir, step="best")
    copy = Path(shutil.copytree(watched[1], tmp_path / "run"))
    shutil.rmtree(copy / "checkpoints" / "4")
    with pytest.raises(ValueError, match=r"step 4 was the best, and steps \[10\] are there.*restore step 4"):
        aila.load(copy, step="best")
    place = copy / "checkpoints" / "10"
    edit(place / "record" / "metadata", lambda record: record["meta"]["best"].update(step=None, loss=None))
    reseal(place)
    with pytest.raises(
        ValueError, match=r"it must be left out: that run has had no finite validation loss yet"
    ):
        aila.load(copy, step="best")


@pytest.mark.parametrize("seen", [5, {"step": 4}, {"step": "4", "loss": 1.0, "reference": 1.0, "waited": 0}])
def test_what_was_seen_is_checked(watched, tmp_path, seen):
    copy = Path(shutil.copytree(watched[1], tmp_path / "run"))
    place = copy / "checkpoints" / "10"
    edit(place / "record" / "metadata", lambda record: record["meta"].update(best=seen))
    reseal(place)
    with pytest.raises(
        ValueError, match=r"its record's best is .*; it must hold step, loss, reference, waited"
    ):
        aila.load(copy)


def test_off_no_checkpoint_mentions_it_and_an_old_configuration_means_off(trained):
    assert "best" not in find_checkpoint(trained.run.workdir).record.meta
    assert not trained.config.train.keep_best
    assert replace(trained.config.train, keep_best=False, patience=0, min_delta=0.0) == trained.config.train

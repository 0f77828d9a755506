"""Tests of the composition root: what a run leaves behind, how it continues, and what it refuses before any
work.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax import runs
from aila_jax.checkpoint import find_checkpoint
from aila_jax.config import SettingsConflict, SweepConfig, TrainConfig, to_dict
from aila_jax.data.pipeline import TrainBatches
from aila_jax.model.transformer import Transformer
from aila_jax.reporting import read_training_log
from aila_jax.runs import _train as training_run
from aila_jax.runs import setup as starting
from aila_jax.runs.workdir import existing_run, locked
from aila_jax.training import loop, sharding
from aila_jax.training.loop import NonFiniteError
from aila_jax.training.optimizer import build_optimizer
from aila_jax.training.stopping import TrainingStopped
from tests.support.tiny import write_corpus


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def log_without_times(workdir):
    """The records of a run's log without what depends on the clock."""
    return [
        {name: value for name, value in record.items() if name != "tokens_per_second"}
        for record in read_training_log(workdir)
    ]


def newest_state(workdir, config, tokenizer):
    template = runs.initial_state(
        config, Transformer(config.model, tokenizer.vocab_size), build_optimizer(config.train)
    )
    return find_checkpoint(workdir).state(template)


def test_a_run_leaves_what_made_it(trained):
    workdir = trained.run.workdir
    assert trained.run.step == 24
    assert json.loads((workdir / "config.json").read_text()) == json.loads(
        json.dumps(to_dict(trained.config))
    )
    record = json.loads((workdir / "run.json").read_text())
    assert record["seed"] == 0
    assert record["data"] == {"name": "text", "fingerprint": trained.dataset.fingerprint}
    assert {"python", "jax", "flax", "optax", "numpy"} <= set(record["versions"])
    assert re.fullmatch(r"unknown|[0-9a-f]{40}(-dirty)?", record["commit"])
    assert record["device"] == "1 × cpu (cpu)"
    assert list((workdir / "tensorboard").glob("events*"))


def test_its_log_has_every_record(trained):
    records = read_training_log(trained.run.workdir)
    assert [record["step"] for record in records if record["kind"] == "train"] == [5, 10, 15, 20, 24]
    evals = [
        (record["step"], record["lam"], record["targets"]) for record in records if record["kind"] == "eval"
    ]
    whole = len(trained.dataset.splits["validation"].tokens) - 1
    assert evals == [
        (12, 0.0, 251),
        (12, 1.0, 251),
        (24, 0.0, whole),
        (24, 1.0, whole),
    ]  # 2 batches, then all
    losses = [record["loss"] for record in records if record["kind"] == "train"]
    assert losses[-1] < losses[0] - 1
    assert all(record["skipped"] == 0 for record in records if record["kind"] == "train")
    last = records[-1]
    cell = runs.evaluate(str(trained.run.workdir), lam=1.0, quiet=True)
    assert last["perplexity"] == pytest.approx(np.exp(last["loss"]))
    for name in ("loss", "accuracy", "entropy_bits", "block_mass"):
        assert last[name] == pytest.approx(getattr(cell, name), rel=1e-5)


def test_another_configuration_is_refused_before_any_work_and_what_differs_is_named(trained, no_work):
    before = files(trained.run.workdir)
    config = replace(
        trained.config,
        seed=3,
        train=replace(trained.config.train, steps=48),
        model=replace(trained.config.model, film=False),
    )
    with pytest.raises(ValueError, match="it holds a run with another configuration") as caught:
        runs.train(config, trained.run.workdir, quiet=True)
    first, *table, fix = str(caught.value).splitlines()
    assert first == f"workdir is {str(trained.run.workdir)!r}; it holds a run with another configuration:"
    assert table == [
        "  setting      there  asked",
        "  model.film   True   False",
        "  seed         0      3",
        "  train.steps  24     48",
    ]
    assert fix == "Fix: choose another --workdir, or ask for what is there"
    assert files(trained.run.workdir) == before


def test_a_corpus_that_has_moved_is_the_same_configuration(trained):
    """What was moved is read where it is now; that it is the same text its fingerprint says."""
    data = replace(trained.config.data, cache_dir="there", files=("moved.txt",))
    assert existing_run(Path(trained.run.workdir), replace(trained.config, data=data)).step == 24
    with pytest.raises(ValueError, match=r"another configuration:\n.*\n  data\.vocab_size  300    301\n"):
        existing_run(Path(trained.run.workdir), replace(trained.config, data=replace(data, vocab_size=301)))


@pytest.mark.parametrize("below", ["file", "file/run"])
def test_an_output_below_a_file_is_refused_before_any_work(trained, no_work, tmp_path, below):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ValueError, match=re.escape(f"output folder is {str(tmp_path / below)!r}; it cannot be made")
    ) as caught:
        runs.train(trained.config, tmp_path / below, quiet=True)
    assert "Fix: choose another folder" in str(caught.value)
    with pytest.raises(ValueError, match="output folder is"):
        runs.sweep(str(trained.run.workdir), out=str(tmp_path / below), quiet=True)


def test_checkpoints_without_a_configuration_are_not_taken_over(trained, no_work, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(
        ValueError, match=r"workdir is .*; it must be empty or a run directory. Fix: choose another --workdir"
    ):
        runs.train(trained.config, tmp_path, quiet=True)


def test_the_name_of_a_preset_is_no_configuration(unchecked_shapes, tmp_path):
    with pytest.raises(
        ValueError, match=r"config is 'tiny'; it must be an aila\.Config\. Fix: aila\.presets\.tiny\(\)"
    ):
        runs.train("tiny", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"modle": {}}'])
def test_a_configuration_file_that_cannot_be_read_is_refused(trained, no_work, tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json.*Fix: "):
        runs.train(trained.config, tmp_path, quiet=True)


def test_a_finished_run_asked_for_again_changes_nothing(trained, tmp_path, capsys):
    copy = Path(shutil.copytree(trained.run.workdir, tmp_path / "run"))
    before = (
        files(copy / "checkpoints"),
        (copy / "metrics.jsonl").read_bytes(),
        (copy / "config.json").read_bytes(),
    )
    assert runs.train(trained.config, copy).step == 24
    assert (
        files(copy / "checkpoints"),
        (copy / "metrics.jsonl").read_bytes(),
        (copy / "config.json").read_bytes(),
    ) == before
    assert capsys.readouterr().out == f"{copy} is already finished: step 24 of 24\n"


def test_a_conflict_is_a_short_table(trained):
    """With long values cut and many lines counted."""
    data = replace(trained.config.data, tfds_name="", valid_fraction=0.1, test_fraction=0.2)
    sweep = SweepConfig(lams=tuple(n / 100 for n in range(100)), split="test", max_batches=3)
    train = TrainConfig(steps=1, batch_size=2, warmup_steps=0, log_every=1, eval_every=1, checkpoint_every=1)
    model = replace(trained.config.model, d_model=8, d_ff=4)
    config = replace(trained.config, data=data, sweep=sweep, train=train, model=model)
    with pytest.raises(SettingsConflict) as caught:
        existing_run(Path(trained.run.workdir), config)
    lines = str(caught.value).splitlines()
    assert len(lines) <= 16
    assert max(map(len, lines[1:])) <= 110
    assert re.fullmatch(r"  … and \d+ more", lines[-2])
    assert len(caught.value.differences) > 12


class Interrupted(Exception):
    """A crash in the middle of a run."""


def stop_after(monkeypatch, last):
    """Crashes `fit` once the metrics of step `last` were logged."""
    real = training_run.fit

    def fit(state, *, on_metrics, **options):
        def crash(step, metrics):
            on_metrics(step, metrics)
            if step == last:
                raise Interrupted

        return real(state, on_metrics=crash, **options)

    monkeypatch.setattr(training_run, "fit", fit)


@pytest.mark.medium
def test_a_run_that_crashed_continues_to_the_same_bits(trained, tmp_path, monkeypatch):
    """With dropout, conditional λ and microbatches; the crash and the edge of the epoch lie between
    checkpoint and end.
    """
    assert (
        trained.config.model.dropout > 0
        and trained.config.train.accumulate > 1
        and trained.config.locality.mode == "conditional"
    )
    assert 16 < len(trained.dataset.windows("train", 16, False)) / trained.config.train.batch_size < 24
    with monkeypatch.context() as patch:
        stop_after(patch, 12)  # after the checkpoint at step 8, before the one at 16
        with pytest.raises(Interrupted):
            runs.train(trained.config, tmp_path / "run", quiet=True)
    assert find_checkpoint(tmp_path / "run").step == 8
    assert (
        max(record["step"] for record in read_training_log(tmp_path / "run")) > 8
    )  # the log ran ahead of its checkpoint
    drawn = []
    real = TrainBatches.__next__
    with monkeypatch.context() as patch:
        patch.setattr(TrainBatches, "__next__", lambda self: (drawn.append(1), real(self))[1])
        assert runs.train(trained.config, tmp_path / "run", quiet=True).step == 24
    assert len(drawn) == 16
    for expected, found in zip(
        *(
            jax.tree.leaves(newest_state(place, trained.config, trained.model.tokenizer))
            for place in (trained.run.workdir, tmp_path / "run")
        ),
        strict=True,
    ):
        assert np.asarray(expected).tobytes() == np.asarray(found).tobytes()
    # Step 8, where it went on, lies between the records of steps 5 and 10.
    assert log_without_times(tmp_path / "run") == log_without_times(trained.run.workdir)


def test_a_run_that_was_asked_to_stop_saves_and_continues_to_the_same_bits(trained, tmp_path, monkeypatch):
    real = TrainBatches.__next__
    drawn = []

    def next_batch(self):
        drawn.append(1)
        if len(drawn) == 13:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self)

    monkeypatch.setattr(TrainBatches, "__next__", next_batch)
    with pytest.raises(TrainingStopped):
        runs.train(trained.config, tmp_path / "run", quiet=True)
    assert find_checkpoint(tmp_path / "run").step == 13
    runs.train(trained.config, tmp_path / "run", quiet=True)
    assert len(drawn) == 24
    assert log_without_times(tmp_path / "run") == log_without_times(trained.run.workdir)
    states = [
        newest_state(place, trained.config, trained.model.tokenizer)
        for place in (trained.run.workdir, tmp_path / "run")
    ]
    for expected, found in zip(*map(jax.tree.leaves, states), strict=True):
        assert np.asarray(expected).tobytes() == np.asarray(found).tobytes()


@pytest.mark.parametrize("left", ["no folder", "an empty folder"])
def test_a_run_stopped_before_its_first_checkpoint_starts_again(trained, tmp_path, monkeypatch, left):
    shutil.copytree(
        trained.run.workdir, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "tensorboard")
    )
    if left == "an empty folder":
        (tmp_path / "run" / "checkpoints").mkdir()
    started = []

    def fit(state, **options):
        started.append(int(state.step))
        raise Interrupted

    monkeypatch.setattr(training_run, "fit", fit)
    with pytest.raises(Interrupted):
        runs.train(trained.config, tmp_path / "run", quiet=True)
    assert started == [0]
    assert read_training_log(tmp_path / "run") == []


def test_a_damaged_checkpoint_is_not_trained_over(trained, tmp_path, no_work):
    copy = Path(shutil.copytree(trained.run.workdir, tmp_path / "run"))
    for path in (copy / "checkpoints" / "24" / "record").iterdir():
        path.write_bytes(b"")
    before = files(copy)
    with pytest.raises(ValueError, match=r"checkpoint .*24.*damaged.*Fix: restore a copy or an older step"):
        runs.train(trained.config, copy, quiet=True)
    assert files(copy) == before


def test_a_changed_corpus_does_not_continue(trained, tmp_path, monkeypatch):
    """The configuration is the same, the files it names are not."""
    config = replace(trained.config, data=write_corpus(tmp_path / "text"))
    copy = Path(shutil.copytree(trained.run.workdir, tmp_path / "run"))
    (copy / "config.json").write_text(json.dumps(to_dict(config)))
    (tmp_path / "text" / "files.txt").write_text("another text altogether\n" * 400)
    monkeypatch.setattr(training_run, "fit", lambda *_, **__: pytest.fail("training began"))
    before = (copy / "run.json").read_bytes()
    with pytest.raises(ValueError, match=r"the corpus is '\w+'; it must be the run's own"):
        runs.train(config, copy, quiet=True)
    assert (copy / "run.json").read_bytes() == before


@pytest.mark.parametrize("split", ["valid", "test"])
def test_another_validation_or_test_text_does_not_continue_either(trained, tmp_path, monkeypatch, split):
    """One log and one checkpoint speak of one corpus."""
    data = write_corpus(tmp_path / "text")
    other = tmp_path / f"{split}.txt"
    other.write_text("the cat sat on the mat\n" * 40)
    config = replace(trained.config, data=replace(data, **{f"{split}_files": (str(other),)}))
    copy = Path(shutil.copytree(trained.run.workdir, tmp_path / "run"))
    (copy / "config.json").write_text(json.dumps(to_dict(config)))
    monkeypatch.setattr(training_run, "fit", lambda *_, **__: pytest.fail("training began"))
    before = files(copy)
    with pytest.raises(
        ValueError,
        match=(
            r"the corpus is '\w+'; it must be the run's own \(\w+\)\. Fix: give it the texts that it began"
            r" with"
        ),
    ):
        runs.train(config, copy, quiet=True)
    assert files(copy) == before


def test_a_folder_that_another_process_trains_into_is_refused(trained, tmp_path, no_work):
    program = (
        # what `locked` takes, without the seconds that JAX needs to start
        "import sys; from filelock import FileLock\n"
        "with FileLock(sys.argv[1] + '/.lock'): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(
            ValueError,
            match=(
                r"workdir is .*; it must be a folder that no other process trains into\. Fix: wait until that"
                r" run ends"
            ),
        ):
            runs.train(trained.config, tmp_path, quiet=True)
        other.communicate("")
    with locked(tmp_path):  # free again
        pass


@pytest.mark.parametrize("step", [32, 12])
def test_an_incomplete_checkpoint_is_told_of_before_training_goes_on(trained, tmp_path, no_work, step):
    """Orbax would write nothing below the step of such a folder, whole or not, and say nothing."""
    copy = Path(shutil.copytree(trained.run.workdir, tmp_path / "run"))
    (copy / "checkpoints" / str(step) / "params").mkdir(parents=True)
    with pytest.raises(
        ValueError,
        match=(
            rf"checkpoint is '.*/{step}'; it must be a whole checkpoint: .* no record\. Fix: copy it again,"
            r" or move it"
        ),
    ):
        runs.train(trained.config, copy, quiet=True)


def spoil_after(monkeypatch, last):
    """Makes the loss NaN from step `last` on."""
    real = training_run.make_train_step

    def make(*arguments, **options):
        step = real(*arguments, **options)
        return lambda state, batch, lam, tau: step(
            state, batch.replace(weights=jnp.where(state.step >= last, jnp.nan, batch.weights)), lam, tau
        )

    monkeypatch.setattr(training_run, "make_train_step", make)


def test_a_run_that_is_not_finite_stops_and_names_step_part_and_last_good_checkpoint(
    trained, tmp_path, monkeypatch
):
    spoil_after(monkeypatch, 18)
    with pytest.raises(NonFiniteError) as caught:
        runs.train(trained.config, tmp_path / "run", quiet=True)
    message = str(caught.value)
    assert "the limit train.max_skipped is 0" in message
    assert "first at step 19, in loss" in message
    assert f"Last good checkpoint: step 16 in {tmp_path / 'run' / 'checkpoints'}" in message
    assert find_checkpoint(tmp_path / "run").step == 16
    assert caught.value.step == 19  # 18 steps before it were good
    assert not [record for record in read_training_log(tmp_path / "run") if record["step"] > 18]
    assert loop.LAG < 18


def test_a_bidirectional_run_says_loudly_what_it_is(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training_run, "load_dataset", lambda *_: (_ for _ in ()).throw(Interrupted))
    config = replace(trained.config, model=replace(trained.config.model, bidirectional=True))
    with pytest.raises(Interrupted):
        runs.train(config, tmp_path / "run")
    said = capsys.readouterr().out
    assert said.startswith("WARNING: model.bidirectional is set.")
    assert "NOT those of a language model" in said
    with pytest.raises(Interrupted):
        runs.train(trained.config, tmp_path / "other")
    assert "WARNING" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("mode", "expected"), [("conditional", (0.0, 1.0)), ("fixed", (0.6,)), ("curriculum", (0.6,))]
)
def test_training_is_watched_at_the_lams_it_is_about(trained, mode, expected):
    assert (
        runs.evaluated_lams(
            replace(trained.config, locality=replace(trained.config.locality, mode=mode, lam=0.6))
        )
        == expected
    )


def test_parameters_draws_and_dropout_have_keys_of_their_own(trained):
    keys = [
        tuple(np.asarray(jax.random.key_data(starting.key_of(trained.config, stream))))
        for stream in starting.STREAMS
    ]
    assert len(set(keys)) == 3
    state = runs.initial_state(trained.config, trained.model.module, build_optimizer(trained.config.train))
    assert tuple(np.asarray(state.key)) == keys[2]


def test_seeds_give_other_parameters_and_other_draws(trained):
    devices = sharding.batch_sharding(8)
    states, draws = [], []
    for seed in (0, 0, 1):
        config = replace(trained.config, seed=seed)
        states.append(runs.initial_state(config, trained.model.module, build_optimizer(config.train)))
        draws.append(np.asarray(runs.locality_draws(config, devices)(5)[0]))
    np.testing.assert_array_equal(states[0].params["embedding"], states[1].params["embedding"])
    np.testing.assert_array_equal(draws[0], draws[1])
    assert np.all(np.asarray(states[0].params["embedding"]) != states[2].params["embedding"])
    assert np.all(draws[0] != draws[2])
    assert np.any(np.asarray(states[0].key) != states[2].key)

"""Tests of the composition root: what a run leaves behind, how it continues, and what it refuses before any work."""

import json
import os
import re
import shutil
import signal
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax import runs
from aila_jax.checkpoint import find_checkpoint
from aila_jax.config import AnchorConfig, PartitionConfig, to_dict
from aila_jax.data.pipeline import TrainBatches
from aila_jax.evaluation.language_model import load
from aila_jax.evaluation.rows import CellRow, SweepResult
from aila_jax.model.transformer import Transformer
from aila_jax.reporting import read_training_log
from aila_jax.runs import corpus, showing, training_run
from aila_jax.training import loop, placement
from aila_jax.training.loop import NonFiniteError
from aila_jax.training.optimizer import build_optimizer
from aila_jax.training.stopping import TrainingStopped
from tests.evaluation.untrained import untrained_model
from tests.training.tiny import Trained, trained_once, write_corpus


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One finished tiny run."""
    return trained_once(tmp_path_factory)


@pytest.fixture
def no_work(monkeypatch):
    """Fails the test where a data set is read or a run trained."""
    for module, name in (
        (training_run, "load_dataset"),
        (corpus, "load_dataset"),
        (training_run, "fit"),
        (training_run, "write_run_files"),
    ):
        monkeypatch.setattr(module, name, lambda *_, name=name, **__: pytest.fail(f"{name} was called"))


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def newest_state(workdir, config, tokenizer):
    template = runs.initial_state(config, Transformer(config.model, tokenizer.vocab_size), build_optimizer(config.train))
    return find_checkpoint(workdir).state(template)


def test_a_run_leaves_what_made_it(trained):
    workdir = trained.run.workdir
    assert trained.run.step == 24
    assert json.loads((workdir / "config.json").read_text()) == json.loads(json.dumps(to_dict(trained.config)))
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
    evals = [(record["step"], record["lam"], record["targets"]) for record in records if record["kind"] == "eval"]
    whole = len(trained.dataset.splits["validation"].tokens) - 1
    assert evals == [(12, 0.0, 256), (12, 1.0, 256), (24, 0.0, whole), (24, 1.0, whole)]  # 2 batches, then all
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
    config = replace(trained.config, seed=3, train=replace(trained.config.train, steps=48), model=replace(trained.config.model, film=False))
    with pytest.raises(ValueError, match="it holds a run with another configuration") as caught:
        runs.train(config, trained.run.workdir, quiet=True)
    message = str(caught.value)
    assert "(model.film: True there, False asked; seed: 0 there, 3 asked; train.steps: 24 there, 48 asked)" in message
    assert message.endswith("Fix: choose another --workdir")
    assert files(trained.run.workdir) == before


@pytest.mark.parametrize("below", ["file", "file/run"])
def test_an_output_below_a_file_is_refused_before_any_work(trained, no_work, tmp_path, below):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=re.escape(f"output folder is {str(tmp_path / below)!r}; it cannot be made")) as caught:
        runs.train(trained.config, tmp_path / below, quiet=True)
    assert "Fix: choose another folder" in str(caught.value)
    with pytest.raises(ValueError, match="output folder is"):
        runs.sweep(str(trained.run.workdir), out=str(tmp_path / below), quiet=True)


def test_checkpoints_without_a_configuration_are_not_taken_over(trained, no_work, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ValueError, match=r"workdir is .*; it must be empty or a run directory. Fix: choose another --workdir"):
        runs.train(trained.config, tmp_path, quiet=True)


@pytest.mark.parametrize("content", ["{", "[]", '{"modle": {}}'])
def test_a_configuration_file_that_cannot_be_read_is_refused(trained, no_work, tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json.*Fix: "):
        runs.train(trained.config, tmp_path, quiet=True)


def test_a_finished_run_asked_for_again_changes_nothing(trained, tmp_path, capsys):
    copy = Path(shutil.copytree(trained.run.workdir, tmp_path / "run"))
    before = files(copy / "checkpoints"), (copy / "metrics.jsonl").read_bytes(), (copy / "config.json").read_bytes()
    assert runs.train(trained.config, copy).step == 24
    assert (files(copy / "checkpoints"), (copy / "metrics.jsonl").read_bytes(), (copy / "config.json").read_bytes()) == before
    assert "steps 24 to 24" in capsys.readouterr().out


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


def test_a_run_that_crashed_continues_to_the_same_bits(trained, tmp_path, monkeypatch):
    """With dropout, conditional λ and microbatches; the crash and the edge of the epoch lie between checkpoint and end."""
    assert trained.config.model.dropout > 0 and trained.config.train.accumulate > 1 and trained.config.locality.mode == "conditional"
    assert 16 < len(trained.dataset.windows("train", 16, False)) / trained.config.train.batch_size < 24
    with monkeypatch.context() as patch:
        stop_after(patch, 12)  # after the checkpoint at step 8, before the one at 16
        with pytest.raises(Interrupted):
            runs.train(trained.config, tmp_path / "run", quiet=True)
    assert find_checkpoint(tmp_path / "run").step == 8
    assert max(record["step"] for record in read_training_log(tmp_path / "run")) > 8  # the log ran ahead of its checkpoint
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
    evals = [
        [record for record in read_training_log(place) if record["kind"] == "eval" and record["step"] == 24]
        for place in (trained.run.workdir, tmp_path / "run")
    ]
    assert evals[0] == evals[1]
    logs = [[(record["step"], record["kind"]) for record in read_training_log(place)] for place in (trained.run.workdir, tmp_path / "run")]
    assert logs[0] == logs[1]


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
    states = [newest_state(place, trained.config, trained.model.tokenizer) for place in (trained.run.workdir, tmp_path / "run")]
    for expected, found in zip(*map(jax.tree.leaves, states), strict=True):
        assert np.asarray(expected).tobytes() == np.asarray(found).tobytes()


@pytest.mark.parametrize("left", ["no folder", "an empty folder"])
def test_a_run_stopped_before_its_first_checkpoint_starts_again(trained, tmp_path, monkeypatch, left):
    shutil.copytree(trained.run.workdir, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "tensorboard"))
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
    with pytest.raises(ValueError, match="fingerprint"):
        runs.train(config, copy, quiet=True)
    assert (copy / "run.json").read_bytes() == before


def spoil_after(monkeypatch, last):
    """Makes the loss NaN from step `last` on."""
    real = training_run.make_train_step

    def make(*arguments, **options):
        step = real(*arguments, **options)
        return lambda state, batch, lam, tau: step(
            state, batch.replace(weights=jnp.where(state.step >= last, jnp.nan, batch.weights)), lam, tau
        )

    monkeypatch.setattr(training_run, "make_train_step", make)


def test_a_run_that_is_not_finite_stops_and_names_step_part_and_last_good_checkpoint(trained, tmp_path, monkeypatch):
    spoil_after(monkeypatch, 18)
    with pytest.raises(NonFiniteError) as caught:
        runs.train(trained.config, tmp_path / "run", quiet=True)
    message = str(caught.value)
    assert "the limit train.max_skipped is 0" in message
    assert "first at step 18, in loss" in message
    assert f"Last good checkpoint: step 16 in {tmp_path / 'run' / 'checkpoints'}" in message
    assert find_checkpoint(tmp_path / "run").step == 16
    assert caught.value.step == 18
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


def test_a_model_is_not_evaluated_on_text_that_changed(trained, tmp_path):
    data = write_corpus(tmp_path / "text")
    moved = replace(trained.model, config=replace(trained.config, data=data))
    assert runs.dataset_of(moved).fingerprint == trained.dataset.fingerprint  # the same text elsewhere is the same text
    (tmp_path / "text" / "valid_files.txt").write_text("the cat heard the dog .\n")
    with pytest.raises(ValueError, match=r"has fingerprint .*, the model was trained on .*its text has changed.*Fix: "):
        runs.dataset_of(moved)


def test_a_model_is_read_with_other_windows_than_in_training(trained, tmp_path):
    copy = Path(shutil.copytree(trained.run.workdir, tmp_path / "run"))
    result = runs.sweep(str(copy), lams=(0.0, 1.0), taus=(1.0,), window=3, quiet=True)
    assert sorted(path.name for path in (copy / "window3").iterdir()) == ["sweep.csv", "sweep.json", "sweep_heads.csv"]
    assert not (copy / "sweep.json").exists()
    assert (result.config["partition"]["size"], result.meta["training"]["partition"]["size"]) == (3, 5)
    own = runs.sweep(str(copy), lams=(0.0, 1.0), taus=(1.0,), out=str(tmp_path / "own"), quiet=True)
    assert result.cells[0].loss == own.cells[0].loss  # at λ = 0 nothing depends on the blocks …
    assert result.cells[0].block_mass < own.cells[0].block_mass  # … but what is measured of them
    assert result.cells[1].loss != own.cells[1].loss
    assert trained.model.with_window(3).with_window(5).apply(np.zeros((1, 16), int), lam=1.0).logits.tolist() == (
        trained.model.apply(np.zeros((1, 16), int), lam=1.0).logits.tolist()
    )


@pytest.mark.parametrize("size", [0, 17])
def test_a_window_that_does_not_fit_is_refused_before_any_work(trained, no_work, size):
    for call in (runs.sweep, runs.evaluate):
        with pytest.raises(ValueError, match=rf"window is {size}; it must be from 1 to the model's length \(16\)\. Fix: "):
            call(str(trained.run.workdir), window=size, quiet=True)


def test_windows_too_small_for_the_models_anchors_are_refused(trained):
    anchored = replace(trained.model, config=replace(trained.config, anchors=AnchorConfig(estimator="corpus", k=3)))
    assert anchored.with_window(4).config.partition.size == 4
    with pytest.raises(ValueError, match=r"window is 3; it must be from 4 to .* \(16\), as a block has 3 anchors and more\. Fix: "):
        anchored.with_window(3)


def test_positions_that_know_their_blocks_are_not_read_with_others(trained):
    localist = replace(trained.model, config=replace(trained.config, model=replace(trained.config.model, localist=True)))
    with pytest.raises(ValueError, match=r"model\.localist is True; it must be false to read a model with another partition"):
        localist.with_window(3)


def test_groups_stay_those_of_the_weights(trained):
    config = replace(trained.config, penalty=replace(trained.config.penalty, solver="subgradient", eta=0.1))
    assert replace(trained.model, config=config).with_window(3).config.feature_groups == config.feature_groups == 4


def test_blocks_that_are_no_windows_have_no_window_size(trained):
    given = trained.model.with_partition(replace(trained.config.partition, kind="given"))
    with pytest.raises(
        ValueError, match=r"window is 3; it must be None where the model's partition is 'given'\. Fix: leave the window out"
    ):
        given.with_window(3)


def test_the_run_directory_is_found_from_a_checkpoint(trained):
    workdir = trained.run.workdir.resolve()
    for place in (workdir, workdir / "checkpoints", workdir / "checkpoints" / "16"):
        assert runs.run_directory(place) == workdir


@pytest.mark.parametrize(("mode", "expected"), [("conditional", (0.0, 1.0)), ("fixed", (0.6,)), ("curriculum", (0.6,))])
def test_training_is_watched_at_the_lams_it_is_about(trained, mode, expected):
    assert runs.evaluated_lams(replace(trained.config, locality=replace(trained.config.locality, mode=mode, lam=0.6))) == expected


def test_seeds_give_other_parameters_and_other_draws(trained):
    devices = placement.place(8)
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


def test_attention_pictures_of_a_checkpoint(trained, tmp_path):
    paths = runs.attention(
        str(trained.run.workdir), text="the cat", lam=(0.0, 1.0), tau=0.5, layers=(1,), heads=(0,), out=tmp_path / "maps"
    )
    names = [f"attention_lam{lam}_tau0.5.{kind}" for lam in (0, 1) for kind in ("png", "svg")] + ["attention.html"]
    assert [path.name for path in paths] == names
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert "Attention weights of run, step 24 over one text" in paths[-1].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"text": "the old owl saw the baker in the garden ."}, "the model reads at most 16"),
        ({"lam": (0.0, 2.0)}, "it must be in [0, 1]"),
        ({"layers": (2,)}, "layers is (2,); it must be numbers from 0 to 1"),
    ],
)
def test_attention_that_cannot_be_drawn_leaves_nothing_behind(trained, tmp_path, changes, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        runs.attention(str(trained.run.workdir), **{"text": "the cat", "out": tmp_path / "maps", **changes})
    assert not (tmp_path / "maps").exists()


def test_the_maps_of_a_report_are_the_models_over_a_whole_text_or_the_part_of_the_sample_that_fits(trained):
    maps = runs.dial_maps(trained.model)
    assert [one.lam for one in maps] == [index / 10 for index in range(11)]
    assert "".join(maps[0].tokens) == showing.SAMPLE_TEXT[: len("".join(maps[0].tokens))]
    assert len(maps[0].tokens) == 16
    own = runs.dial_maps(load(trained.run.workdir / "checkpoints" / "16"), "the cat", tau=2.0)
    assert ("".join(own[0].tokens), own[0].tau, own[0].source) == ("the cat", 2.0, "run, step 16")
    with pytest.raises(ValueError, match=r"text is '\d+ tokens'; it must be at most 16 for this model"):
        runs.dial_maps(trained.model, "the old owl " * 9)


def test_the_maps_of_a_report_are_read_as_its_rows_were():
    model = untrained_model()
    cell = CellRow(**{field.name: 0.0 for field in fields(CellRow)})
    scored = SweepResult((cell,), (), to_dict(replace(model.config, partition=PartitionConfig(size=3))), {})
    maps = runs.dial_maps(showing._as_scored(model, scored), "the cat saw the dog", hard=True)
    assert [one.lam for one in maps] == [1.0]
    np.testing.assert_allclose(maps[0].block_mass, 1.0, atol=1e-6)
    np.testing.assert_array_equal(maps[0].block_ids, np.arange(len(maps[0].tokens)) // 3)
    assert showing._as_scored(model, replace(scored, config=to_dict(model.config))) is model


@pytest.mark.parametrize(
    ("checkpoint", "beside", "shown"), [("", True, True), ("", False, False), ("none", True, False), ("other", False, True)]
)
def test_a_report_shows_the_attention_of_the_checkpoint_it_is_given_or_lies_beside(tmp_path, monkeypatch, checkpoint, beside, shown):
    asked = []
    folder = tmp_path / "run"
    (folder / "checkpoints" / "16" / "record" if beside else folder).mkdir(parents=True)
    sweep = SimpleNamespace(cells=[SimpleNamespace(run="scored", hard=True)])
    model = SimpleNamespace(run="other" if checkpoint else "scored", config=SimpleNamespace(model=SimpleNamespace(hard=False)))
    monkeypatch.setattr(showing, "read_sweep", lambda _: sweep)
    monkeypatch.setattr(showing, "nearest_tau", lambda _: 1.0)
    monkeypatch.setattr(showing, "draw_figures", lambda *_: [])
    monkeypatch.setattr(showing, "load", lambda path: asked.append(path) or model)
    monkeypatch.setattr(showing, "_as_scored", lambda model, result: (model, result))
    monkeypatch.setattr(showing, "dial_maps", lambda *given: asked.append(given) or "MAPS")
    monkeypatch.setattr(showing, "write_report", lambda *_, maps, **__: maps)
    found = runs.report(folder, tmp_path / "report.html", checkpoint=checkpoint, text="the cat" if shown else "")
    assert found == ("MAPS" if shown else None)
    # Rows of the same run say how it is read; another run is read as it was trained.
    read, hard = (model, False) if checkpoint else ((model, sweep), True)
    assert asked == ([checkpoint or folder, (read, "the cat", 1.0, hard)] if shown else [])
    if not shown:
        with pytest.raises(ValueError, match=r"text is 'x'; it must be left out where there is no checkpoint. Fix: pass --checkpoint=RUN"):
            runs.report(folder, tmp_path / "report.html", checkpoint=checkpoint, text="x")

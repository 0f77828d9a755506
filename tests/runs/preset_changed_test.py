"""A run that began from a preset by name goes on as it began where only the preset has changed, and says so;
whatever was asked for by hand still conflicts.
"""

import json
import shutil
from dataclasses import replace

import pytest

import aila_jax as aila
from aila_jax import presets
from aila_jax.cli.main import main
from aila_jax.config import SettingsConflict, saved_config
from tests.support.tiny import make_config, write_corpus


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The preset as it was: 4 steps, a checkpoint at 2 and 4."""
    data = write_corpus(tmp_path_factory.mktemp("preset") / "text")
    config = make_config(
        data,
        steps=4,
        checkpoint_every=2,
        eval_every=4,
        eval_batches=1,
        batch_size=4,
        accumulate=1,
        warmup_steps=1,
    )
    return replace(config, model=replace(config.model, length=8))


@pytest.fixture(scope="module")
def began(first, tmp_path_factory):
    """A run of before, which was stopped after step 2, and one that began with another seed."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "tiny", lambda: first)
        for name, more in (("plain", []), ("seeded", ["--config.seed=3"])):
            assert main(["train", "--config=tiny", f"--workdir={folder / name}", *more]) == 0
            shutil.rmtree(folder / name / "checkpoints" / "4")
    return folder


@pytest.fixture
def changed(first, monkeypatch):
    """The preset as it is now."""
    now = replace(first, train=replace(first.train, learning_rate=1e-3, steps=6))
    now = replace(now, model=replace(now.model, d_ff=64))
    monkeypatch.setitem(presets.PRESETS, "tiny", lambda: now)
    return now


@pytest.fixture
def run(began, tmp_path):
    """A copy of the run of that name."""

    def copied(name):
        shutil.copytree(began / name, tmp_path / name)
        return tmp_path / name

    return copied


def steps(folder):
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdecimal())


def test_run_json_knows_the_preset_and_what_it_gave(began, first):
    for name in ("plain", "seeded"):
        record = json.loads((began / name / "run.json").read_text(encoding="utf-8"))["preset"]
        assert record["name"] == "tiny"
        assert saved_config(record["config"]) == first


@pytest.mark.parametrize(
    ("name", "more"), [("plain", []), ("plain", ["--config.seed=0"]), ("seeded", ["--config.seed=3"])]
)
def test_a_run_goes_on_as_it_began_and_says_so(run, first, changed, capsys, name, more):
    folder = run(name)
    assert main(["train", "--config=tiny", f"--workdir={folder}", *more]) == 0
    out = capsys.readouterr().out
    assert (
        "preset   tiny has changed since this run began, which goes on as it was: model.d_ff 32, now 64,"
        " train.learning_rate 0.02, now 0.001, train.steps 4, now 6\n"
    ) in out
    assert steps(folder) == [2, 4]
    model = aila.load(folder)
    assert (model.step, model.config.model.d_ff) == (4, 32)
    assert replace(model.config, seed=first.seed) == first
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))["preset"]
    assert saved_config(record["config"]) == first


@pytest.mark.parametrize(
    ("name", "more", "setting"),
    [
        ("plain", ["--config.train.steps=8"], "train.steps"),
        ("plain", ["--config.seed=1"], "seed"),
        ("plain", ["--config.model.d_ff=64"], "model.d_ff"),
        ("seeded", [], "seed"),
    ],
)
def test_what_was_asked_for_by_hand_conflicts(run, changed, capsys, name, more, setting):
    folder = run(name)
    assert main(["train", "--config=tiny", f"--workdir={folder}", *more]) == 2
    error = capsys.readouterr().err
    assert "it holds a run with another configuration" in error and f"  {setting} " in error
    assert steps(folder) == [2]


def test_a_run_of_before_presets_were_recorded_is_refused_and_told_what_gives_its_settings(
    run, first, changed, capsys, monkeypatch
):
    """Who changed what cannot be told there."""
    folder = run("plain")
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    record.pop("preset")
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    assert main(["train", "--config=tiny", f"--workdir={folder}"]) == 2
    assert capsys.readouterr().err.rstrip().endswith("or ask for what is there")
    monkeypatch.setitem(presets.PRESETS, "tiny_before", lambda: first)
    assert main(["train", "--config=tiny", f"--workdir={folder}"]) == 2
    assert capsys.readouterr().err.rstrip().endswith("or ask for what is there: --config=tiny_before")
    assert main(["train", "--config=tiny_before", f"--workdir={folder}"]) == 0
    assert steps(folder) == [2, 4]


def test_another_preset_and_python_conflict(run, changed, monkeypatch):
    folder = run("plain")
    monkeypatch.setitem(presets.PRESETS, "other", lambda: changed)
    assert main(["train", "--config=other", f"--workdir={folder}"]) == 2
    with pytest.raises(SettingsConflict):
        aila.train(presets.preset("tiny"), folder, quiet=True)
    assert steps(folder) == [2]


def test_a_run_without_a_checkpoint_keeps_what_its_preset_gave(run, first, changed):
    folder = run("plain")
    shutil.rmtree(folder / "checkpoints")
    assert main(["train", "--config=tiny", f"--workdir={folder}"]) == 0
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))["preset"]
    assert saved_config(record["config"]) == first
    assert aila.load(folder).config == first

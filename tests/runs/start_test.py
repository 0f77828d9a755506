"""A run that begins with the weights of another: what it takes over, what begins anew, what is remembered of
it, and what is refused.
"""

import json
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
from aila_jax.checkpoint import find_checkpoint, verify_run
from aila_jax.cli.main import main
from aila_jax.config import Config, DataConfig, PartitionConfig, to_dict
from aila_jax.data.pipeline import TrainBatches
from aila_jax.evaluation.meta import origin_of
from aila_jax.reporting.html_tables import flatten
from aila_jax.runs import Run
from aila_jax.runs import _start as beginning
from aila_jax.runs import _train as training_run
from aila_jax.runs._start import Before, begin_from
from aila_jax.training.optimizer import build_optimizer
from aila_jax.training.stopping import TrainingStopped
from tests.support.checkpoints import GOLDEN, edit, reseal
from tests.support.tiny import sentences
from tests.support.tokenizers import byte_level


class Interrupted(Exception):
    """Training would begin now."""


@pytest.fixture
def first_state(monkeypatch):
    """The state that training begins with, instead of training."""
    states = []

    def fit(state, **_):
        states.append(jax.device_get(state))
        raise Interrupted

    def begin(*args, **kwargs):
        with monkeypatch.context() as patch:
            patch.setattr(training_run, "fit", fit)
            with pytest.raises(Interrupted):
                runs.train(*args, quiet=True, **kwargs)
        return states[-1]

    return begin


def short(trained, **train) -> Config:
    """A run of eight steps with other draws than the start's."""
    settings = {
        "steps": 8,
        "warmup_steps": 2,
        "checkpoint_every": 4,
        "log_every": 3,
        "eval_every": 4,
        **train,
    }
    return replace(trained.config, seed=5, train=replace(trained.config.train, **settings))


def state_of(workdir, config, model):
    """The newest state of a run, optimizer and keys too."""
    template = runs.initial_state(config, model.module, build_optimizer(config.train))
    return find_checkpoint(workdir).state(template)


def assert_same_bits(expected, found):
    for old, new in zip(*map(jax.tree.leaves, (expected, found)), strict=True):
        assert np.asarray(old).tobytes() == np.asarray(new).tobytes()


@pytest.fixture(scope="module")
def begun(trained, tmp_path_factory) -> Path:
    """A finished run that began from the model of `trained`, in memory; nobody may change its files."""
    workdir = tmp_path_factory.mktemp("begun") / "second"
    before = [np.array(leaf) for leaf in jax.tree.leaves(trained.model.params)]
    runs.train(short(trained), workdir, quiet=True, start=trained.model)
    # Training gives its buffers away; those of the model that was given are not among them.
    assert_same_bits(before, trained.model.params)
    return workdir


@pytest.mark.parametrize("form", ["path", "model"])
def test_it_begins_with_the_weights_and_nothing_else_of_the_start(trained, tmp_path, first_state, form):
    source = {"path": f"{trained.run.workdir}/checkpoints/24", "model": trained.model}[form]
    config = short(trained)
    state = first_state(config, tmp_path / "run", start=source)
    assert_same_bits(trained.model.params, state.params)
    assert int(state.step) == 0
    assert_same_bits(build_optimizer(config.train).init(state.params), state.opt_state)
    assert not np.array_equal(state.key, state_of(trained.run.workdir, trained.config, trained.model).key)


def test_an_interrupted_one_goes_on_to_the_same_bits_without_its_start(trained, begun, tmp_path, monkeypatch):
    config, start = short(trained), Path(shutil.copytree(trained.run.workdir, tmp_path / "start"))
    real, drawn = TrainBatches.__next__, []

    def next_batch(self):
        drawn.append(1)
        if len(drawn) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self)

    with monkeypatch.context() as patch:
        patch.setattr(TrainBatches, "__next__", next_batch)
        with pytest.raises(TrainingStopped):
            runs.train(config, tmp_path / "run", quiet=True, start=start)
    shutil.rmtree(start)
    monkeypatch.setattr(beginning, "read_start", lambda *_: pytest.fail("the start was loaded again"))
    # Without a configuration it is that of the run itself, since its start is gone.
    assert runs.train(None, tmp_path / "run", quiet=True, start=start).config == config
    assert_same_bits(*(state_of(path, config, trained.model) for path in (begun, tmp_path / "run")))
    assert [one.path for one in aila.load(tmp_path / "run").lineage] == [str(start)]


def test_where_it_came_from_is_remembered_over_generations(trained, begun, tmp_path, first_state, capsys):
    first_state(short(trained), tmp_path / "third", start=begun)
    record = json.loads((tmp_path / "third" / "run.json").read_text(encoding="utf-8"))
    model = aila.load(begun)
    assert [(one["run"], one["step"], one["path"]) for one in record["lineage"]] == [
        ("second", 8, str(begun)),
        (trained.model.run, 24, ""),
    ]
    weights = [find_checkpoint(path).weights for path in (begun, trained.run.workdir)]
    assert [one["weights"] for one in record["lineage"]] == weights
    assert "lineage" not in json.loads((trained.run.workdir / "run.json").read_text(encoding="utf-8"))
    assert [str(one) for one in model.lineage] == [f"run, step 24 (weights {weights[1][:12]})"]
    assert trained.model.lineage == ()
    assert f"began from  run, step 24 (weights {weights[1][:12]})" in repr(model)
    assert main(["verify", str(begun)]) == 0
    assert f"began from 'run, step 24 (weights {weights[1][:12]})'" in capsys.readouterr().out
    assert [one.weights for one in verify_run(begun) if one.weights][-1] == weights[0]
    made = origin_of(model, trained.dataset)
    assert made.training is not None
    assert [one["run"] for one in made.training["lineage"]] == ["run"]
    shown = dict(flatten(made.to_json()))["training.lineage"]
    assert shown == f"run run, step 24, weights {weights[1]}, path –"


def test_the_identity_of_weights_is_of_their_values(trained, tmp_path):
    """Any other number, or the same one under another name, is another identity."""
    params = jax.tree.map(np.array, trained.model.params)
    same = beginning.weights_of(params)
    assert same == find_checkpoint(trained.run.workdir).weights
    params["embedding"][0, 0] += 1e-6
    assert beginning.weights_of(params) != same
    params["embedding"][0, 0] = trained.model.params["embedding"][0, 0]
    assert beginning.weights_of(params) == same
    assert beginning.weights_of({**params, "other": params.pop("position")}) != same


@pytest.fixture
def golden(tmp_path, monkeypatch) -> Path:
    """The run of format 1, with a partition that is fitted to its corpus."""
    shutil.copytree(GOLDEN.parent, tmp_path / "golden")
    monkeypatch.chdir(tmp_path / "golden")
    return tmp_path / "golden" / "run"


def test_a_run_of_format_1_is_a_start_and_its_fitted_blocks_are_kept(golden, monkeypatch):
    monkeypatch.setattr(training_run, "fit_partition", lambda *_: pytest.fail("blocks were fitted again"))
    config = find_checkpoint(golden).config
    Path("other.txt").write_text(sentences(160, 9), encoding="utf-8")
    data = replace(config.data, files=("other.txt",))
    other = replace(config, data=data, train=replace(config.train, steps=2))
    begun, old = runs.train(other, "begun", quiet=True, start=golden).load(), aila.load(golden)
    np.testing.assert_array_equal(begun.partition.table, old.partition.table)
    assert begun.tokenizer.fingerprint == old.tokenizer.fingerprint
    assert find_checkpoint("begun").manifest is not None  # format 2
    assert begun.need_anchors().counts.sum() != old.need_anchors().counts.sum()  # of the new text


def test_other_blocks_are_fitted_to_the_new_text(golden):
    config = find_checkpoint(golden).config
    assert begin_from(golden, config).partition is not None
    for partition in (replace(config.partition, classes=4), PartitionConfig(size=3)):
        other = replace(config, partition=partition)
        before = Before(None, begin_from(golden, other))
        _, text = training_run.read_text(other, before, True)
        made = training_run.partition_of(other, text, before, True)
        assert made.table.max() == 3 if partition.fitted else made.size == 3


def test_another_corpus_is_encoded_with_the_starts_tokenizer(trained, tmp_path):
    lines = [f"the goose saw a völlig neues word {number} ." for number in range(200)]
    (tmp_path / "other.txt").write_text("\n".join(lines), encoding="utf-8")
    data = DataConfig(
        corpus="text", files=(str(tmp_path / "other.txt"),), vocab_size=300, cache_dir=str(tmp_path / "cache")
    )
    config = replace(trained.config, data=data)
    _, text = training_run.read_text(config, Before(None, begin_from(trained.run.workdir, config)), True)
    line = trained.model.tokenizer.encode(lines[0])
    assert text.dataset.splits["train"].tokens[: len(line)].tolist() == line
    assert text.dataset.tokenizer.fingerprint == trained.model.tokenizer.fingerprint


@pytest.mark.parametrize(
    ("group", "name", "value", "needed"),
    [
        ("data", "vocab_size", 301, "300"),
        ("data", "tokenizer", "word", "'bpe'"),
        ("model", "d_model", 32, "16"),
        ("model", "n_heads", 4, "2"),
        ("model", "n_heads", 3, "2"),
        ("model", "length", 8, "16"),
        ("model", "film", False, "True"),
        ("model", "dial_weights", "qk", "'none'"),
    ],
)
def test_what_does_not_fit_the_weights_is_named_before_any_work(
    trained, tmp_path, no_work, group, name, value, needed
):
    """Beside settings that differ and do fit."""
    config = replace(trained.config, model=replace(trained.config.model, dropout=0.3, score_cap=4.0))
    if name == "n_heads" and value == 3:
        config = replace(config, model=replace(config.model, d_model=48))
        name, value, needed = "d_model", 48, "16"
    config = replace(config, **{group: replace(getattr(config, group), **{name: value})})
    with pytest.raises(
        ValueError, match=rf"^{group}\.{name} is {value!r}; it must be {needed}, as in run"
    ) as caught:
        runs.train(config, tmp_path / "run", quiet=True, start=trained.run.workdir)
    assert f"Fix: set --config.{group}.{name}=" in str(caught.value)
    assert [path.name for path in (tmp_path / "run").iterdir()] in ([], [".lock"])


def test_a_run_does_not_go_on_as_one_that_it_is_not(trained, tmp_path, no_work):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(
        ValueError, match=r"start is '.*'; it must be left out: the run in .* began by itself"
    ):
        runs.train(trained.config, trained.run.workdir, quiet=True, start=trained.run.workdir)
    assert sorted(tmp_path.iterdir()) == before
    for nowhere in ("nowhere", tmp_path):
        with pytest.raises(ValueError, match="it must be a run directory that holds a checkpoint"):
            runs.train(trained.config, tmp_path / "run", quiet=True, start=nowhere)


def test_it_goes_on_only_as_what_it_began_from(trained, begun, tmp_path):
    config = short(trained)
    with pytest.raises(
        ValueError, match=r"start is .*16'; it must be the one that the run in .* began from: run, step 24"
    ):
        runs.train(config, begun, quiet=True, start=f"{trained.run.workdir}/checkpoints/16")
    other = replace(
        trained.model, run="other", params=jax.tree.map(lambda leaf: 2 * leaf, trained.model.params)
    )
    with pytest.raises(ValueError, match=r"start is 'other'; it must be the one that"):
        runs.train(config, begun, quiet=True, start=other)
    moved = shutil.copytree(trained.run.workdir, tmp_path / "moved")
    for source in (moved, trained.model, None):
        assert runs.train(config, begun, quiet=True, start=source).began == 8


def test_one_that_was_stopped_before_its_first_checkpoint_needs_its_start(trained, tmp_path, first_state):
    config = short(trained)
    first_state(config, tmp_path / "run", start=trained.run.workdir)
    with pytest.raises(
        ValueError, match=r"start is None; it must be given again: .* no checkpoint yet"
    ) as caught:
        runs.train(config, tmp_path / "run", quiet=True)
    assert f"Fix: --start={trained.run.workdir}" in str(caught.value)
    state = first_state(config, tmp_path / "run", start=trained.run.workdir)
    assert_same_bits(trained.model.params, state.params)


def test_a_tokenizer_file_that_was_changed_does_not_go_on(trained, tmp_path, monkeypatch):
    """The run keeps what was in the file, which may be gone but not be another."""
    file = tmp_path / "tokenizer.json"
    data = replace(trained.config.data, tokenizer=str(file))
    config = replace(trained.config, data=data)
    copy = Path(shutil.copytree(trained.run.workdir, tmp_path / "run"))
    (copy / "config.json").write_text(json.dumps(to_dict(config)), encoding="utf-8")
    assert runs.train(config, copy, quiet=True).step == 24
    file.write_text(trained.model.tokenizer.to_json(), encoding="utf-8")
    assert runs.train(config, copy, quiet=True).step == 24
    monkeypatch.setattr(training_run, "load_dataset", lambda *_: pytest.fail("a data set was read"))
    file.write_text(byte_level(), encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"the fingerprint of '.*tokenizer\.json' is '\w+'; it must be \w+, that of"
    ):
        runs.train(config, copy, quiet=True)


@pytest.mark.parametrize("there", [True, False])
def test_a_start_with_a_tokenizer_file_keeps_what_was_in_it(trained, tmp_path, there):
    own = replace(trained.config.data, tokenizer=str(tmp_path / "old.json"))
    model = replace(trained.model, config=replace(trained.config, data=own))
    moved = tmp_path / "moved.json"
    if there:
        moved.write_text(trained.model.tokenizer.to_json(), encoding="utf-8")
    config = replace(trained.config, data=replace(own, tokenizer=str(moved), vocab_size=9))
    assert begin_from(model, config).tokenizer.fingerprint == trained.model.tokenizer.fingerprint
    moved.write_text(byte_level(), encoding="utf-8")
    with pytest.raises(ValueError, match=r"the fingerprint of '.*moved\.json' is"):
        begin_from(model, config)
    with pytest.raises(ValueError, match=r"data\.tokenizer is 'bpe'; it must be '.*old\.json', as in run"):
        begin_from(model, trained.config)


@pytest.fixture
def asked(monkeypatch):
    """What the command asks for, instead of training: configurations and starts."""
    calls = []

    def train(config, workdir, *, start, preset):
        calls.append((config, start))
        return Run(Path(workdir), config, 0)

    monkeypatch.setattr(runs, "train", train)
    return calls


def test_the_command_takes_the_starts_settings_and_changes_some(trained, begun, tmp_path, asked):
    start = f"--start={trained.run.workdir}"
    assert main(["train", start, f"--workdir={tmp_path / 'run'}", "--config.train.steps=2"]) == 0
    assert main(["train", start, f"--workdir={begun}"]) == 0  # it is there: its own settings
    assert asked == [
        (replace(trained.config, train=replace(trained.config.train, steps=2)), str(trained.run.workdir)),
        (short(trained), str(trained.run.workdir)),
    ]


def test_another_corpus_leaves_the_files_of_the_starts_own(trained, tmp_path, asked):
    (tmp_path / "a.txt").write_text("a\n")
    arguments = ["train", "--start", str(trained.run.workdir), f"--workdir={tmp_path / 'run'}"]
    files = f"--config.data.files={tmp_path / 'a.txt'}"
    assert main([*arguments, "--config.data.corpus=text", files]) == 0
    [(config, _)] = asked
    assert (config.data.files, config.data.valid_files) == ((str(tmp_path / "a.txt"),), ())
    assert (config.data.vocab_size, config.model) == (300, trained.config.model)
    assert main(["train", f"--workdir={tmp_path / 'run'}"]) == 2  # no start, no settings


@pytest.mark.parametrize(
    "lineage", [5, ["x"], [{"run": "a"}], [{"run": "a", "step": "1", "weights": "", "path": ""}]]
)
def test_a_lineage_that_is_none_is_damage(trained, tmp_path, lineage):
    copy = Path(shutil.copytree(trained.run.workdir, tmp_path / "run"))
    edit(
        copy / "checkpoints" / "24" / "record" / "metadata",
        lambda record: record["meta"].update(lineage=lineage),
    )
    reseal(copy / "checkpoints" / "24")
    with pytest.raises(ValueError, match=r"lineage is .*; it must be a list of run, step, weights, path"):
        aila.load(copy)

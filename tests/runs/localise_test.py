"""A dial for somebody's model: its base stays what it is, its checkpoints hold the adapters alone, and what
does not belong together is refused.
"""

import contextlib
import io
import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import aila_jax as aila
from aila_jax import presets
from aila_jax.checkpoint import Checkpoint, find_checkpoint
from aila_jax.checkpoint.lineage import weights_of
from aila_jax.cli.commands import localise, train
from aila_jax.cli.main import main
from aila_jax.config import AdapterConfig, Config, PartitionConfig, RelationConfig
from aila_jax.config.options import LocaliseOptions
from aila_jax.loading import models
from aila_jax.pretrained.writing import write_folder
from aila_jax.runs import localised_config
from aila_jax.training import loop
from aila_jax.training.stopping import TrainingStopped
from tests.support.tiny import write_corpus

FILES = Path(__file__).parents[1] / "pretrained" / "files"
TOKENS = np.array([[5, 9, 14, 20, 3, 8, 30, 7]])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a pretrained model, and texts."""
    folder = tmp_path_factory.mktemp("localise")
    shutil.copytree(FILES / "neox", folder / "base")
    return folder


@pytest.fixture(scope="module")
def data(place):
    return write_corpus(place / "texts")


def short(place, data, **train) -> Config:
    """What `aila localise` makes, with fewer and smaller steps."""
    base = aila.from_pretrained(place / "base", length=32).config
    made = presets.localised(replace(base, data=replace(
        data, tokenizer=base.data.tokenizer, begin=base.data.begin
    )), length=32, rank=2)  # fmt: skip
    settings = {
        "steps": 6,
        "batch_size": 4,
        "eval_every": 6,
        "checkpoint_every": 3,
        "warmup_steps": 1,
        **train,
    }
    return replace(made, train=replace(made.train, **settings))


@pytest.fixture(scope="module")
def run(place, data):
    return aila.train(short(place, data), place / "run", quiet=True, start=place / "base")


@pytest.fixture(scope="module")
def model(run):
    return run.load()


@pytest.fixture(scope="module")
def base(place):
    return aila.from_pretrained(place / "base", length=32)


@pytest.fixture(scope="module")
def untaught(place, data):
    """All weights of the base trained, by the text alone: one step; and what was printed."""
    config = short(place, data, steps=1, trained="all")
    model, locality = replace(config.model, adapters=AdapterConfig()), replace(config.locality, taught=0.0)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        found = aila.train(
            replace(config, model=model, locality=locality), place / "untaught", start=place / "base"
        )
    return found, printed.getvalue()


@pytest.fixture(scope="module")
def whole(untaught):
    return untaught[0]


def logits(model, lam):
    return np.asarray(model.apply(TOKENS, lam=lam).logits)


def test_at_zero_it_is_the_base_bit_for_bit_and_at_one_another(base, model):
    np.testing.assert_array_equal(logits(model, 0.0), logits(base, 0.0))
    assert np.abs(logits(model, 1.0) - logits(base, 1.0)).max() > 1e-3
    turned = [x for path, x in jax.tree_util.tree_leaves_with_path(model.params) if "_up" in str(path)]
    assert len(turned) == 8 and all(np.abs(x).max() > 0 for x in turned)  # B began at 0


def test_its_checkpoints_hold_the_adapters_alone_and_know_the_base(run, base):
    found = find_checkpoint(run.workdir)
    names = [name for name in found.arrays if name.startswith("params/")]
    assert names and all("_up/" in name or "_down/" in name for name in names)
    assert found.lineage[0].weights == weights_of(base.params)
    saved = sum(np.prod(found.arrays[name].shape) for name in names)
    assert saved < 0.1 * sum(x.size for x in jax.tree.leaves(base.params))


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(place, data, run, monkeypatch):
    config, workdir = short(place, data), place / "stopped"
    read = loop.stop_if_skipped

    def stop(metrics, *rest):
        read(metrics, *rest)
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "LAG", 0)
        patch.setattr(loop, "stop_if_skipped", stop)
        with pytest.raises(TrainingStopped):
            aila.train(config, workdir, quiet=True, start=place / "base")
    assert 0 < find_checkpoint(workdir).step < 6
    aila.train(config, workdir, quiet=True, start=place / "base")
    for one, other in zip(
        jax.tree.leaves(aila.load(workdir).params), jax.tree.leaves(run.load().params), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_a_base_that_moved_is_found_where_it_is_said_to_be(place, run, model, monkeypatch, tmp_path):
    shutil.copytree(run.workdir, tmp_path / "run")
    shutil.copytree(place / "base", tmp_path / "elsewhere")
    hidden = place / "hidden"
    (place / "base").rename(hidden)
    try:
        with pytest.raises(ValueError, match=r"base is '.*base'; it must be where base, step 0"):
            aila.load(tmp_path / "run")
        there = aila.load(tmp_path / "run", base=tmp_path / "elsewhere")
        np.testing.assert_array_equal(logits(there, 1.0), logits(model, 1.0))
        monkeypatch.setenv("AILA_BASE", str(tmp_path / "elsewhere"))
        np.testing.assert_array_equal(logits(aila.load(tmp_path / "run"), 1.0), logits(model, 1.0))
    finally:
        hidden.rename(place / "base")


def test_adapters_of_another_base_are_refused(run, base, tmp_path):
    other = replace(base, params=jax.tree.map(lambda x: x, base.params))
    other.params["embedding"] = other.params["embedding"].at[0, 0].add(1.0)
    write_folder(other, tmp_path / "other")
    with pytest.raises(
        ValueError, match=r"weights of base '.*other' is '[0-9a-f]{12}'; it must be those of base"
    ):
        aila.load(run.workdir, base=tmp_path / "other")


def test_another_base_is_refused_before_its_weights_are_in_memory(
    place, data, run, base, whole, tmp_path, monkeypatch
):
    """A pretrained model, said here or in AILA_BASE, and a run of the same shape."""
    other = replace(base, params=jax.tree.map(lambda x: x, base.params))
    other.params["final_norm"] = jax.tree.map(lambda x: x + 1.0, base.params["final_norm"])
    write_folder(other, tmp_path / "other")
    lent = aila.train(short(place, data, steps=1), tmp_path / "lent", quiet=True, start=whole.workdir)
    shutil.copytree(whole.workdir, tmp_path / "moved")
    np.testing.assert_array_equal(
        logits(aila.load(lent.workdir, base=tmp_path / "moved"), 1.0), logits(lent.load(), 1.0)
    )
    again = aila.train(replace(whole.config, seed=5), tmp_path / "again", quiet=True, start=place / "base")

    def never(*given):
        raise AssertionError("the weights are read")

    monkeypatch.setattr(models, "load_pretrained", never)
    monkeypatch.setattr(Checkpoint, "params", never)
    words = r"weights of base '.*{}' is '[0-9a-f]{{12}}'; it must be those of {}"
    with pytest.raises(ValueError, match=words.format("other", "base")):
        aila.load(run.workdir, base=tmp_path / "other")
    with pytest.raises(ValueError, match=words.format("again", "untaught")):
        aila.load(lent.workdir, base=again.workdir)
    monkeypatch.setenv("AILA_BASE", str(tmp_path / "other"))
    with pytest.raises(ValueError, match=words.format("other", "base")):
        aila.load(run.workdir)


def test_a_whole_checkpoint_needs_no_base(trained, place):
    with pytest.raises(ValueError, match=r"base is .*; it must be left out: the checkpoint holds all"):
        aila.load(trained.run.workdir, base=place / "base")


def test_what_is_to_be_frozen_must_be_there(place, data, tmp_path):
    config = short(place, data)
    with pytest.raises(
        ValueError, match=r"train.trained is 'dial'; it must be 'all' where there is no start"
    ):
        aila.train(config, tmp_path / "none", quiet=True)
    alone = replace(config, train=replace(config.train, trained="all"))
    with pytest.raises(ValueError, match=r"locality.taught is 0.5; it must be 0 where there is no start"):
        aila.train(alone, tmp_path / "none", quiet=True)
    with pytest.raises(ValueError, match=r"train.trained is 'dial'; it must be 'all' where nothing turns"):
        replace(config, model=replace(config.model, adapters=AdapterConfig()))


def test_a_model_in_memory_without_a_path_is_refused(place, data, base, tmp_path):
    nowhere = replace(base, meta={})
    with pytest.raises(ValueError, match="start is 'base'; it must be a path, where its weights are found"):
        aila.train(short(place, data), tmp_path / "none", quiet=True, start=nowhere)
    aila.train(short(place, data, steps=1), tmp_path / "there", quiet=True, start=base)
    assert aila.load(tmp_path / "there").step == 1


def test_all_weights_may_be_trained_and_the_start_still_teaches(place, data, base, tmp_path):
    config = short(place, data, steps=2, trained="all")
    full = replace(config, model=replace(config.model, adapters=AdapterConfig()))
    found = aila.train(full, tmp_path / "full", quiet=True, start=place / "base").load()
    assert np.abs(logits(found, 0.0) - logits(base, 0.0)).max() > 1e-4
    names = [name for name in find_checkpoint(tmp_path / "full").arrays if name.startswith("params/")]
    assert "params/embedding" in names


def test_what_a_run_from_a_start_takes_is_printed_also_where_nothing_teaches(untaught):
    assert untaught[1].count("takes    ") == 1 and " MB a device, " in untaught[1]


def test_localise_is_train_with_the_preset(place, data, capsys):
    found = aila.localise(
        place / "base", place / "called", data, length=32, rank=2, tokens=256,
        relation=RelationConfig(sink=True, shift=1), seed=3,
    )  # fmt: skip
    text = capsys.readouterr().out
    assert " of them trained, partition" in text
    assert "takes    " in text and "tokens/s, about" in text
    # 2 e^0 inside and 30 e^−5 outside at the least: 1 · range + 5 nats for 32 tokens
    assert "margin   1 · range + 5 nats, alone at least 0.908 of the attention inside" in text
    config = found.config
    assert config.seed == 3 and config.relation.shift == 1 and config.train.steps == 1
    assert config.data.begin == aila.from_pretrained(place / "base").config.data.begin
    assert (place / "called" / "config.json").is_file()


def test_the_preset_keeps_a_margin_that_somebody_chose(base):
    made = presets.localised(base.config, length=32)
    assert made.model.margin.range_bend > 1 and made.model.margin.gate == 1.0
    chosen = replace(base.config.model.margin, c=2.0)
    kept = presets.localised(replace(base.config, model=replace(base.config.model, margin=chosen)), length=32)
    assert kept.model.margin == chosen
    full = presets.localised(base.config, full=True)
    assert full.model.adapters.rank == 0 and full.train.trained == "all"


def test_the_command_wants_a_text_before_anything_is_read(place, capsys, tmp_path):
    assert main(["localise", f"--start={place / 'base'}", f"--workdir={tmp_path / 'x'}"]) == 2
    assert "data.corpus is 'not given'; it must be the text to learn the dial on" in capsys.readouterr().err
    assert main(["localise", f"--workdir={tmp_path / 'x'}"]) == 2
    assert "--start is missing" in capsys.readouterr().err
    gone = ["localise", "--start=/nowhere", f"--workdir={tmp_path / 'x'}", "--config.data.corpus=text"]
    assert main(gone) == 2
    assert "--start" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_the_command_trains_and_goes_on(place, data, capsys, tmp_path):
    given = [
        f"--start={place / 'base'}", f"--workdir={tmp_path / 'run'}", "--config.data.corpus=text",
        f"--config.data.files={data.files[0]}", "--length=32", "--rank=2", "--tokens=512",
        f"--config.data.cache_dir={tmp_path}", "--config.train.last_eval_batches=1",
    ]  # fmt: skip
    assert main(["localise", *given]) == 0
    assert "aila sweep" in capsys.readouterr().out
    config = aila.load(tmp_path / "run").config
    assert (config.train.steps, config.model.adapters.rank, config.model.length) == (2, 2, 32)
    assert main(["localise", *given]) == 0
    assert "already finished" in capsys.readouterr().out


def test_what_was_localised_is_exported_on_its_base(place, run, model, base, tmp_path):
    """The PEFT folder names the start; the whole one at λ = 0 is the start again, bit for bit."""
    aila.export(run.workdir, tmp_path / "peft", format="peft", lam=1.0)
    settings = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str((place / "base").resolve())
    aila.export(run.workdir, tmp_path / "whole", lam=0.0)
    again = aila.from_pretrained(tmp_path / "whole", length=32)
    assert weights_of(again.params) == weights_of(base.params)
    aila.export(run.workdir, tmp_path / "merged", lam=1.0)
    merged = aila.from_pretrained(tmp_path / "merged", length=32, margin=model.config.model.margin)
    np.testing.assert_allclose(logits(merged, 1.0), logits(model, 1.0), atol=2e-5)


def test_a_chain_of_runs_takes_the_place_that_is_said_for_the_last_one_alone(
    place, data, run, tmp_path, monkeypatch
):
    """A run that began from a localised one, which began from the base."""
    second = aila.train(short(place, data, steps=1), tmp_path / "second", quiet=True, start=run.workdir)
    wanted = logits(second.load(), 1.0)
    assert find_checkpoint(second.workdir).lineage[0].weights == weights_of(run.load().params)
    shutil.copytree(run.workdir, tmp_path / "moved")
    monkeypatch.setenv("AILA_BASE", str(tmp_path / "moved"))
    np.testing.assert_array_equal(logits(aila.load(second.workdir), 1.0), wanted)


def test_the_step_that_a_run_began_from_is_read_again_not_its_newest(place, data, tmp_path):
    config = short(place, data, steps=2, checkpoint_every=2, keep=3)
    first = aila.train(config, tmp_path / "first", quiet=True, start=place / "base")
    second = aila.train(short(place, data, steps=1), tmp_path / "second", quiet=True, start=first.workdir)
    wanted = logits(second.load(), 1.0)
    longer = aila.train(
        short(place, data, steps=3, checkpoint_every=1), tmp_path / "longer", quiet=True, start=place / "base"
    )
    shutil.copytree(longer.workdir / "checkpoints" / "3", first.workdir / "checkpoints" / "3")
    assert find_checkpoint(first.workdir).step == 3
    np.testing.assert_array_equal(logits(aila.load(second.workdir), 1.0), wanted)


def test_a_run_whose_base_moved_goes_on_from_there(place, data, tmp_path):
    config = short(place, data, steps=2, checkpoint_every=1)
    shutil.copytree(place / "base", tmp_path / "old")
    aila.train(config, tmp_path / "run", quiet=True, start=tmp_path / "old")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "2")
    (tmp_path / "old").rename(tmp_path / "new")
    with pytest.raises(ValueError, match=r"base is .*old'; it must be where old, step 0"):
        aila.train(config, tmp_path / "run", quiet=True, start=tmp_path / "old")
    assert aila.train(config, tmp_path / "run", quiet=True, start=tmp_path / "new").began == 1


def test_a_small_adapter_of_a_wide_model_is_read_again(place, data, tmp_path):
    """The limits of a record are not those of the adapters' sizes."""
    config = short(place, data, steps=1)
    small = replace(config.model, adapters=AdapterConfig(rank=1, on=("query",)))
    run = aila.train(replace(config, model=small), tmp_path / "run", quiet=True, start=place / "base")
    assert run.load().config.model.adapters.on == ("query",)


def test_a_model_in_memory_is_to_be_what_its_path_holds(place, data, base, tmp_path):
    other = replace(base, params={**base.params, "embedding": base.params["embedding"] + 1.0})
    with pytest.raises(ValueError, match="start is 'base with other weights'; it must be as it is in "):
        aila.train(short(place, data), tmp_path / "none", quiet=True, start=other)


def test_a_sink_without_a_begin_token_is_refused_before_training(place, data, tmp_path):
    bare = aila.from_pretrained(place / "base", length=32, relation=RelationConfig(), begin="")
    config = short(place, data, trained="all")
    config = replace(config, data=replace(config.data, begin=""))
    config = replace(config, locality=replace(config.locality, taught=0.0))
    with pytest.raises(ValueError, match=r"relation\.sink is True; it must be False for a pretrained model"):
        aila.train(config, tmp_path / "none", quiet=True, start=bare)


def test_options_that_would_not_be_read_are_refused(place, capsys, tmp_path):
    given = ["localise", f"--start={place / 'base'}", f"--workdir={tmp_path / 'x'}"]
    given.append("--config.data.corpus=pydocs")
    assert main([*given, "--config=tiny"]) == 2
    assert "must be left out: the options of localise make the settings" in capsys.readouterr().err
    assert main([*given, "--full", "--rank=4"]) == 2
    assert "rank is 4; it must be left out with full" in capsys.readouterr().err


def test_other_options_than_the_runs_own_are_refused_when_it_goes_on(place, data, run, capsys):
    given = ["localise", f"--start={place / 'base'}", f"--workdir={run.workdir}", "--length=32", "--rank=2"]
    given += ["--config.data.corpus=text", f"--config.data.files={data.files[0]}", "--tokens=999999"]
    assert main(given) == 2
    assert "train.steps" in capsys.readouterr().err


def test_a_start_that_is_a_run_keeps_its_length(trained):
    made = localised_config(LocaliseOptions(start=str(trained.run.workdir), full=True))
    assert made.model.length == trained.config.model.length < 256
    text = localised_config(LocaliseOptions(start=str(FILES / "neox"), length=48))
    assert (text.model.length, text.model.adapters.rank) == (48, 8)


def test_a_model_with_film_is_refused_by_that_name():
    """It was refused as having adapters of another rank."""
    with pytest.raises(
        ValueError, match=r"model\.film is True; .* FiLM turns with the dial already\. Fix: train on"
    ):
        presets.localised(presets.small())
    assert presets.localised(presets.small(), full=True).model.film


@pytest.mark.parametrize("command", [localise, train])
def test_other_blocks_begin_with_their_own_settings(command, place, base):
    """The base's blocks are sentences: a unit that no other kind reads."""
    given = [f"--start={place / 'base'}", f"--workdir={place / 'none'}", "--config.data.corpus=text"]
    own = base.config.partition
    assert own == PartitionConfig(kind="segments", unit="sentence")
    for more, want in (
        ([], own),
        (["--config.partition.kind=segments"], own),
        (["--config.partition.kind", "segments"], own),
        (["--config.partition.kind=given"], PartitionConfig()),
        (["--config.partition.kind", "given"], PartitionConfig()),
    ):
        assert command.COMMAND.base([*given, *more]).partition == want

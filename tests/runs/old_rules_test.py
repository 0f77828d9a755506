"""A run that began before a rule was a setting goes on by it: same rates, same splits, same bits."""

import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest

from aila_jax import runs
from aila_jax.checkpoint import find_checkpoint
from aila_jax.checkpoint import record as checkpoint_record
from aila_jax.config import (
    Config,
    DataConfig,
    LocalityConfig,
    ModelConfig,
    SweepConfig,
    TrainConfig,
    serialize,
    to_dict,
)
from aila_jax.data.dataset import load_dataset
from aila_jax.loading.models import load
from aila_jax.reporting import read_training_log
from aila_jax.runs import workdir


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Config:
    """A run on uneven lines, by the old rules, said in its settings."""
    folder = tmp_path_factory.mktemp("text")
    long = "".join("w x " * 20 + f"{number}\n" for number in range(20))
    (folder / "a.txt").write_text("".join(f"short line {number}\n" for number in range(180)) + long)
    return Config(
        data=DataConfig(
            corpus="text",
            files=(str(folder / "a.txt"),),
            vocab_size=300,
            cache_dir=str(folder / "cache"),
            file_kinds="suffix",
            hold_out="lines",
            repeated="keep",
        ),
        model=ModelConfig(length=16, d_model=8, n_heads=1, d_ff=8, n_layers=1),
        locality=LocalityConfig(mode="conditional"),
        train=TrainConfig(
            steps=4, batch_size=4, warmup_steps=2, log_every=1, checkpoint_every=2, keep=2, schedule="offset"
        ),
        sweep=SweepConfig(part="first"),
    )


def without_rules(config: Config) -> dict:
    """The settings as a version wrote them that did not know these rules."""
    values = to_dict(config)
    for key in serialize.OLD_RULES:
        group, _, name = key.rpartition(".")
        values[group].pop(name)
    return values


def test_an_old_run_goes_on_to_the_old_bits_and_reads_its_old_splits(config, tmp_path, monkeypatch, capsys):
    whole = runs.train(config, tmp_path / "whole", quiet=True)
    with monkeypatch.context() as before:
        for module in (checkpoint_record, workdir):
            before.setattr(module, "to_dict", without_rules)
        run = runs.train(config, tmp_path / "old", quiet=True).workdir
    assert "schedule" not in (run / "config.json").read_text(encoding="utf-8")
    shutil.rmtree(run / "checkpoints" / "4")
    today = replace(
        config,
        data=replace(config.data, file_kinds="content", hold_out="text", repeated="leave_out"),
        train=replace(config.train, schedule="exact"),
        sweep=replace(config.sweep, part="spread"),
    )
    runs.train(today, run)
    assert (
        "rules    data.file_kinds, data.hold_out, data.repeated, train.schedule, sweep.part as"
        in capsys.readouterr().out
    )
    for old, new in zip(
        jax.tree.leaves(load(whole.workdir).params), jax.tree.leaves(load(run).params), strict=True
    ):
        np.testing.assert_array_equal(old, new)
    rates = [
        [
            record["learning_rate"]
            for record in read_training_log(path / "metrics.jsonl")
            if record["kind"] == "train"
        ]
        for path in (whole.workdir, run)
    ]
    assert rates[0] == rates[1] and rates[0][0] == 0.0
    sizes = {split: stream.words for split, stream in runs.dataset_of(load(run)).splits.items()}
    assert sizes["test"] > sizes["train"] / 2  # lines were counted
    assert find_checkpoint(run).config == config
    now = {split: stream.words for split, stream in load_dataset(today.data).splits.items()}
    assert now["test"] < now["train"] / 10

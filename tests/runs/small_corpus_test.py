"""A corpus with fewer training windows than the default batch: all of them are read at each step."""

from dataclasses import replace
from pathlib import Path

import pytest

from aila_jax import presets, runs
from aila_jax.config import Config, DataConfig, ModelConfig, TrainConfig


@pytest.fixture
def small(tmp_path: Path) -> Config:
    text = tmp_path / "notes.txt"
    text.write_text("".join(f"line {i} of the notes speaks of room {i % 17}\n" for i in range(60)))
    return replace(
        presets.small(),
        data=DataConfig(corpus="text", files=(str(text),), vocab_size=300),
        model=ModelConfig(length=48, d_model=8, n_heads=1, d_ff=8, n_layers=1),
        train=TrainConfig(steps=2, checkpoint_every=1, warmup_steps=0),
    )


def test_the_default_batch_is_what_there_is_and_says_so(small, tmp_path, capsys):
    run = runs.train(small, tmp_path / "run")
    size = run.config.train.batch_size
    assert 1 <= size < 32
    shown = capsys.readouterr().out
    assert f"batch    {size} sequences a step, not 32: the training split has {size}\n" in shown
    assert run.load().config.train.batch_size == size
    # The same command goes on with it.
    assert runs.train(small, tmp_path / "run").config == run.config
    assert "already finished" in capsys.readouterr().out


def test_a_size_that_was_asked_for_is_refused(small, tmp_path):
    asked = replace(small, train=replace(small.train, batch_size=31))
    with pytest.raises(
        ValueError, match=r"train\.batch_size is 31; it must be from 1 to the number of training"
    ):
        runs.train(asked, tmp_path / "run", quiet=True)

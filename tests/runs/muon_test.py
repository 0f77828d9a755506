"""Runs whose matrices move by Muon: they learn, go on to the same bits, and are members of a population."""

import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest

import aila_jax as aila
from aila_jax.config import Config, LocalityConfig, ModelConfig
from aila_jax.reporting.training_log import read_training_log
from tests.support.tiny import make_config, write_corpus


@pytest.fixture
def config(tmp_path) -> Config:
    made = make_config(write_corpus(tmp_path / "text"), optimizer="muon")
    model = ModelConfig(length=16, d_model=16, n_heads=2, d_ff=32, n_layers=1)
    return replace(made, model=model, locality=LocalityConfig(mode="fixed"))


def losses(folder) -> np.ndarray:
    return np.array([record["loss"] for record in read_training_log(folder)])


def test_it_learns_goes_on_to_the_same_bits_and_is_kept_as_a_setting(config, tmp_path):
    run = aila.train(config, tmp_path / "run", quiet=True)
    assert losses(run.workdir)[-1] < losses(run.workdir)[0] - 0.3
    found = aila.load(run.workdir)
    assert found.config.train.optimizer == "muon"
    shutil.rmtree(run.workdir / "checkpoints" / "24")
    aila.train(config, run.workdir, quiet=True)
    again = aila.load(run.workdir)
    assert again.step == found.step == 24
    for one, other in zip(jax.tree.leaves(again.params), jax.tree.leaves(found.params), strict=True):
        np.testing.assert_array_equal(one, other)


def test_members_of_a_population_are_its_single_runs(config, tmp_path):
    rates = (5e-3, 2e-2)
    found = aila.population(config, tmp_path / "all", learning_rates=rates, form="loop", quiet=True)
    for rate, folder in zip(rates, found.runs, strict=True):
        one = replace(config, train=replace(config.train, learning_rate=rate))
        single = aila.train(one, tmp_path / f"single{rate}", quiet=True)
        np.testing.assert_allclose(losses(folder), losses(single.workdir), rtol=1e-5)

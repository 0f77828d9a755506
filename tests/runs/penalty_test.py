"""A whole run with the group-sparsity penalty: its log, its checkpoint, its sweep, and its continuation."""

import json
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest

from aila_jax import runs
from aila_jax.checkpoint import find_checkpoint
from aila_jax.config import PenaltyConfig, saved_config
from aila_jax.config.options import SweepOptions
from aila_jax.loss.group_sparsity import query_key_kernels, sparsity
from aila_jax.reporting import read_sweep, read_training_log
from aila_jax.training.optimizer import build_optimizer
from aila_jax.training.penalty import initial_importance
from tests.support.tiny import make_config, write_corpus


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Ten steps of the proximal solver, strong enough to zero a group; checkpoints at 5 and 10."""
    directory = tmp_path_factory.mktemp("penalty")
    config = make_config(
        write_corpus(directory / "text"), steps=10, checkpoint_every=5, eval_every=10, eval_batches=1
    )
    config = replace(
        config,
        penalty=PenaltyConfig(solver="proximal", eta=2e-5, nu=1e-3),
        model=replace(config.model, localist=True),
    )
    return runs.train(config, directory / "run", quiet=True)


def newest_state(run, workdir):
    module = run.load().module
    optimizer = build_optimizer(run.config.train, run.config.penalty, run.config.feature_groups)
    return find_checkpoint(workdir).state(runs.initial_state(run.config, module, optimizer))


def test_its_parts_are_logged_and_the_perplexity_is_that_of_the_cross_entropy(run):
    records = [record for record in read_training_log(run.workdir) if record["kind"] == "train"]
    assert [record["step"] for record in records] == [5, 10]
    for record in records:
        assert record["penalty"] > 0
        assert record["value_penalty"] > 0
    counts = sparsity(run.load().params, run.config.feature_groups)
    assert records[-1]["zero_query"] == pytest.approx(float(counts.zero_query))
    assert records[-1]["zero_key"] == pytest.approx(float(counts.zero_key))
    assert records[-1]["dead_heads"] == int(counts.dead_heads)
    assert 0 < float(counts.zero_query + counts.zero_key) < 2
    cell = runs.evaluate(str(run.workdir), lam=1.0, quiet=True)
    assert read_training_log(run.workdir)[-1]["loss"] == pytest.approx(cell.loss, rel=1e-5)
    assert cell.perplexity_token == pytest.approx(np.exp(cell.loss))


def test_a_sweep_says_what_is_zero(run, tmp_path):
    options = SweepOptions(lams=(0.0,), taus=(1.0,), max_batches=1)
    result = runs.sweep(run.workdir, options, tmp_path, quiet=True)
    counts = sparsity(run.load().params, 4)
    expected = {
        "groups": 4,
        "zero_query": float(counts.zero_query),
        "zero_key": float(counts.zero_key),
        "dead_heads": int(counts.dead_heads),
        "heads": 4,
    }
    assert result.meta.sparsity.to_json() == expected
    assert read_sweep(tmp_path).meta == result.meta
    assert f"{expected['dead_heads']} of 4 heads are dead" in runs.describe_sweep(result)


def test_its_checkpoint_holds_the_solvers_state_and_the_weights(run):
    state = newest_state(run, run.workdir)
    assert (int(state.step), int(state.opt_state.count)) == (10, 10)
    assert np.any(np.asarray(state.opt_state.second) > 0)
    np.testing.assert_array_equal(state.importance, initial_importance(run.config))


@pytest.mark.medium  # trains a second time; the default tests continue a run without a penalty
def test_a_run_that_stops_and_continues_is_the_one_that_did_not(run, tmp_path):
    copy = shutil.copytree(run.workdir, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints" / "10")
    runs.train(run.config, copy, quiet=True)
    one, other = newest_state(run, run.workdir), newest_state(run, copy)
    assert int(one.step) == 10
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
    assert np.any(query_key_kernels(one.params) == 0)


def test_a_configuration_from_before_the_penalty_is_read_as_one_without_it(run):
    old = json.loads((run.workdir / "config.json").read_text())
    del old["penalty"], old["model"]["localist"], old["model"]["localist_shared"]
    assert saved_config(old).penalty == PenaltyConfig()
    assert not saved_config(old).model.localist

"""Tests of reading a finished run: on its text, with other windows, from a checkpoint."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import aila_jax as aila
from aila_jax import runs
from aila_jax.config import AnchorConfig
from aila_jax.config.options import SweepOptions
from tests.support.tiny import write_corpus

ENDS = SweepOptions(lams=(0.0, 1.0), taus=(1.0,))


def test_a_model_is_not_evaluated_on_text_that_changed(trained, tmp_path):
    data = write_corpus(tmp_path / "text")
    moved = replace(trained.model, config=replace(trained.config, data=data))
    assert (
        runs.dataset_of(moved).fingerprint == trained.dataset.fingerprint
    )  # the same text elsewhere is the same text
    (tmp_path / "text" / "valid_files.txt").write_text("the cat heard the dog .\n")
    with pytest.raises(
        ValueError, match=r"has fingerprint .*, the model was trained on .*its text has changed.*Fix: "
    ):
        runs.dataset_of(moved)


def test_a_model_is_read_with_other_windows_than_in_training(trained, tmp_path):
    copy = Path(shutil.copytree(trained.run.workdir, tmp_path / "run"))
    result = runs.sweep(runs.open_run(copy, window=3), ENDS, quiet=True)
    assert sorted(path.name for path in (copy / "window3").iterdir()) == [
        "sweep.csv",
        "sweep.json",
        "sweep_heads.csv",
    ]
    assert not (copy / "sweep.json").exists()
    assert (result.config.partition.size, result.meta.training["partition"]["size"]) == (3, 5)
    own = runs.sweep(copy, ENDS, tmp_path / "own", quiet=True)
    assert result.cells[0].loss == own.cells[0].loss  # at λ = 0 nothing depends on the blocks …
    assert result.cells[0].block_mass < own.cells[0].block_mass  # … but what is measured of them
    assert result.cells[1].loss != own.cells[1].loss
    assert trained.model.with_window(3).with_window(5).apply(
        np.zeros((1, 16), int), lam=1.0
    ).logits.tolist() == (trained.model.apply(np.zeros((1, 16), int), lam=1.0).logits.tolist())


@pytest.mark.parametrize("size", [0, 17, 2.5, True])
def test_a_window_that_does_not_fit_is_refused_before_any_work(trained, no_work, size):
    for call in (runs.open_run, partial(runs.evaluate, quiet=True)):
        with pytest.raises(
            ValueError,
            match=rf"window is {size}; it must be a whole number from 1 to the model's length \(16\)\. Fix: ",
        ):
            call(trained.run.workdir, window=size)


def test_windows_too_small_for_the_models_anchors_are_refused(trained):
    anchored = replace(
        trained.model, config=replace(trained.config, anchors=AnchorConfig(estimator="corpus", k=3))
    )
    assert anchored.with_window(4).config.partition.size == 4
    with pytest.raises(
        ValueError,
        match=(
            r"window is 3; it must be a whole number from 4 to .* \(16\), as a block has 3 anchors and more\."
            r" Fix: "
        ),
    ):
        anchored.with_window(3)


def test_positions_that_know_their_blocks_are_not_read_with_others(trained):
    localist = replace(
        trained.model, config=replace(trained.config, model=replace(trained.config.model, localist=True))
    )
    with pytest.raises(
        ValueError, match=r"model\.localist is True; it must be false to read a model with another partition"
    ):
        localist.with_window(3)


def test_groups_stay_those_of_the_weights(trained):
    config = replace(trained.config, penalty=replace(trained.config.penalty, solver="subgradient", eta=0.1))
    assert (
        replace(trained.model, config=config).with_window(3).config.feature_groups
        == config.feature_groups
        == 4
    )


def test_blocks_that_are_no_windows_have_no_window_size(trained):
    given = trained.model.with_partition(replace(trained.config.partition, kind="given"))
    with pytest.raises(
        ValueError,
        match=(
            r"window is 3; it must be None where the model's partition is 'given'\. Fix: leave the window out"
        ),
    ):
        given.with_window(3)


def test_the_run_directory_is_found_from_a_checkpoint(trained):
    workdir = trained.run.workdir.resolve()
    for place in (workdir, workdir / "checkpoints", workdir / "checkpoints" / "16"):
        assert runs.run_directory(place) == workdir


def test_a_model_and_a_path_are_measured_alike(trained):
    """`sweep`, `evaluate` and `certify` take either; the corpus is the model's own where none is given."""
    model, path, grid = trained.model, trained.run.workdir, {"lams": (0.5,), "taus": (1.0,), "quiet": True}
    expected = aila.sweep(model, trained.dataset, **grid).cells[0]
    assert aila.sweep(model, **grid).cells[0] == expected
    assert aila.sweep(path, **grid).cells[0] == expected
    for checkpoint in (model, path, str(path)):
        assert aila.evaluate(checkpoint, lam=0.5, quiet=True) == expected
    assert aila.evaluate(model, trained.dataset, lam=0.5, quiet=True) == expected
    assert repr(aila.certify(path)) == repr(aila.certify(model))
    with pytest.raises(ValueError, match=r"data_dir is 'x'; it must be left out beside a data set"):
        aila.evaluate(model, trained.dataset, data_dir="x")

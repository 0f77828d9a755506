"""Whole runs on a mesh: begun on one, gone on with on another, and read afterwards."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aila_jax import runs
from aila_jax.checkpoint import find_checkpoint
from aila_jax.config import MeshConfig
from aila_jax.evaluation.sweep import sweep
from aila_jax.loading.models import load
from aila_jax.reporting.training_log import read_training_log

CODE = """
    import sys
    from pathlib import Path
    from tests.runs.mesh_test import begin, go_on

    folder = Path({folder!r})
    for mesh in {fresh}:
        begin(folder, mesh)
    for start, mesh in {resumed}:
        go_on(folder, start, mesh)
"""
ONE = (0, 1, 1)


def place(mesh) -> str:
    return "x".join(map(str, mesh))


def on_mesh(folder: Path, mesh):
    """The settings of the run in `folder`, on another mesh; microbatches of before would not fit."""
    config = find_checkpoint(folder / place(ONE)).config
    return replace(config, mesh=MeshConfig(*mesh), train=replace(config.train, accumulate=1))


def begin(folder: Path, mesh) -> None:
    runs.train(on_mesh(folder, mesh), folder / place(mesh), quiet=True)


def go_on(folder: Path, start, mesh) -> Path:
    """Goes on from step 16 of the run of one mesh, on another."""
    copy = Path(shutil.copytree(folder / place(start), folder / f"{place(start)}_{place(mesh)}"))
    shutil.rmtree(copy / "checkpoints" / "24")
    done = runs.train(on_mesh(folder, mesh), copy, quiet=True)
    assert (done.began, done.step) == (16, 24)
    return copy


def told(folder: Path) -> np.ndarray:
    """The losses of a run's log from step 16 on."""
    rows = [record for record in read_training_log(folder) if record["step"] > 16]
    return np.array([record["loss"] for record in rows])


@pytest.mark.medium
def test_a_run_goes_on_under_any_other_mesh(trained, tmp_path, run_in_subprocess_with_devices):
    shutil.copytree(trained.run.workdir, tmp_path / place(ONE))
    fresh = [(2, 2, 2), (1, 8, 1)]
    resumed = [
        (ONE, (2, 2, 2)), (ONE, (1, 8, 1)), ((2, 2, 2), (4, 1, 2)), ((2, 2, 2), (8, 1, 1)), ((1, 8, 1), (1, 4, 2)),
    ]  # fmt: skip
    code = CODE.format(folder=str(tmp_path), fresh=fresh, resumed=resumed)
    run_in_subprocess_with_devices(8, code, timeout=3000.0)
    here = [go_on(tmp_path, mesh, ONE) for mesh in fresh]
    expected = told(trained.run.workdir)
    assert len(expected) >= 3
    places = [tmp_path / place(mesh) for mesh in fresh]
    places += [tmp_path / f"{place(start)}_{place(mesh)}" for start, mesh in resumed]
    for folder in (*places, *here):
        np.testing.assert_allclose(told(folder), expected, rtol=1e-5, err_msg=folder.name)
    # What reads a run reads it whole, on the devices that it is read on.
    model = load(tmp_path / "2x2x2")
    assert model.config.mesh == MeshConfig(2, 2, 2)
    own, one = (
        sweep(run, trained.dataset, lams=(0.0, 1.0), taus=(1.0,), quiet=True)
        for run in (model, trained.model)
    )
    for mine, yours in zip(own.cells, one.cells, strict=True):
        np.testing.assert_allclose(mine.loss, yours.loss, rtol=1e-5)


@pytest.mark.slow
def test_a_run_of_1_2_4_or_8_devices_goes_on_with_any_other_number(
    trained, tmp_path, run_in_subprocess_with_devices
):
    meshes = {1: ONE, 2: (2, 1, 1), 4: (4, 1, 1), 8: (8, 1, 1)}
    shutil.copytree(trained.run.workdir, tmp_path / place(ONE))
    for count in (2, 4, 8):
        code = CODE.format(folder=str(tmp_path), fresh=[meshes[count]], resumed=[])
        run_in_subprocess_with_devices(count, code)
    for count, mesh in meshes.items():
        resumed = [(start, mesh) for start in meshes.values() if start != mesh]
        run_in_subprocess_with_devices(count, CODE.format(folder=str(tmp_path), fresh=[], resumed=resumed))
    expected, went_on = told(trained.run.workdir), sorted(tmp_path.glob("*_*"))
    assert (len(expected) >= 3, len(went_on)) == (True, 12)
    for folder in (*map(tmp_path.joinpath, map(place, meshes.values())), *went_on):
        np.testing.assert_allclose(told(folder), expected, rtol=1e-5, err_msg=folder.name)


@pytest.mark.parametrize(("mesh", "words"), [
    ((0, 2, 1), "mesh.fsdp · mesh.tensor is 2; it must be a divisor of the 1 devices that are here. Fix: choose .* among 1"),
    ((2, 1, 1), "mesh.data is 2; it must be 0, or 1: .* and 1 devices are here. Fix: set --config.mesh.data=0"),
])  # fmt: skip
def test_a_mesh_for_more_devices_than_there_are_is_refused_before_any_work(
    trained, no_work, tmp_path, mesh, words
):
    config = replace(trained.config, mesh=MeshConfig(*mesh))
    with pytest.raises(ValueError, match=words):
        runs.train(config, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_saved_configuration_without_a_mesh_means_a_copy_on_every_device(trained, tmp_path):
    copy = Path(shutil.copytree(trained.run.workdir, tmp_path / "run"))
    saved = json.loads((copy / "config.json").read_text())
    assert saved.pop("mesh") == {"data": 0, "fsdp": 1, "tensor": 1}
    assert saved["train"].pop("remat") == "auto"
    (copy / "config.json").write_text(json.dumps(saved))
    again = runs.train(trained.config, copy, quiet=True)
    assert again.began == again.step == 24

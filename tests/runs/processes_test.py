"""Whole runs of several processes on this machine: their numbers are those of one, and one that is missing
ends them.
"""

import json
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import chex
import numpy as np
import pytest

import aila_jax as aila
from aila_jax import runs
from aila_jax.checkpoint import find_checkpoint
from aila_jax.checkpoint.verify import verify_run
from aila_jax.cli.main import main
from aila_jax.config import AnchorConfig, Config, MeshConfig, to_dict
from aila_jax.reporting.training_log import read_training_log
from aila_jax.training import sharding
from tests.support.several import Job, free_port, launched, start
from tests.support.tiny import write_corpus

BASE = Path(__file__).parents[1] / "pretrained" / "files" / "llama"

NEAR = 2e-6  # relative: sums in another order, in float32
PROGRAM = """
import json, sys
from pathlib import Path
from aila_jax.config import Config, from_dict
from aila_jax.config.options import ProcessOptions
from aila_jax.processes.join import joined

port, count, number, folder = sys.argv[1:]
place = ProcessOptions(coordinator=f"127.0.0.1:{port}", processes=int(count), process=int(number), wait=120)
with joined(place, "test"):
    from aila_jax import runs
    config = from_dict(Config, json.loads(Path(folder, "config.json").read_text()))
    runs.train(config, Path(folder, "run"))
    runs.sweep(Path(folder, "run"))
"""


def in_processes(count: int, folder: Path, config: Config) -> Job:
    """Trains and sweeps into folder/run, all in the same processes."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    port = str(free_port())
    return start(
        folder, [["-c", PROGRAM, port, str(count), str(number), str(folder)] for number in range(count)]
    )


def same_numbers(mine: Path, other: Path, after: int = 0) -> None:
    """The records of two logs, but the times."""
    one, two = (
        [record for record in read_training_log(folder) if record["step"] > after] for folder in (mine, other)
    )
    assert len(one) == len(two) > 1
    for own, there in zip(one, two, strict=True):
        assert own.keys() == there.keys()
        for name in own.keys() - {"tokens_per_second", "kind"}:
            np.testing.assert_allclose(own[name], there[name], rtol=10 * NEAR, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(own["loss"], there["loss"], rtol=NEAR)


def same_cells(mine: Path, other: Path) -> None:
    """The rows of two sweeps."""
    one, two = (json.loads((folder / "sweep.json").read_text()) for folder in (mine, other))
    for part in ("cells", "heads"):
        assert len(one[part]) == len(two[part]) > 1
        for own, there in zip(one[part], two[part], strict=True):
            for name, value in own.items():
                if isinstance(value, float):
                    np.testing.assert_allclose(value, there[name], rtol=10 * NEAR, atol=1e-6, err_msg=name)
                elif name not in ("commit", "run"):
                    assert value == there[name], name


def short(config: Config) -> Config:
    """A few steps of one layer."""
    model = replace(config.model, n_layers=1)
    train = replace(
        config.train, steps=4, accumulate=1, warmup_steps=1, log_every=2, eval_every=4, checkpoint_every=4
    )
    return replace(
        config, model=model, train=train, sweep=replace(config.sweep, lams=(0.0, 1.0), taus=(1.0,))
    )


@pytest.mark.medium
def test_two_processes_train_and_sweep_as_one(trained, tmp_path):
    config = short(trained.config)
    with in_processes(2, tmp_path / "two", config) as job:
        runs.train(config, tmp_path / "one", quiet=True)
        runs.sweep(tmp_path / "one", quiet=True)
        first, second = job.all_ended()
    assert (first.code, second.code) == (0, 0), first.error + second.error
    two = tmp_path / "two" / "run"
    same_numbers(two, tmp_path / "one")
    same_cells(two, tmp_path / "one")
    # The first one alone prints and writes.
    assert "in each of 2 processes" in first.out and "step 4 of 4" in first.error
    assert second.out == "" and "step" not in second.error
    assert len(list((two / "tensorboard").iterdir())) == 1
    assert find_checkpoint(two).step == 4


@pytest.mark.parametrize(("count", "fix"), [(3, 6), (16, 16)])
def test_a_batch_that_the_processes_do_not_divide_is_refused(
    monkeypatch, no_work, trained, tmp_path, count, fix
):
    monkeypatch.setattr(sharding, "all_devices", lambda: [None] * count)
    monkeypatch.setattr(sharding.here, "count", lambda: count)
    words = f"train.batch_size is 8; it must be divisible by the {count} devices of {count} processes. Fix: set it to {fix}"
    with pytest.raises(ValueError, match=words):
        sharding.mesh_sharding(replace(trained.config, train=replace(trained.config.train, accumulate=1)))


def test_pmap_is_refused_with_several_processes(monkeypatch, trained):
    monkeypatch.setattr(sharding.here, "count", lambda: 2)
    config = replace(trained.config, train=replace(trained.config.train, parallel="pmap"))
    with pytest.raises(ValueError, match=r"train.parallel is 'pmap'; it must be 'jit' with 2 processes"):
        sharding.mesh_sharding(config)


def test_processes_with_different_numbers_of_devices_are_refused(monkeypatch):
    from types import SimpleNamespace

    devices = [SimpleNamespace(process_index=process, id=number) for number, process in enumerate((0, 1, 1))]
    monkeypatch.setattr(sharding.jax, "devices", lambda: devices)
    with pytest.raises(
        ValueError, match="devices are 1 of process 0, 2 of process 1; every process must have as many"
    ):
        sharding.all_devices()


def config_file(folder: Path, config: Config) -> str:
    """The flag that names a file of these settings."""
    path = folder / "settings.py"
    path.write_text(f"def get_config():\n    return {to_dict(config)!r}\n")
    return f"--config={path}"


def done(job: Job) -> None:
    with job:
        for end in job.all_ended(900.0):
            assert end.code == 0, end.error


@pytest.mark.slow
def test_a_run_of_two_goes_on_with_one_and_with_four_and_is_read_by_two(trained, tmp_path):
    config = config_file(tmp_path, trained.config)
    two = tmp_path / "two"
    done(launched(tmp_path / "a", 2, "train", config, f"--workdir={two}"))
    same_numbers(two, trained.run.workdir)
    assert [found.folder.name for found in verify_run(two)][:2] == ["16", "24"]
    for count in (1, 4):
        copy = Path(shutil.copytree(two, tmp_path / f"on{count}"))
        shutil.rmtree(copy / "checkpoints" / "24")
        done(
            launched(
                tmp_path / f"b{count}",
                count,
                "train",
                config,
                "--config.train.accumulate=1",
                f"--workdir={copy}",
            )
        )
        same_numbers(copy, trained.run.workdir, after=16)
    done(
        launched(
            tmp_path / "c", 2, "sweep", f"--checkpoint={trained.run.workdir}", f"--out={tmp_path / 'sweep2'}"
        )
    )
    runs.sweep(trained.run.workdir, out=tmp_path / "sweep1", quiet=True)
    same_cells(tmp_path / "sweep2", tmp_path / "sweep1")
    with launched(tmp_path / "d", 2, "evaluate", f"--checkpoint={trained.run.workdir}", "--lam=0.5") as job:
        said = job.all_ended()[0].out
    [loss] = [float(line.split()[1]) for line in said.splitlines() if line.startswith("loss ")]
    expected = json.loads((tmp_path / "sweep1" / "sweep.json").read_text())["cells"]
    [cell] = [cell for cell in expected if (cell["lam"], cell["tau"]) == (0.5, 1.0)]
    np.testing.assert_allclose(loss, cell["loss"], rtol=1e-5)  # six digits are printed


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fsdp", "anchors"])
def test_what_a_run_may_also_do_is_the_same_in_two_processes(trained, tmp_path, name):
    config = short(trained.config)
    if name == "fsdp":
        config = replace(config, mesh=MeshConfig(0, 2, 1))
    else:
        config = replace(config, anchors=AnchorConfig(estimator="attention"))
    runs.train(replace(config, mesh=MeshConfig()), tmp_path / "one", quiet=True)
    runs.sweep(tmp_path / "one", quiet=True)
    done(in_processes(2, tmp_path / "two", config))
    same_numbers(tmp_path / "two" / "run", tmp_path / "one")
    same_cells(tmp_path / "two" / "run", tmp_path / "one")


@pytest.mark.medium
def test_two_processes_localise_as_one(tmp_path):
    """Adapters alone are trained and saved; the base, which each process reads, is cut between them."""
    data = write_corpus(tmp_path / "texts")
    given = (
        f"--start={BASE}", "--length=32", "--rank=2", "--config.data.corpus=text",
        f"--config.data.files={data.files[0]}", f"--config.data.cache_dir={data.cache_dir}", "--config.train.steps=4",
        "--config.train.batch_size=4", "--config.train.warmup_steps=1", "--config.train.log_every=2",
        "--config.train.eval_every=4", "--config.train.checkpoint_every=4",
    )  # fmt: skip
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(["localise", *given, f"--workdir={one}"]) == 0
    cut = ("--config.mesh.fsdp=2", f"--workdir={two}")
    done(launched(tmp_path / "job", 2, "localise", *given, *cut))
    same_numbers(two, one)
    turned, other = aila.load(two), aila.load(one)
    chex.assert_trees_all_close(turned.params, other.params, rtol=1e-4, atol=1e-6)
    assert find_checkpoint(two).arrays.keys() == find_checkpoint(one).arrays.keys()


def endless(folder: Path, config: Config, patience: float) -> Job:
    """A run of two that does not end by itself, when it has trained for some steps."""
    train = replace(config.train, steps=100_000, eval_every=100_000, checkpoint_every=100_000, log_every=5)
    flag = config_file(folder, replace(config, train=train))
    job = launched(folder, 2, "train", flag, f"--workdir={folder / 'run'}", patience=patience)
    job.when(0, lambda said: "step 10 of" in said)
    return job


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_dies_or_stands_still_ends_the_training(trained, tmp_path, victim, number):
    with endless(tmp_path, short(trained.config), patience=10.0) as job:
        job.signal(victim, number)
        began = time.monotonic()
        other = job.ended(1 - victim, 60.0)
        assert time.monotonic() - began < 30.0
    assert other.code == 1, other.error
    assert f"aila: process {victim} of 2 (" in other.error and "the job ends. Fix: " in other.error


@pytest.mark.slow
@pytest.mark.parametrize("asked", [0, 1])
def test_a_signal_to_one_stops_all_after_the_same_step(trained, tmp_path, asked):
    with endless(tmp_path, short(trained.config), patience=30.0) as job:
        job.signal(asked, signal.SIGTERM)
        ends = job.all_ended(120.0)
    assert [end.code for end in ends] == [143, 143], ends
    step = find_checkpoint(tmp_path / "run").step
    for end in ends:
        assert f"stopped by SIGTERM after step {step}, which is saved" in end.error


@pytest.mark.slow
def test_two_that_do_not_see_the_same_run_are_refused(trained, tmp_path):
    """As without a shared file system: the second one finds no checkpoint."""
    config = config_file(tmp_path, trained.config)
    copy = Path(shutil.copytree(trained.run.workdir, tmp_path / "run"))
    shutil.rmtree(copy / "checkpoints" / "24")
    port = free_port()
    places = (copy, tmp_path / "elsewhere")
    commands = [
        ["-m", "launch", "train", config, f"--workdir={place}", f"--coordinator=127.0.0.1:{port}", "--processes=2",
         f"--process={number}"]
        for number, place in enumerate(places)
    ]  # fmt: skip
    with start(tmp_path / "job", commands) as job:
        ends = job.all_ended()
    assert [end.code for end in ends] == [2, 2]
    for end in ends:
        assert (
            "the newest checkpoint of process 1 is 'none'; it must be the same as in process 0" in end.error
        )
    assert not (tmp_path / "elsewhere" / "config.json").exists()

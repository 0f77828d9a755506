"""The plan as a whole: what it says, what it refuses, and that training asks the same function."""

import dataclasses
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import aila_jax as aila
from aila_jax import presets
from aila_jax.cli.main import main
from aila_jax.config import to_dict
from aila_jax.planning import here
from aila_jax.planning.described import describe
from aila_jax.planning.devices import LISTED, NAMES, device_named, this_cpu
from aila_jax.planning.fitting import changes, check_fits
from aila_jax.planning.forecast import Forecast, duration
from aila_jax.planning.memory import certain, step_memory
from aila_jax.planning.mesh import Mesh
from tests.support.tiny import make_config, write_corpus

XL = presets.xl()
TYPES = XL.data.vocab_size


def test_what_it_says_of_steps_and_time():
    """By hand: 64 sequences of 512 tokens a step, four H100 at half of 989.4 TFLOP/s."""
    plan = aila.plan(presets.base(), mesh=(2, 2, 1), device="h100", tokens=1_000_000, utilisation=0.5)
    assert (plan.batch_tokens, plan.steps, plan.readings) == (32_768, 31, 2)
    assert plan.seconds == pytest.approx(31 * 32_768 * plan.step.total / (4 * 0.5 * 989.4e12))
    assert plan.forecast.seconds == pytest.approx(plan.seconds / 31)
    assert plan.fits
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.steps = 3


def test_defaults_are_the_configurations_steps_and_this_machine():
    plan = aila.plan(presets.tiny())
    assert (plan.steps, plan.device.name, plan.mesh) == (presets.tiny().train.steps, "cpu", Mesh())
    assert plan.parameters.without_embedding == plan.parameters.total - plan.parameters.embedding


def test_figures_of_a_device_can_be_given():
    listed = aila.plan(XL, mesh=(1, 8, 1), device="h100")
    given = aila.plan(XL, mesh=(1, 8, 1), device="h100", memory_gb=1, tflops=2 * 989.4)
    assert given.seconds == pytest.approx(listed.seconds / 2)
    assert (listed.fits, given.fits) == (True, False)
    assert aila.plan(presets.small(), vocabulary=100).parameters.embedding == (100 + 128) * 128


def test_a_device_that_is_not_known_is_refused_with_the_names():
    with pytest.raises(ValueError, match=r"device is 'h10'; it must be one of cpu, h100, h200, a100.*'h100'"):
        aila.plan(XL, device="h10")
    assert {device_named(name).name for name in NAMES} == set(NAMES)


@pytest.mark.parametrize("device", LISTED, ids=lambda device: device.name)
def test_listed_figures_are_of_their_order(device):
    """Memory in bytes, speeds in FLOP/s: a slip of a unit is a factor of a thousand."""
    assert 10e9 < device.memory < 400e9
    assert 10e12 < device.float32 <= device.bfloat16 < 10e15
    assert 0.2e12 < device.bandwidth < 10e12
    assert device.source.startswith("https://")


def test_this_machine_is_a_device():
    cpu = this_cpu()
    assert cpu.is_cpu
    assert 1e9 < cpu.memory < 1e14


@pytest.mark.parametrize(("mesh", "device"), [(Mesh(), "tpu-v5e"), (Mesh(2), "a100-40gb"), (Mesh(), "l4")])
def test_what_would_fit_fits_and_less_would_not(mesh, device):
    found = changes(XL, TYPES, mesh, device_named(device), chosen=True)
    assert found
    assert found[0].flag.startswith("--mesh=")
    shape = tuple(int(one) for one in found[0].flag.removeprefix("--mesh=").split(","))
    check_fits(XL, TYPES, Mesh(*shape), device_named(device))
    with pytest.raises(ValueError, match=r"GB a device .*; it must be at most .*Fix: --mesh="):
        check_fits(XL, TYPES, Mesh(shape[0], max(shape[1] // 2, 1), shape[2]), device_named(device))


def test_without_other_devices_the_batch_is_what_changes():
    flags = [one.flag for one in changes(XL, TYPES, Mesh(), device_named("a100"), chosen=False)]
    assert any(flag.startswith("--config.train.accumulate=") for flag in flags)
    assert any(flag.startswith("--config.train.batch_size=") for flag in flags)
    assert not any("mesh" in flag for flag in flags)
    small = replace(device_named("a100"), memory=1e9)
    with pytest.raises(ValueError, match="Fix: a smaller model, or a device with more memory"):
        check_fits(XL, TYPES, Mesh(), small, chosen=False)


def test_memory_that_is_not_known_refuses_nothing():
    check_fits(XL, TYPES, Mesh(), replace(this_cpu(), memory=None))


def test_the_command_prints_the_plan_and_refuses_what_does_not_fit(capsys):
    assert main(["plan", "--config=base", "--device=h100"]) == 0
    out = capsys.readouterr().out
    assert out == describe(aila.plan(presets.base(), device="h100")) + "\n"
    assert "125,100,288, 106,225,920 without embeddings" in out
    assert main(["plan", "--config=xl", "--device=tpu-v5e"]) == 2
    found = capsys.readouterr()
    assert "DOES NOT FIT" in found.out
    assert "it must be at most 16.00, what tpu-v5e has. Fix: --mesh=1,8,1" in found.err


def test_a_run_gives_its_settings(tmp_path, capsys):
    config = replace(presets.tiny(), model=replace(presets.tiny().model, n_layers=3))
    (tmp_path / "config.json").write_text(json.dumps(to_dict(config)))
    assert main(["plan", f"--workdir={tmp_path}"]) == 0
    assert capsys.readouterr().out == describe(aila.plan(config)) + "\n"


def test_nothing_is_compiled_or_allocated():
    """In a process of its own, since others have compiled: no array lives, and no backend was started."""
    code = (
        "import aila_jax as aila; aila.plan(aila.presets.xl(), device='tpu-v5p', mesh=(8, 4, 2));"
        "import jax._src.xla_bridge as bridge; assert not bridge._backends, bridge._backends"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_training_refuses_what_cannot_fit_before_it_reads_anything(tmp_path, monkeypatch):
    config = make_config(write_corpus(tmp_path / "corpus"))
    needed = step_memory(config, config.data.vocab_size, Mesh(), this_cpu()).total
    monkeypatch.setattr(here, "machine_memory", lambda: needed / 2)
    with pytest.raises(
        ValueError, match=r"memory of a training step, in GB a device .*Fix: --config.train.acc"
    ):
        aila.train(config, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "config.json").exists()
    assert not (tmp_path / "corpus" / "cache").exists()


def test_what_hardly_fits_is_a_warning(tmp_path, monkeypatch):
    config = make_config(write_corpus(tmp_path / "corpus"))
    needed = step_memory(config, config.data.vocab_size, Mesh(), this_cpu()).total
    monkeypatch.setattr(here, "machine_memory", lambda: 0.95 * needed)
    assert here.check_fits_here(config, config.data.vocab_size).startswith(
        "WARNING: memory of a training step"
    )
    monkeypatch.setattr(here, "machine_memory", lambda: 1.05 * needed)
    assert here.check_fits_here(config, config.data.vocab_size) == ""
    assert certain(config, config.data.vocab_size, Mesh(), this_cpu()) == pytest.approx(0.9 * needed)


@pytest.mark.parametrize(("seconds", "words"), [
    (5, "5 s"), (119, "119 s"), (120, "2 min"), (7200, "2.0 h"), (172_800, "2.0 days"), (36_000, "10.0 h"),
])  # fmt: skip
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_one_line_says_what_a_step_takes_whoever_knows_it():
    line = Forecast(0.5, 1024, 2500.0, "by one step that is thrown away").line(100)
    assert line == (
        "2,500 MB a device, 2,048 tokens/s, about 50 s for 100 steps of 1,024 tokens (by one step that is thrown"
        " away)"
    )
    assert Forecast(None, 1024, None, "by formula").line(3) == "3 steps of 1,024 tokens (by formula)"


def test_the_page_shows_what_the_command_prints():
    page = (Path(__file__).resolve().parents[2] / "docs" / "howto" / "plan.md").read_text(encoding="utf-8")
    assert describe(aila.plan(presets.base(), device="h100")) in page
    with pytest.raises(ValueError, match=r"memory of a training step") as caught:
        check_fits(XL, TYPES, Mesh(), device_named("tpu-v5e"))
    assert str(caught.value) in page
    for name in ("base", "large", "xl"):
        counts = aila.plan(presets.preset(name)).parameters
        assert f"| `{name}` | {counts.total:,} | {counts.dial:,} |" in page

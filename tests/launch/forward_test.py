"""Commands of a checkout: the present ones, and the former ones, which run what they ran."""

import subprocess
import sys
from pathlib import Path

import pytest

import launch
from aila_jax.cli.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
NAMES = [command.name for command in COMMANDS]


def python_m(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_runs_in_a_checkout_and_speaks_for_itself(name):
    done = python_m("launch", name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"python -m launch {name}: ")
    assert f"  python -m launch {name} --" in done.stdout or name in ("demo", "verify")


def test_the_overview_is_that_of_the_checkout():
    done = python_m("launch", "--help")
    assert "usage: python -m launch COMMAND --flag=value" in done.stdout
    assert "  python -m launch evaluate --checkpoint=runs/tiny" in done.stdout


@pytest.mark.parametrize("name", ["train", "sweep"])
def test_two_commands_have_a_module_of_their_own(name):
    done = python_m(f"launch.{name}", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"python -m launch.{name}: ")
    assert f"  python -m launch.{name} --" in done.stdout


def test_what_had_a_module_is_known():
    """Every command but those that never had one, and those that still have."""
    assert {
        *launch.COMMANDS,
        "answer",
        "train",
        "sweep",
        "demo",
        "export",
        "localise",
        "plan",
        "population",
        "score",
        "threshold",
        "verify",
    } == set(NAMES)
    assert all((ROOT / "experiments" / name / "__main__.py").is_file() for name in launch.EXPERIMENTS)


@pytest.mark.parametrize("name", launch.COMMANDS)
def test_a_former_module_runs_the_command_and_names_it(name):
    former, now = python_m(f"launch.{name}", "--help"), python_m("launch", name, "--help")
    assert (former.returncode, former.stdout) == (0, now.stdout)
    assert former.stderr == f"python -m launch.{name} is now python -m launch {name}\n"
    wrong = python_m(f"launch.{name}", "--no_such_flag=3")
    assert wrong.returncode == 2
    assert "no_such_flag" in wrong.stderr.splitlines()[1]


@pytest.mark.parametrize("name", launch.EXPERIMENTS)
def test_a_former_experiment_runs_the_experiment_and_names_it(name):
    former, now = python_m(f"launch.{name}", "--help"), python_m(f"experiments.{name}", "--help")
    assert former.returncode == now.returncode
    assert former.stdout == now.stdout
    assert "--only" in former.stdout and "--collect" in former.stdout
    assert former.stderr.splitlines()[0] == f"python -m launch.{name} is now python -m experiments.{name}"


def test_the_former_experiment_of_thresholds_with_a_run_is_the_command():
    done = python_m("launch.threshold", "--checkpoint=runs/x", "--help")
    assert done.stdout.startswith("python -m launch threshold: ")
    assert done.stderr == "python -m launch.threshold is now python -m launch threshold\n"


def test_a_module_that_never_was_is_none():
    done = python_m("launch.certfy")
    assert done.returncode == 1
    assert "No module named launch.certfy" in done.stderr

"""What the launchers of experiments share: which runs their flags ask for, and what they refuse before the
first.
"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from absl import app, flags

from experiments import launcher

ROOT = Path(__file__).parents[2]


def two(base):
    return {"one": base, "other": replace(base, model=replace(base.model, n_layers=1))}


def ask(monkeypatch, *arguments):
    values = flags.FlagValues()
    launcher.define_flags("named", seeds=(0, 1), values=values)
    values(["named", *arguments])
    monkeypatch.setattr(launcher, "FLAGS", values)
    return list(launcher.asked_runs(two))


def test_the_flags_choose_runs_seed_by_seed(monkeypatch):
    asked = ask(monkeypatch)
    assert [stem for stem, _ in asked] == ["one-seed0", "other-seed0", "one-seed1", "other-seed1"]
    assert [(config.seed, config.model.n_layers) for _, config in asked] == [(0, 2), (0, 1), (1, 2), (1, 1)]
    assert asked[0][1].data.corpus == "wikitext2"
    assert (str(launcher.out_folder()), str(launcher.runs_folder())) == (
        "docs/results/named",
        "runs/named",
    )
    asked = ask(monkeypatch, "--only=other", "--seeds=7,3", "--data_dir=here", "--out=o", "--runs=r")
    assert [(stem, config.seed, config.data.data_dir) for stem, config in asked] == [
        ("other-seed7", 7, "here"),
        ("other-seed3", 3, "here"),
    ]
    assert (str(launcher.out_folder()), str(launcher.runs_folder())) == ("o", "r")
    assert ask(monkeypatch, "--collect") == []


def test_a_seed_that_is_given_twice_is_run_once(monkeypatch):
    assert [stem for stem, _ in ask(monkeypatch, "--only=one,one", "--seeds=3,0,3,03")] == [
        "one-seed3",
        "one-seed0",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only=othre"], r"--only is 'othre'; it must be one of one, other. Fix: did you mean 'other'"),
        (["--only=othre", "--collect"], r"--only is 'othre'"),
        (["--seeds=0,x"], r"--seeds holds 'x'; it must be whole numbers from 0 .*Fix: --seeds=0,1,2"),
        (["--seeds=-1"], r"--seeds holds '-1'"),
        (["--config=smal"], r"--config is 'smal'.*did you mean 'small'"),
    ],
)
def test_a_mistake_is_refused_before_the_first_run(monkeypatch, arguments, message):
    with pytest.raises(ValueError, match=message):
        ask(monkeypatch, *arguments)


@pytest.mark.parametrize(("arguments", "said"), [([], False), (["--verbosity=0"], True)])
def test_libraries_say_what_they_read_where_it_is_asked_for(arguments, said):
    code = (
        "from absl import logging; from experiments import launcher; launcher.define_results('any');"
        " launcher.run(lambda argv: logging.info('restored a file'))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0
    assert ("restored a file" in ran.stderr) == said


def test_a_mistake_in_the_call_of_a_launcher_is_one_line():
    ran = subprocess.run(
        [sys.executable, "-m", "experiments.leak", "--seeds=a"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert (
        ran.stderr
        == "aila: error: --seeds holds 'a'; it must be whole numbers from 0 with commas between. Fix:"
        " --seeds=0,1,2\n"
    )


def test_what_is_no_flag_is_refused():
    launcher.no_arguments(["program"])
    with pytest.raises(app.UsageError, match="unexpected argument 'more'; give settings as --flag=value"):
        launcher.no_arguments(["program", "more"])

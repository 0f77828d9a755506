"""A wrong path answers before JAX is imported, on every command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aila_jax.cli.commands import COMMANDS
from aila_jax.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
OUT = [command.name for command in COMMANDS if command.out]
CHECKPOINT = [command.name for command in COMMANDS if command.path.name == "checkpoint"]
NEEDED = {"attention": ["--text=t"], "generate": ["--prompt=p"], "report": ["--sweep=s"]}
CONFIG = ["--config=tiny", "--workdir=w"]

CALLS = [
    *([name, "--checkpoint=nowhere", *NEEDED.get(name, [])] for name in CHECKPOINT),
    ["evaluate", "--checkpoint=empty"],
    ["evaluate", "--checkpoint=m.jsonl"],
    *(
        [name, "--out=m.jsonl/o", *NEEDED.get(name, ["--checkpoint=c"] if name in CHECKPOINT else [])]
        for name in OUT
    ),
    ["report", "--sweep=s", "--out=s"],
    ["report", "--sweep=nowhere"],
    ["report", "--sweep=empty"],
    ["report", "--sweep=s", "--log=nowhere.jsonl"],
    ["report", "s", "nowhere"],
    ["report", "--sweep=s", "--checkpoint=nowhere"],
    *(
        [name, "--checkpoint=c", "--data_dir=nowhere", *NEEDED.get(name, [])]
        for name in CHECKPOINT
        if name not in ("attention", "generate")
    ),
    ["train", *CONFIG, "--workdir=m.jsonl"],
    ["train", "--config=small", "--workdir=w", "--data_dir=nowhere"],
    ["train", *CONFIG, "--config.data.corpus=text", "--config.data.files=no/*.txt"],
    [
        "train",
        *CONFIG,
        "--config.partition.kind=class_file",
        "--config.partition.class_file=nowhere",
    ],
    ["blocks", "--config=tiny", "--config.data.corpus=text", "--config.data.files=no/*.txt"],
    ["demo", "--workdir=m.jsonl/demo"],
    ["train", "--start=nowhere", "--workdir=new"],
]

CODE = """
import json, sys, time
from aila_jax.cli.main import main
for call in json.load(sys.stdin):
    began = time.process_time()  # not of other processes
    code = main(call)
    took = time.process_time() - began
    print(code, "jax" in sys.modules, took < 1.0)
"""


def test_a_wrong_path_answers_at_once_and_before_jax(folder):
    """All calls in one process, so that the first to import JAX is found."""
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        input=json.dumps(CALLS),
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        check=True,
    )
    answers = dict(zip(map(" ".join, CALLS), done.stdout.splitlines(), strict=True))
    assert {call: answer for call, answer in answers.items() if answer != "2 False True"} == {}
    assert len(done.stderr.splitlines()) == len(CALLS)
    assert all(" Fix: " in line for line in done.stderr.splitlines())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "evaluate --checkpoint=nowhere",
            "--checkpoint is 'nowhere'; it must be a run directory that holds a checkpoint. Fix: train first, or correct",
        ),
        (
            "evaluate --checkpoint=empty",
            "it must be a run directory that holds a checkpoint. Fix: train first",
        ),
        ("report --sweep=empty", "--sweep is 'empty'; it must be a folder with sweep.json, or that file."),
        ("report --sweep=s --log=empty", "--log is 'empty'; it must be a metrics.jsonl, or a folder"),
        (
            "report --sweep=s --out=s",
            "--out is 's'; it must be a file to write. Fix: add a file name, such as",
        ),
        ("sweep --checkpoint=c --out=m.jsonl/o", "it must be below a folder, which 'm.jsonl' is not."),
        ("sweep --checkpoint=c --data_dir=nowhere", "--data_dir is 'nowhere'; it must be a folder that is"),
        ("demo --workdir=m.jsonl", "--workdir is 'm.jsonl'; it must be below a folder, which 'm.jsonl' is"),
    ],
)
def test_a_wrong_path_is_told_what_it_must_be(runs, capsys, line, message):
    assert main(line.split()) == 2
    assert message in capsys.readouterr().err
    assert runs.calls == []


@pytest.mark.parametrize("place", ["c", "c/checkpoints", "c/checkpoints/8", "c/checkpoints/../"])
def test_a_checkpoint_may_be_named_in_three_ways(runs, place):
    assert main(["evaluate", f"--checkpoint={place}"]) == 0


def test_a_run_goes_on_without_the_class_file_that_it_began_with(runs, folder):
    (folder / "w").mkdir()
    (folder / "w" / "config.json").write_text("{}")
    kind = ["--config.partition.kind=class_file", "--config.partition.class_file=nowhere"]
    assert main(["train", *CONFIG, *kind]) == 0

"""Command lines, right ones and wrong ones, each in a process of its own: each does its work, or says in one
line why it cannot.
"""

import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import flags

from aila_jax.cli.main import find_command
from aila_jax.config import Config, to_dict
from experiments.faults.apart import environment

LONG = 180.0  # seconds: a command that takes longer hangs
CODES = (0, 1, 2)  # done, failed as explained, a mistake in the call
VALUES = (
    "", "x", "-1", "0", "1", "3", "0.5", "1e999", "nan", "0,0.5,1", "0,,1", "1,1", "true", "none", "/nowhere", ".", "test",
    "../..", "猫", "\u202e", "%s%n", "$(touch pwned)", "a" * 5000, "[1]", "{}",
)  # fmt: skip
AILA = "from aila_jax.cli.main import entry; entry()"
RUN, TEXT = "RUN", "text.txt"  # stand for the run, and for a file in the working directory
SMALL = (
    "--config=recall", "--config.data.rule.sequences=96", "--config.data.rule.pairs=2", "--config.data.rule.queries=2",
    "--config.model.length=10", "--config.model.d_model=16", "--config.model.n_heads=2", "--config.model.d_ff=32",
    "--config.train.steps=2", "--config.train.batch_size=8", "--config.train.warmup_steps=1",
)  # fmt: skip
LINES = {
    "anchors": (f"--checkpoint={RUN}", "--batches=1"),
    "attention": (f"--checkpoint={RUN}", "--text=key0 value2 key1", "--out=attention"),
    "blocks": (f"--checkpoint={RUN}", "--batches=1"),
    "certify": (f"--checkpoint={RUN}",),
    "evaluate": (f"--checkpoint={RUN}", "--max_batches=1"),
    "generate": (f"--checkpoint={RUN}", "--prompt=key0 value2", "--max_tokens=2"),
    "influence": (f"--checkpoint={RUN}", "--positions=2", "--draws=2"),
    "plan": SMALL,
    "report": (f"--sweep={RUN}", "--out=report.html"),
    "score": (f"--checkpoint={RUN}", f"--file={TEXT}"),
    "sweep": (f"--checkpoint={RUN}", "--lams=0,1", "--taus=1", "--max_batches=1", "--out=swept"),
    "train": (*SMALL, "--workdir=trained"),
    "verify": (f"--checkpoint={RUN}",),
}


@dataclass(frozen=True)
class Said:
    """What became of a command line.

    Attributes:
      line: its arguments.
      code: the exit code; None where it was not done in time.
      wrong: what was wrong with that; empty where nothing was.
    """

    line: tuple[str, ...]
    code: int | None
    wrong: str


def drawn_lines(count: int, seed: int) -> list[tuple[str, ...]]:
    """So many command lines, the commands in turn: as in `LINES`, or with one or two flags more."""
    draw, lines, names = random.Random(seed), [], list(LINES)
    known = {name: flags_of(name) for name in names}
    for number in range(count):
        name = names[number % len(names)]
        changed = draw.sample(known[name], draw.choice((0, 1, 1, 1, 2)))
        more = [f"--{flag}={draw.choice(VALUES)}" for flag in changed]
        lines.append((name, *LINES[name], *more))
    return lines


def flags_of(name: str) -> list[str]:
    """The flags of a command, its settings among them."""
    values, command = flags.FlagValues(), find_command(name)
    command.define(values)
    settings = _paths(to_dict(Config()), "config") if command.takes_config else []
    return sorted({*values, *settings})


def _paths(settings: dict[str, Any], place: str) -> list[str]:
    """Every setting by its path."""
    found = []
    for name, value in settings.items():
        path = f"{place}.{name}"
        found += _paths(value, path) if isinstance(value, dict) else [path]
    return found


def given_lines(run: Path, folder: Path, lines: list[tuple[str, ...]]) -> list[Said]:
    """Runs each in `folder`.

    Args:
      run: a small trained run with a sweep.
      folder: a new one.
    """
    folder.mkdir(parents=True)
    (folder / TEXT).write_text("key0 value2 key1\n", encoding="utf-8")
    return [_given(run, folder, line) for line in lines]


def _given(run: Path, folder: Path, line: tuple[str, ...]) -> Said:
    command = [sys.executable, "-c", AILA, *(word.replace(RUN, str(run)) for word in line)]
    began = time.monotonic()
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment(),
            capture_output=True,
            timeout=LONG,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return Said(line, None, f"not done after {time.monotonic() - began:.0f} s")
    said = done.stderr.decode("utf-8", "replace")
    if done.returncode not in CODES or "Traceback" in said:
        return Said(line, done.returncode, f"exit code {done.returncode}: {said[-500:]}")
    if done.returncode and not any(one.startswith("aila: error: ") for one in said.splitlines()):
        return Said(line, done.returncode, f"exit code {done.returncode}, and no reason: {said[-500:]}")
    if (folder / "pwned").exists():
        return Said(line, done.returncode, "it ran what it was given")
    return Said(line, done.returncode, "")

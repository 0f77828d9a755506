"""SIGKILL in the middle of work: it is done again, and ends with the same bits."""

import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.faults.apart import ROOT, environment
from experiments.faults.subject import compiled_once
from experiments.faults.victims import WORKS, not_redone, undisturbed

PATIENCE = 300.0  # seconds that work may take


@dataclass(frozen=True)
class Kill:
    """One kill.

    Attributes:
      work: what was killed.
      place: where.
      number: the how manieth time that it came there; at the place `time`, milliseconds.
      killed: whether it came there; else it was done before.
      wrong: what was wrong afterwards; empty where nothing was.
    """

    work: str
    place: str
    number: int
    killed: bool
    wrong: str


def drawn(count: int, seed: int, works: Sequence[str] = tuple(WORKS)) -> list[tuple[str, str, int]]:
    """So many kills: each work and place in turn, at a time of coming there that is drawn."""
    draw = random.Random(seed)
    places = [(work, place, most) for work in works for place, most in WORKS[work].places.items()]
    places += [(work, "time", 5000) for work in works]
    draw.shuffle(places)
    chosen = (places[index % len(places)] for index in range(count))
    return [(work, place, draw.randint(1, most)) for work, place, most in chosen]


def killed(folder: Path, kills: Sequence[tuple[str, str, int]]) -> list[Kill]:
    """Does each work once without a kill, then kills it and does it again. Where it was done before it came
    to its place so often, it is tried again at half the number.

    Args:
      folder: a new one.
      kills: work, place and number.
    """
    found = []
    with compiled_once(folder / "compiled") as compiled:
        expected = undisturbed(folder, (work for work, _, _ in kills))
        for work, place, number in kills:
            while True:
                here = folder / "killed"
                shutil.copytree(folder / work, here)
                was_killed, wrong = _kill(work, here, place, number, {} if place == "compile" else compiled)
                wrong = wrong or not_redone(work, here, expected[work])
                found.append(Kill(work, place, number, was_killed, wrong))
                shutil.rmtree(here)
                if was_killed or wrong or number == 1:
                    break
                number //= 2  # it was done before it came there: sooner
    return found


def _kill(work: str, folder: Path, place: str, number: int, compiled: Mapping[str, str]) -> tuple[bool, str]:
    """Whether the process was killed, and what was wrong with it if it was not."""
    command = [sys.executable, "-m", "experiments.faults.victims", work, str(folder), place, str(number)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(compiled),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    # SIGALRM asks for SIGKILL; while the interpreter ends nobody answers it, and it kills by itself.
    if done.returncode in (-signal.SIGKILL, -signal.SIGALRM):
        return True, ""
    last = (done.stderr.strip().splitlines() or [""])[-1]
    return False, "" if done.returncode == 0 else f"exit code {done.returncode}: {last}"

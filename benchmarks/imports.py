"""What it takes to begin: importing what a program needs, beside the libraries below it, and `aila --help`.

    python -m benchmarks.imports --out=docs/results/imports

Every call is a process of its own; they take turns. All find compiled bytecode, as every process after the
first does: it is written into a folder that goes away.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.turns import in_turns, write_files

LIBRARIES, IMPORTED, HELP = "import flax, optax", "from aila_jax import load, train, sweep", "aila --help"
COMMANDS = {
    LIBRARIES: ("-c", LIBRARIES),
    IMPORTED: ("-c", IMPORTED),
    HELP: ("-m", "launch", "--help"),
}


@dataclass(frozen=True)
class Cell:
    """One command.

    Attributes:
      who: the command.
      seconds: from its process's start to its end, one number a round.
    """

    who: str
    seconds: tuple[float, ...]


def measured(rounds: int) -> list[Cell]:
    """All of them in turns; RuntimeError where one fails."""
    with tempfile.TemporaryDirectory() as bytecode:
        settings = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        settings["PYTHONPYCACHEPREFIX"] = bytecode
        calls: dict[str, Callable[[], float]] = {
            who: partial(timed, arguments, settings) for who, arguments in COMMANDS.items()
        }
        for call in calls.values():
            call()  # writes the bytecode
        seconds = in_turns(calls, rounds)
    return [Cell(who, seconds[who]) for who in COMMANDS]


def timed(arguments: Sequence[str], settings: dict[str, str]) -> float:
    """Seconds of one process of this Python."""
    began = time.perf_counter()
    ended = subprocess.run([sys.executable, *arguments], env=settings, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if ended.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed: {ended.stderr}")
    return seconds


def table(cells: Sequence[Cell]) -> str:
    """Markdown, a line for each command; ratios are by the libraries, round by round."""
    from benchmarks.rounds import quartiles, ratios

    lines = [f"| | seconds | ÷ `{LIBRARIES}` |", "| --- | --- | --- |"]
    for one in cells:
        own, against = quartiles(one.seconds), ratios(one.seconds, cells[0].seconds)
        lines.append(f"| `{one.who}` | {own.shown(2)} | {against.shown(2)} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Measures, prints a table, and writes it and JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--out", default="", help="folder for imports.json and table.md")
    asked = parser.parse_args(arguments)
    from benchmarks.record import describe_machine

    machine = describe_machine("cpu")
    cells = measured(asked.rounds)
    print(table(cells))
    if asked.out:
        heading = (
            f"{machine.processor}, load {machine.load_before:.1f} before; medians and quartiles of"
            f" {asked.rounds} rounds.\n\n"
        )
        write_files(Path(asked.out), "imports", arguments, machine, cells, heading + table(cells))


if __name__ == "__main__":
    main(sys.argv[1:])

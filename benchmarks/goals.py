"""The goals of speed beside what the result files say of them, as a table.

    python -m benchmarks.goals --results=docs/results

A ratio is of times of the same round: the median over rounds, with a 95 % interval from 10,000 bootstrap
samples of the rounds. A goal holds where the interval's unfavourable end does. Goals without a result file
have no row.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from aila_jax.json_files import read_json
from benchmarks.forms import SWEEP, TRAIN
from benchmarks.imports import HELP, IMPORTED, LIBRARIES

SAMPLES = 10_000


@dataclass(frozen=True)
class Ratio:
    """A median ratio over rounds and the interval that holds it."""

    median: float
    low: float
    high: float
    rounds: int

    @property
    def line(self) -> str:
        """In words."""
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f}; {self.rounds} rounds)"


def ratio(
    own: Sequence[float] | Float[np.ndarray, "rounds"], other: Sequence[float] | Float[np.ndarray, "rounds"]
) -> Ratio:
    """`own` divided by `other`, round by round."""
    each = np.asarray(own) / np.asarray(other)
    draw = np.random.default_rng(0)
    medians = np.median(each[draw.integers(0, len(each), (SAMPLES, len(each)))], axis=1)
    low, high = np.quantile(medians, (0.025, 0.975))
    return Ratio(float(np.median(each)), float(low), float(high), len(each))


@dataclass(frozen=True)
class Goal:
    """A row.

    Attributes:
      what: in words.
      file: of results, below the folder.
      measured: the ratio that a file's document says; None where it does not.
      limit: of the ratio.
      least: whether the limit is the least that is asked for; else the most.
    """

    what: str
    file: str
    measured: Callable[[Mapping[str, Any]], Ratio | None]
    limit: float
    least: bool = False

    def holds(self, found: Ratio) -> bool:
        """Whether the interval's unfavourable end does."""
        return found.low >= self.limit if self.least else found.high <= self.limit


def times_of(document: Mapping[str, Any], shape: str, task: str) -> dict[str, list[float]]:
    """Seconds of a task's turns, by contestant, of a file of `benchmarks.run`."""
    entries = next((one["entries"] for one in document["shapes"] if one["name"] == shape), ())
    return {
        entry["name"]: measure["seconds"]
        for entry in entries
        for measure in entry["measures"]
        if measure["task"] == task
    }


def faster_than(shape: str, *others: str) -> Callable[[Mapping[str, Any]], Ratio | None]:
    """Speed of our training step divided by that of the fastest of others."""

    def measured(document: Mapping[str, Any]) -> Ratio | None:
        times = times_of(document, shape, TRAIN)
        there = [times[name] for name in others if name in times]
        return ratio(min(there, key=np.median), times["ours"]) if there else None

    return measured


def against(shape: str, task: str, own: str, other: str) -> Callable[[Mapping[str, Any]], Ratio | None]:
    """One contestant's time of a task divided by another's."""

    def measured(document: Mapping[str, Any]) -> Ratio | None:
        times = times_of(document, shape, task)
        return ratio(times[own], times[other]) if own in times and other in times else None

    return measured


def certified(document: Mapping[str, Any]) -> Ratio:
    """A step of the preset `certified` divided by one of `small`."""
    times = {one["variant"]: one["seconds"] for one in document["variants"]}
    return ratio(times["preset certified"], times["preset small"])


def attention(
    length: int, own: str, other: str, by_memory: bool = False
) -> Callable[[Mapping[str, Any]], Ratio | None]:
    """One contestant's time, or memory, divided by another's, of a file of `benchmarks.attention`."""

    def measured(document: Mapping[str, Any]) -> Ratio | None:
        cells = {
            one["who"]: one for one in document["cells"] if one["length"] == length and not one["skipped"]
        }
        if own not in cells or other not in cells:
            return None
        if by_memory:
            return ratio([cells[own]["peak_bytes"]], [cells[other]["peak_bytes"]])
        return ratio(cells[own]["seconds"], cells[other]["seconds"])

    return measured


def swept(size: int) -> Callable[[Mapping[str, Any]], Ratio | None]:
    """A sweep's time divided by that of as many evaluations, of a file of `benchmarks.scaling`."""

    def measured(document: Mapping[str, Any]) -> Ratio | None:
        own = {
            one["who"]: one["seconds"]
            for one in document["cells"]
            if (one["axis"], one["size"]) == ("grid", size)
        }
        return ratio(own["sweep"], own["evaluate"]) if own else None

    return measured


def generated(batch: int) -> Callable[[Mapping[str, Any]], Ratio | None]:
    """Speed of generation divided by that of transformers, of a file of `benchmarks.generation`."""

    def measured(document: Mapping[str, Any]) -> Ratio | None:
        own = {one["who"]: one["tokens_per_second"] for one in document["cells"] if one["batch"] == batch}
        return ratio(own["kept"], own["transformers"]) if "transformers" in own else None

    return measured


def imported(document: Mapping[str, Any]) -> Ratio:
    """The time of importing three names divided by that of importing the libraries below them."""
    own = {one["who"]: one["seconds"] for one in document["cells"]}
    return ratio(own[IMPORTED], own[LIBRARIES])


def helped(document: Mapping[str, Any]) -> Ratio:
    """Seconds of `aila --help`."""
    seconds = next(one["seconds"] for one in document["cells"] if one["who"] == HELP)
    return ratio(seconds, np.ones(len(seconds)))


RUN, DIAL, ATTENTION = "benchmark/benchmark.json", "dial_speed/speed.json", "attention/attention.json"
SCALING, IMPORTS = "scaling/scaling.json", "imports/imports.json"
GENERATION = "generation/generation.json"
BASE = "base_speed/benchmark.json"  # a run of its own: four of them fill 24 GiB
TORCH, PLAIN = ("torch-eager", "torch-compile"), ("plain-einsum", "plain-fused", "plain-one-hot")
GOALS = (
    Goal("speed of a training step, `small` ÷ PyTorch's", RUN, faster_than("small", *TORCH), 1.0, True),
    Goal("the same, `paper`", RUN, faster_than("paper", *TORCH), 1.0, True),
    Goal("the same, `base`", BASE, faster_than("base", *TORCH), 1.0, True),
    Goal("the same, `small` ÷ plain JAX's", RUN, faster_than("small", *PLAIN), 1.3, True),
    Goal("the same, `paper`", RUN, faster_than("paper", *PLAIN), 1.1, True),
    *(
        Goal(f"{what}, `{shape}`", RUN, against(shape, task, own, other), limit)
        for what, task, own, other, limit in (
            ("time of a sweep, statistics ÷ none", SWEEP, "ours", "ours-no-stats", 1.05),
            ("time of a training step, λ drawn ÷ no dial", TRAIN, "ours-conditional", "plain-chunk", 1.03),
        )
        for shape in ("small", "paper")
    ),
    Goal("time of a step of `certified` ÷ one of `small`", DIAL, certified, 2.4),
    Goal(
        "attention at 8,192 tokens, time with statistics ÷ without",
        ATTENTION,
        attention(8192, "chunked", "bare"),
        1.05,
    ),
    Goal("the same ÷ PyTorch's, without a dial", ATTENTION, attention(8192, "chunked", "torch"), 1.5),
    Goal(
        "the same, memory held ÷ the reference's",
        ATTENTION,
        attention(8192, "chunked", "reference", True),
        1 / 16,
    ),
    Goal(
        "at 32,768, time of all keys ÷ hard windows'",
        ATTENTION,
        attention(32_768, "chunked", "hard"),
        20.0,
        True,
    ),
    Goal("speed of generation ÷ transformers', one prompt", GENERATION, generated(1), 1.0, True),
    Goal("the same, eight prompts", GENERATION, generated(8), 1.0, True),
    Goal("a sweep of 6 × 3 settings ÷ 18 evaluations", SCALING, swept(18), 1.05),
    Goal(f"`{IMPORTED}` ÷ `{LIBRARIES}`", IMPORTS, imported, 1.2),
    Goal(f"`{HELP}`, seconds", IMPORTS, helped, 1.0),
)


def table(results: Path) -> str:
    """Markdown, a line for each goal that a file speaks of."""
    lines = ["| | measured | goal | |", "| --- | --- | --- | --- |"]
    for goal in GOALS:
        path = results / goal.file
        found = goal.measured(read_json(path)) if path.is_file() else None
        if found is not None:
            sign, word = "≥" if goal.least else "≤", "holds" if goal.holds(found) else "missed"
            lines.append(f"| {goal.what} | {found.line} | {sign} {goal.limit:.3g} | {word} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", default="docs/results", help="folder with the benchmarks' result files")
    print(table(Path(parser.parse_args(arguments).results)))


if __name__ == "__main__":
    main(sys.argv[1:])

"""Time of a training step of our model with one thing changed, divided by that without the change, as JSON
and a table.

    python -m benchmarks.variants --compare=partitions --out=docs/results/partition_speed
    python -m benchmarks.variants --compare=dial --out=docs/results/dial_speed

All run in one process and take turns; a ratio is of one round, so what slows a whole round cancels. What a
table holds does not matter for the time: boundary types and classes are drawn.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from absl import app, flags

from aila_jax.cli.huge_pages import restart_in_huge_pages
from aila_jax.files import write_atomically
from aila_jax.progress import Progress
from benchmarks.forms import TRAIN, OursForm
from benchmarks.record import Machine, Quartiles, commit, describe_machine, load
from benchmarks.rounds import measure, ratios
from benchmarks.runner import Runner, Timing, timing
from benchmarks.shapes import QUICK, SHAPES, Shape, make_shape
from benchmarks.workload import draw_tokens

_SMALL = OursForm(conditional=True, film=True)
_ONE_VIEW = dataclasses.replace(_SMALL, rotary=True, capped=True, dial_weights=True)
_WINDOWS5 = dataclasses.replace(_ONE_VIEW, views=2, distill=0.5, pressure=0.07)
VARIANTS = {  # the first of each is what the others are divided by
    "partitions": {name: OursForm(partition=name) for name in ("windows", "given", "segments", "classes")},
    "dial": {
        "preset small": _SMALL,
        "rotary positions": dataclasses.replace(_SMALL, rotary=True),
        "capped scores": dataclasses.replace(_SMALL, capped=True),
        "weights that turn with the dial": dataclasses.replace(_SMALL, dial_weights=True),
        "heads that turn one after another": dataclasses.replace(_SMALL, staggered=True),
        "every sequence at two λ": dataclasses.replace(_SMALL, views=2),
        "the same, and the first teaches the second": dataclasses.replace(_SMALL, views=2, distill=0.5),
        "the same, and attention outside the block pays": dataclasses.replace(
            _SMALL, views=2, distill=0.5, pressure=0.07
        ),
        "preset certified_windows5, every sequence at one λ": _ONE_VIEW,
        "preset certified_windows5": _WINDOWS5,
        "preset certified": dataclasses.replace(_WINDOWS5, shift=20),
    },
}

flags.DEFINE_enum(
    "compare",
    "partitions",
    tuple(VARIANTS),
    "What is changed: the partition, or the parts of the dial of the preset `certified`.",
)
flags.DEFINE_enum("shape", "small", (*SHAPES, QUICK), "Model shape.")
flags.DEFINE_integer(
    "rounds", 9, "Rounds in which every variant has its turn; medians are over them.", lower_bound=1
)
flags.DEFINE_integer("steps", 3, "Training steps a turn, after one that is not counted.", lower_bound=1)
flags.DEFINE_string("out", "runs/speed", "Folder for speed.json and table.md.")


@dataclass(frozen=True)
class Measured:
    """One variant.

    Attributes:
      seconds, processor_seconds: of `steps` training steps, one number a round.
      versus_first, processor_versus_first: those divided by the times of the first variant in the same round.
    """

    variant: str
    seconds: tuple[float, ...]
    processor_seconds: tuple[float, ...]
    versus_first: Quartiles
    processor_versus_first: Quartiles


@dataclass(frozen=True)
class Result:
    """One run."""

    command: str
    commit: str
    versions: dict[str, str]
    machine: Machine
    shape: str
    tokens: int
    rounds: int
    steps: int
    variants: tuple[Measured, ...]


def main(argv: list[str]) -> None:
    """Parses, measures, writes."""
    if argv[1:]:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; give settings as --flag=value")
    import jax

    values = flags.FLAGS
    command = " ".join(["python -m benchmarks.variants", *sys.argv[1:]])
    shape = make_shape(values.shape, cpu=jax.default_backend() == "cpu")
    result = run(VARIANTS[values.compare], shape, values.rounds, values.steps, command)
    write_atomically(
        Path(values.out) / "speed.json", (json.dumps(dataclasses.asdict(result), indent=1) + "\n").encode()
    )
    write_atomically(Path(values.out) / "table.md", table(result).encode())
    print(table(result))


def run(forms: Mapping[str, OursForm], shape: Shape, rounds: int, steps: int, command: str) -> Result:
    """Compiles the step of each form and times them in turn."""
    from aila_jax.provenance import versions
    from aila_jax.training.sharding import describe_devices

    machine = describe_machine(describe_devices())
    tokens = draw_tokens(shape)
    runners: dict[str, Runner] = {}
    with Progress(len(forms), "variants, compiled:") as progress:
        for name, form in forms.items():
            runners[name] = form.start(shape, tokens, False, (TRAIN,))
            progress.advance()
    times = time_all(runners, rounds, steps)
    first = times[next(iter(forms))]
    measured = tuple(describe(name, times[name], first) for name in forms)
    machine = dataclasses.replace(machine, load_after=load())
    return Result(command, commit(), versions(), machine, shape.name, shape.tokens, rounds, steps, measured)


def time_all(runners: Mapping[str, Runner], rounds: int, steps: int) -> dict[str, list[Timing]]:
    """The time of every variant's turn, one a round."""
    with Progress(rounds * len(runners), "turns:") as progress:

        def time_one(name: str, task: str) -> Timing:
            taken = timing(runners[name], task, steps)
            progress.advance()
            return taken

        return {
            name: found
            for (name, _), found in measure(dict.fromkeys(runners, (TRAIN,)), rounds, time_one).items()
        }


def describe(name: str, times: list[Timing], baseline: list[Timing]) -> Measured:
    """The record of one variant."""
    wall, processor = [one.wall for one in times], [one.processor for one in times]
    wall_ratios = ratios(wall, [one.wall for one in baseline])
    processor_ratios = ratios(processor, [one.processor for one in baseline])
    return Measured(name, tuple(wall), tuple(processor), wall_ratios, processor_ratios)


def table(result: Result) -> str:
    """Markdown: medians over the rounds, with quartiles."""
    machine = result.machine
    lines = [
        (
            f"Training step, shape `{result.shape}` ({result.tokens:,} tokens), {result.rounds} rounds of"
            f" {result.steps} steps, {machine.processor}, {machine.cores} cores, load"
            f" {machine.load_before:.1f} before and {machine.load_after:.1f} after."
        ),
        "",
        f"| | seconds a step, median | time ÷ that of {result.variants[0].variant} | processor time ÷ that |",
        "| --- | --- | --- | --- |",
    ]
    for one in result.variants:
        cells = [
            one.variant,
            f"{np.median(one.seconds) / result.steps:.3f}",
            one.versus_first.shown(3),
            one.processor_versus_first.shown(3),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    restart_in_huge_pages()  # as aila does; all contestants inherit it
    app.run(main)

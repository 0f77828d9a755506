"""One run of the benchmark: start the contestants, prove that they agree, time them in turn, record."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from aila_jax.progress import Progress
from benchmarks.forms import REFERENCE, TASKS, Contestant, PlainForm
from benchmarks.proof import FLOAT32, REDUCED, compare
from benchmarks.record import (
    SCHEMA,
    Entry,
    Measure,
    Proof,
    Result,
    ShapeResult,
    commit,
    describe_machine,
    load,
)
from benchmarks.rounds import Times, fastest, measure, ratios, speeds
from benchmarks.runner import Timing
from benchmarks.shapes import CPU_SEQUENCES, Shape
from benchmarks.worker import Memory, Ready, Worker


def run_shape(
    shape: Shape, tokens: np.ndarray, contestants: Sequence[Contestant], rounds: int, steps: int
) -> tuple[ShapeResult, dict]:
    """Measures all contestants at one shape; returns also the versions of what only some of them use.

    Raises:
      ValueError: a contestant does not compute what the reference computes.
      RuntimeError: a contestant's process failed.
    """
    missing = {one.name: one.form.missing(shape.cpu) for one in contestants}
    present = [one for one in contestants if not missing[one.name]]
    with contextlib.ExitStack() as stack:
        workers, ready, proofs = start_all(stack, shape, tokens, present)
        times = time_all(shape.name, workers, rounds, steps)
        memory = {name: worker.memory() for name, worker in workers.items()}
    plain = [one.name for one in present if one.form.family == PlainForm.family]
    baselines = {
        task: fastest(times, plain, task) for task in TASKS if any(task in one.tasks for one in present)
    }
    entries = []
    for one in contestants:
        if missing[one.name]:
            entries.append(Entry(one.name, one.form.family, one.about, missing[one.name], (), (), None, None))
            continue
        entries.append(
            make_entry(
                one,
                ready[one.name],
                proofs[one.name],
                memory[one.name],
                times,
                baselines,
                shape.tokens * steps,
            )
        )
    versions = {package: version for one in ready.values() for package, version in one.versions.items()}
    return describe_shape(shape, rounds, steps, baselines, tuple(entries)), versions


def start_all(
    stack: contextlib.ExitStack, shape: Shape, tokens: np.ndarray, contestants: Sequence[Contestant]
) -> tuple[dict[str, Worker], dict[str, Ready], dict[str, tuple[Proof, ...]]]:
    """Starts the contestants one after another, the reference first, and proves each of them; `stack` ends
    their processes.
    """
    workers, ready, proofs = {}, {}, {}
    with Progress(len(contestants), f"{shape.name}, compiled:") as progress:
        for one in sorted(contestants, key=lambda one: one.name != REFERENCE):
            workers[one.name] = stack.enter_context(Worker(one, shape, tokens))
            ready[one.name] = workers[one.name].ready()
            proofs[one.name] = prove(one.name, ready[one.name], ready[REFERENCE], shape.dtype)
            progress.advance()
            progress.report(one.name)
    return workers, ready, proofs


def time_all(shape: str, workers: Mapping[str, Worker], rounds: int, steps: int) -> Times:
    """Times every contestant's every task in each round; progress is reported once a round."""
    names = {name: worker.contestant.tasks for name, worker in workers.items()}
    turns = sum(map(len, names.values()))
    done = 0
    with Progress(rounds * turns, f"{shape}, turns:") as progress:

        def time_one(name: str, task: str) -> Timing:
            nonlocal done
            taken = workers[name].timing(task, steps)
            done += 1
            progress.advance()
            if done % turns == 0:
                progress.report(f"round {done // turns} of {rounds}")
            return taken

        return measure(names, rounds, time_one)


def describe_shape(
    shape: Shape, rounds: int, steps: int, baselines: dict[str, str], entries: tuple[Entry, ...]
) -> ShapeResult:
    """The record of one shape."""
    model = shape.config.model
    return ShapeResult(
        name=shape.name,
        vocab_size=shape.vocab_size,
        d_model=model.d_model,
        n_heads=model.n_heads,
        d_ff=model.d_ff,
        n_layers=model.n_layers,
        length=model.length,
        batch_size=shape.batch_size,
        dtype=shape.dtype,
        tokens=shape.tokens,
        loss_chunk=shape.chunk,
        rounds=rounds,
        steps=steps,
        plain=baselines,
        entries=entries,
    )


def prove(name: str, mine: Ready, reference: Ready, dtype: str) -> tuple[Proof, ...]:
    """The proofs of one contestant: in full float32, and of the timed program where that is another one."""
    proofs = [compare(name, "full float32", mine.exact, reference.exact, FLOAT32)]
    if mine.timed is not None:
        # Against the exact reference, so that the reference's own reduced program is proved too.
        proofs.append(compare(name, f"as timed, {dtype}", mine.timed, reference.exact, REDUCED))
    return tuple(proofs)


def make_entry(
    one: Contestant,
    ready: Ready,
    proofs: tuple[Proof, ...],
    memory: Memory,
    times: Times,
    baselines: dict[str, str],
    tokens: int,
) -> Entry:
    """The record of one contestant; `tokens` were handled in each round."""
    measures = []
    for task in one.tasks:
        mine, plain = times[one.name, task], times[baselines[task], task]
        wall, processor = tuple(turn.wall for turn in mine), tuple(turn.processor for turn in mine)
        measures.append(
            Measure(
                task=task,
                compile_seconds=ready.compile_seconds[task],
                seconds=wall,
                processor_seconds=processor,
                tokens_per_second=speeds(wall, tokens),
                versus_plain=ratios(wall, [turn.wall for turn in plain]),
                processor_versus_plain=ratios(processor, [turn.processor for turn in plain]),
            )
        )
    return Entry(
        one.name, one.form.family, one.about, "", proofs, tuple(measures), memory.resident, memory.device
    )


def run_all(
    shapes: Sequence[Shape],
    tokens: Sequence[np.ndarray],
    contestants: Sequence[Contestant],
    rounds: int,
    steps: int,
    command: str,
    data: str,
) -> Result:
    """Measures every shape; `steps` 0 takes the default of the device."""
    from aila_jax.provenance import versions
    from aila_jax.training.sharding import describe_devices

    began = time.monotonic()
    machine = describe_machine(describe_devices())
    found = versions()
    results = []
    for shape, arrays in zip(shapes, tokens, strict=True):
        result, more = run_shape(shape, arrays, contestants, rounds, steps or default_steps(shape))
        results.append(result)
        found |= more
    machine = replace(machine, load_after=load())
    minutes = (time.monotonic() - began) / 60
    return Result(SCHEMA, command, data, commit(), found, machine, minutes, tuple(results))


def default_steps(shape: Shape) -> int:
    """Executions a visit: about a second's worth, so that starting and waiting do not count."""
    if not shape.cpu:
        return 50
    return 1 if shape.name in CPU_SEQUENCES else 3

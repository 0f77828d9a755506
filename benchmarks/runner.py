"""What a contestant does inside its process: compile, prove that it computes the same, run against the
clock.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.forms import SWEEP, TRAIN

PROOF_STEPS = 3


@dataclass(frozen=True)
class Evidence:
    """What a contestant computes from the common weights and tokens at λ = 0.

    Attributes:
      losses, gradient_norms: of the first training steps, nats; the norms are before clipping.
      sweep_loss: mean loss of an evaluation, nats.
      accuracy: its share of targets ranked first. None where it has no such task.
    """

    losses: tuple[float, ...]
    gradient_norms: tuple[float, ...]
    sweep_loss: float | None = None
    accuracy: float | None = None


class Runner(Protocol):
    """One contestant, built and compiled. `train` and `evaluate` return without waiting for the device.

    Attributes:
      compile_seconds: from nothing to the first result of each task, less one ordinary execution where that
        cannot be told apart.
      versions: of the packages that only this contestant needs.
    """

    compile_seconds: dict[str, float]
    versions: dict[str, str]

    def train(self, index: int, ordinary: bool = False) -> tuple[Any, Any]:
        """One training step on batch `index` (any number): loss and gradient norm. `ordinary` puts λ at 0."""

    def evaluate(self, index: int, ordinary: bool = False) -> tuple[Any, Any]:
        """Summed loss and number of correct targets of batch `index`."""

    def wait(self, value: Any) -> None:
        """Returns when `value` has been computed."""

    def device_peak_bytes(self) -> int | None:
        """Most memory taken on the accelerator so far; None on a CPU."""


def prove(runner: Runner, tasks: tuple[str, ...], tokens: int) -> Evidence:
    """Losses and gradient norms at λ = 0 from the common weights; a training step changes them, so evaluation
    comes first.
    """
    sweep_loss = accuracy = None
    if SWEEP in tasks:
        loss, correct = runner.evaluate(0, ordinary=True)
        sweep_loss, accuracy = float(loss) / tokens, int(correct) / tokens
    steps = [runner.train(index, ordinary=True) for index in range(PROOF_STEPS if TRAIN in tasks else 0)]
    return Evidence(
        tuple(float(loss) for loss, _ in steps), tuple(float(norm) for _, norm in steps), sweep_loss, accuracy
    )


@dataclass(frozen=True)
class Timing:
    """Seconds of one turn: on the wall's clock, and of all of the process's threads on processors, which
    other programs hardly change.
    """

    wall: float
    processor: float


def timing(
    runner: Runner,
    task: str,
    steps: int,
    clock: Callable[[], float] = time.perf_counter,
    processor_clock: Callable[[], float] = time.process_time,
) -> Timing:
    """Time of `steps` executions after one that is not counted, until the device has finished the last of
    them.
    """
    execute = runner.train if task == TRAIN else runner.evaluate
    runner.wait(execute(0))
    began, processor_began = clock(), processor_clock()
    value = None
    for index in range(steps):
        value = execute(index + 1)
    runner.wait(value)
    return Timing(clock() - began, processor_clock() - processor_began)

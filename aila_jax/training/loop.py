"""The training loop: feed the jitted step, read its metrics a few steps later, call hooks."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from aila_jax.training.state import TrainState, part_names
from aila_jax.training.step import StepMetrics, TrainStep

LAG = 8  # steps between a step and the reading of its metrics: the host never waits for the step in flight


@dataclass(frozen=True)
class Hook:
    """Something to do with the state every so many steps, and at the end. The loop waits for all steps so far
    before it does.

    Attributes:
      every: steps between calls, at least 1 (with `once` 0 is never).
      call: (steps done, state) → None, or the state to go on with.
      at_end: call it after the last step too.
      on_stop: call it where training is asked to stop.
      once: after step number `every` only, not after its multiples.
    """

    every: int
    call: Callable[[int, TrainState], TrainState | None]
    at_end: bool = True
    on_stop: bool = False
    once: bool = False

    def due(self, step: int, last: int) -> bool:
        """Whether to call it after `step`, where `last` is the last one."""
        regular = step == self.every if self.once else step % self.every == 0
        return regular or (self.at_end and step == last)


class NonFiniteError(RuntimeError):
    """Training stopped because more than `max_skipped` updates were not finite.

    Attributes:
      step: the first such step, counted from 1 as logs and checkpoints do. parts: what was not finite there.
        skipped: how many updates were discarded.
    """

    def __init__(self, step: int, parts: list[str], skipped: int, max_skipped: int):
        self.step, self.parts, self.skipped = step, parts, skipped
        super().__init__(
            f"{skipped} update(s) were not finite, the limit train.max_skipped is {max_skipped}: "
            f"first at step {step}, in {', '.join(parts)}; all of them were discarded. "
            "Fix: lower train.learning_rate or train.clip_norm, or look at the data of that step"
        )


def fit(
    state: TrainState,
    *,
    train_step: TrainStep,
    inputs: Callable[[int], tuple[Any, ...]],
    steps: int,
    on_metrics: Callable[[int, StepMetrics], None],
    hooks: tuple[Hook, ...] = (),
    max_skipped: int = 0,
    stop: Callable[[int], BaseException | None] = lambda step: None,
) -> TrainState:
    """Trains from `state.step` up to `steps` and returns the last state.

    Args:
      state: where training goes on from.
      train_step: jitted (state, *inputs(step)) → (state, metrics).
      inputs: of the step of that number, counted from 0, asked for in order: its batch, λ and τ of its
        sequences, and the strength of the penalty where there is one, on the devices.
      steps: the last step.
      on_metrics: gets every step's number (from 1) and its metrics on the host, in order, at most LAG steps
        late.
      hooks: run after the metrics of all steps so far have been read.
      max_skipped: updates that may be discarded, in all.
      stop: asked after every step, with its number: what to raise once `hooks` with `on_stop` have run, or
        None to go on.

    Raises:
      What `stop` returns. NonFiniteError: more than `max_skipped` updates were discarded.
    """
    names = part_names(state.params)
    pending: deque[tuple[int, StepMetrics]] = deque()

    def read(most_pending: int) -> None:
        while len(pending) > most_pending:
            step, metrics = pending.popleft()
            host = jax.device_get(metrics)
            stop_if_skipped(host, names, max_skipped)
            on_metrics(step, host)

    for step in range(int(state.step) + 1, steps + 1):
        state, metrics = train_step(state, *inputs(step - 1))
        pending.append((step, metrics))
        read(LAG)
        for hook in hooks:
            if hook.due(step, steps):
                read(0)
                changed = hook.call(step, state)
                state = state if changed is None else changed
        if reason := stop(step):
            read(0)
            for hook in hooks:
                if hook.on_stop:
                    hook.call(step, state)
            raise reason
    read(0)
    return state


def stop_if_skipped(metrics: StepMetrics, names: list[str], max_skipped: int) -> None:
    """Raises NonFiniteError where more updates than `max_skipped` were discarded so far."""
    skipped = int(metrics.skipped)
    if skipped > max_skipped:
        parts: list[Any] = [
            name for name, bad in zip(names, np.asarray(metrics.bad_parts), strict=True) if bad
        ]
        raise NonFiniteError(int(metrics.first_bad_step) + 1, parts, skipped, max_skipped)

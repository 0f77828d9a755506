"""What a run will take: memory and time of a step, from one that is thrown away."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from aila_jax.training.sharding import Sharding
from aila_jax.training.state import TrainState


@dataclass(frozen=True)
class Forecast:
    """What a step takes.

    Attributes:
      seconds: wall time.
      tokens: that it reads.
      megabytes: of memory on a device, arguments, results and what is held between; None where the compiler
        does not say.
    """

    seconds: float
    tokens: int
    megabytes: float | None

    def line(self, steps: int) -> str:
        """In words, for a run of so many steps."""
        memory = "" if self.megabytes is None else f"{self.megabytes:,.0f} MB a device, "
        minutes = steps * self.seconds / 60
        took = f"{minutes:,.0f} min" if minutes >= 2 else f"{60 * minutes:,.0f} s"
        return (
            f"{memory}{self.tokens / self.seconds:,.0f} tokens/s, about {took} for {steps:,} steps of"
            f" {self.tokens:,} tokens (by one step that is thrown away)"
        )


def tried(
    step: Callable[..., Any], state: TrainState, inputs: tuple[Any, ...], tokens: int, sharding: Sharding
) -> tuple[Callable[..., Any], TrainState, Forecast]:
    """The step, compiled, the state as it was, and what a step takes.

    Args:
      step: of `map_step`; it reuses the state's buffers.
      state: where training goes on from; its base goes through the step as it is, the rest is copied.
      inputs: of one step, beside the state.
      tokens: that a step reads.
      sharding: where the state lives.
    """
    megabytes = None
    if hasattr(step, "lower"):  # pmap has no such form here
        step = step.lower(state, *inputs).compile()
        memory = step.memory_analysis()  # type: ignore[attr-defined]
        if memory is not None:
            held = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes
            megabytes = (held - memory.alias_size_in_bytes) / 1e6
    kept = jax.tree.map(lambda x: np.array(x, copy=True), replace(state, base=None))
    for _ in range(1 if megabytes is not None else 2):  # the first call of what is not compiled yet compiles
        began = time.perf_counter()
        state, metrics = step(state, *inputs)
        jax.block_until_ready(metrics)
        seconds = time.perf_counter() - began
    before = replace(sharding.replicate(kept), base=state.base)
    return step, before, Forecast(seconds, tokens, megabytes)

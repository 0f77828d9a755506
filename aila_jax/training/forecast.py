"""What a run will take: memory and time of a step, from one that is thrown away."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from aila_jax.planning.forecast import Forecast
from aila_jax.training.sharding import Sharding, gathered
from aila_jax.training.state import TrainState


def tried(
    step: Callable[..., Any], state: TrainState, inputs: tuple[Any, ...], tokens: int, sharding: Sharding
) -> tuple[Callable[..., Any], TrainState, Forecast]:
    """The step, compiled, the state as it was, and what a step takes. All processes of a job call it.

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
    # A copy, because on a CPU what is gathered may be the very buffers that the step reuses.
    kept = jax.tree.map(lambda x: np.array(x, copy=True), gathered(replace(state, base=None)))
    for _ in range(1 if megabytes is not None else 2):  # the first call of what is not compiled yet compiles
        began = time.perf_counter()
        state, metrics = step(state, *inputs)
        jax.block_until_ready(metrics)
        seconds = time.perf_counter() - began
    before = replace(sharding.place(kept), base=state.base)
    return step, before, Forecast(seconds, tokens, megabytes, "by one step that is thrown away")

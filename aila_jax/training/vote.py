"""When several processes stop: after the same step, whichever was asked to."""

import signal
from collections import deque

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aila_jax.processes import here
from aila_jax.training.loop import LAG
from aila_jax.training.sharding import all_devices
from aila_jax.training.stopping import TrainingStopped
from aila_jax.types import Array

OTHER = 2**15  # above the numbers of all signals: a process stops for a reason of its own


class StopVote:
    """What to stop with after a step. Alone, that is one's own reason.

    With several processes each says its reason after every step, and all of them read what was said so many
    steps later: a process that left alone would leave the others waiting for its part of the next sum.
    """

    def __init__(self) -> None:
        self._pending: deque[Array] = deque()
        if here.count() == 1:
            return
        devices = all_devices()
        mesh = Mesh(np.asarray(devices), ("all",))
        self._size, self._cut = len(devices), NamedSharding(mesh, PartitionSpec("all"))
        self._largest = jax.jit(jax.numpy.max, out_shardings=NamedSharding(mesh, PartitionSpec()))

    def __call__(self, step: int, own: BaseException | None) -> BaseException | None:
        """After `step`, with one's own reason to stop, if any: what all stop with now; None to go on."""
        if here.count() == 1:
            return own
        said = 0 if own is None else own.signum if isinstance(own, TrainingStopped) else OTHER
        votes = jax.make_array_from_callback(
            (self._size,), self._cut, lambda index: np.full(self._size, said, np.int32)[index]
        )
        self._pending.append(self._largest(votes))
        if len(self._pending) <= LAG:
            return None
        heard = int(self._pending.popleft())
        if not heard or own is not None:
            return own if heard else None
        return TrainingStopped(step, signal.SIGTERM if heard == OTHER else heard)

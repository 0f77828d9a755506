"""Stopping between two steps on Ctrl-C or SIGTERM, so that nothing trained is lost."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingStopped(KeyboardInterrupt):
    """Training was asked to stop and did so between two steps, after saving.

    Attributes:
      step: steps done. signum: the signal that asked.
    """

    def __init__(self, step: int, signum: int):
        self.step, self.signum = step, signum
        super().__init__(
            f"stopped by {signal.Signals(signum).name} after step {step}, which is saved; the same command"
            " continues from there"
        )


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], int]]:
    """Inside, the first SIGINT or SIGTERM only makes the yielded function return its number; before it
    returns 0.

    A second signal does what it did before, so a loop that hangs can still be stopped. Outside the main
    thread, where Python takes no signals, nothing changes.
    """
    received = 0

    def take(signum: int, frame: FrameType | None) -> None:
        nonlocal received
        received = signum
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = (
        {number: signal.getsignal(number) for number in SIGNALS}
        if threading.current_thread() is threading.main_thread()
        else {}
    )
    for number in before:
        signal.signal(number, take)
    try:
        yield lambda: received
    finally:
        restore()

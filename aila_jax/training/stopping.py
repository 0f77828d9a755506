"""Stopping between two steps on Ctrl-C, SIGTERM or SIGHUP, so that nothing trained is lost."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


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


def takes(signum: int) -> bool:
    """Whether a handler is to be put in place of the one that `signum` has: an ignored SIGHUP (`nohup`) stays
    ignored.
    """
    return signum == signal.SIGINT or signum == signal.SIGTERM or signal.getsignal(signum) != signal.SIG_IGN


class StopRequests:
    """Takes signals while it is entered; the first only makes `asked` return an error to raise.

    A second signal does what it did before, so a loop that hangs can still be stopped. While a checkpoint is
    written (`saving`) it only says so. Outside the main thread, where Python takes no signals, nothing
    changes.
    """

    def __init__(self) -> None:
        self._received = 0
        self._saving: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequests":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in SIGNALS if takes(number)}
        for number in self._before:
            signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def asked(self, step: int) -> TrainingStopped | None:
        """What to raise once step `step` is saved; None where no signal came."""
        return TrainingStopped(step, self._received) if self._received else None

    @contextlib.contextmanager
    def saving(self, step: int) -> Iterator[None]:
        """Inside, no signal ends the process: the checkpoint of `step` is being written."""
        self._saving = step
        try:
            yield
        finally:
            self._saving = None

    def _take(self, signum: int, frame: FrameType | None) -> None:
        first, self._received = not self._received, self._received or signum
        if first:
            return
        if self._saving is not None:
            say(f"aila: the checkpoint of step {self._saving} is being saved; the run ends when that is done")
            return
        handler = self._before[signum]
        if callable(handler):
            handler(signum, frame)
        elif handler == signal.SIG_DFL:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)


def say(line: str) -> None:
    """Writes a line to standard error from a signal's handler: past Python's buffer, which the interrupted
    code may be writing to, and without an error where nobody reads it.
    """
    with contextlib.suppress(OSError, AttributeError, ValueError):
        os.write(sys.stderr.fileno(), f"{line}\n".encode())

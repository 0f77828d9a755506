"""What SIGINT, SIGTERM and SIGHUP do to a command: it ends with one line and the exit code 128 + the signal's
number. While a model trains they are requests to stop instead (see `training.stopping`).

This imports next to nothing: the handlers must stand before anything that takes time is imported.
"""

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

from aila_jax.training.stopping import SIGNALS, say, takes

# An exception that a handler raises below one of these comes out as another one, or not at all, or ends the
# process with a memory fault (seen while JAX compiles). None of them has files of ours open.
FRAGILE = {"_frozen_importlib", "asyncio", "importlib", "jax", "jaxlib", "orbax", "threading"}


class Interrupted(KeyboardInterrupt):
    """A signal ended the command.

    Attributes:
      signum: the signal.
    """

    def __init__(self, signum: int):
        self.signum = signum
        super().__init__(line_of(signum))


def line_of(signum: int) -> str:
    """What the user reads of a signal that ended the command."""
    return "interrupted" if signum == signal.SIGINT else f"ended by {signal.Signals(signum).name}"


class Answer:
    """What a signal does now.

    Attributes:
      working: whether an exception reaches code that tidies up and says what happened.
      taken: the signal that is ending the command; 0 where none is.
      code: the exit code of a command that is done; None before.
    """

    def __init__(self) -> None:
        self.working = False
        self.taken = 0
        self.code: int | None = None

    def take(self, signum: int, frame: FrameType | None) -> None:
        """The handler: raises Interrupted; where that is not safe, or at a second signal, ends the process
        here.
        """
        if self.code is not None:
            os._exit(self.code)
        if self.taken or not self.working or _is_fragile(frame):
            say(f"aila: {line_of(self.taken or signum)}")
            os._exit(128 + (self.taken or signum))
        self.taken = signum
        raise Interrupted(signum)


ANSWER = Answer()  # of this process, as handlers are


def install() -> None:
    """Puts the handlers in place for the rest of the process, and opens standard streams that are closed, so
    that no file of the command gets their numbers.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for signum in filter(takes, SIGNALS):
        signal.signal(signum, ANSWER.take)
        # While Python takes itself apart it has no handlers. What is registered first runs last.
        atexit.register(signal.signal, signum, signal.SIG_IGN)


@contextlib.contextmanager
def working() -> Iterator[Answer]:
    """Inside, the first signal is an exception."""
    ANSWER.working, ANSWER.taken = True, 0
    try:
        yield ANSWER
    finally:
        ANSWER.working = False


def _is_fragile(frame: FrameType | None) -> bool:
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] in FRAGILE:
            return True
        frame = frame.f_back
    return False

"""One process a contestant: its memory is its own, its threads rest while others are measured, its failure
names it.
"""

import multiprocessing
import resource
import sys
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from benchmarks.forms import Contestant
from benchmarks.runner import Evidence, Timing, prove, timing
from benchmarks.shapes import Shape


@dataclass(frozen=True)
class Ready:
    """A contestant that may be measured.

    Attributes:
      exact: its evidence in full float32.
      timed: that of the program that is timed, where it is another one (bfloat16, or a GPU).
      compile_seconds: a task each.
      versions: of packages that only it uses.
    """

    exact: Evidence
    timed: Evidence | None
    compile_seconds: dict[str, float]
    versions: dict[str, str]


@dataclass(frozen=True)
class Memory:
    """Peaks in bytes: of the process's resident memory, and on the accelerator (None on a CPU)."""

    resident: int
    device: int | None


class Worker:
    """The parent's side of a contestant's process; a context manager that ends it.

    Raises (from every call):
      RuntimeError: the process failed; the message holds its traceback, or says that it died.
    """

    def __init__(self, contestant: Contestant, shape: Shape, tokens: np.ndarray):
        self.contestant = contestant
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, contestant, shape, tokens), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join()
        self._connection.close()

    def ready(self) -> Ready:
        """Waits until it has compiled and computed its evidence."""
        return self._answer()

    def timing(self, task: str, steps: int) -> Timing:
        """Time of `steps` executions of `task`."""
        return self._ask("timing", task, steps)

    def memory(self) -> Memory:
        """Its peaks so far."""
        return self._ask("memory")

    def _ask(self, *request: Any) -> Any:
        self._connection.send(request)
        return self._answer()

    def _answer(self) -> Any:
        name = self.contestant.name
        try:
            kind, value = self._connection.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(
                f"{name} died with exit code {self._process.exitcode}; −9 is mostly a lack of memory. "
                "Fix: a smaller --batch_size, or fewer --contestants"
            ) from None
        if kind == "error":
            raise RuntimeError(f"{name} failed:\n{value}")
        return value


def _serve(connection: Connection, contestant: Contestant, shape: Shape, tokens: np.ndarray) -> None:
    """The contestant's side: builds it, then answers requests until the parent hangs up."""
    try:
        exact_is_timed = shape.cpu and shape.dtype == "float32"
        runner = contestant.form.start(shape, tokens, True, contestant.tasks)
        exact = prove(runner, contestant.tasks, shape.tokens)
        timed = None
        if not exact_is_timed:
            del runner
            runner = contestant.form.start(shape, tokens, False, contestant.tasks)
            timed = prove(runner, contestant.tasks, shape.tokens)
        compile_seconds = {task: runner.compile_seconds[task] for task in contestant.tasks}
        connection.send(("ready", Ready(exact, timed, compile_seconds, runner.versions)))
        while True:
            request = connection.recv()
            if request[0] == "timing":
                connection.send(("timing", timing(runner, *request[1:])))
            else:
                connection.send(("memory", Memory(peak_resident_bytes(), runner.device_peak_bytes())))
    except EOFError:
        return
    except Exception:
        connection.send(("error", traceback.format_exc()))


def peak_resident_bytes() -> int:
    """The most memory that this process has held so far; on Linux getrusage begins with its parent's."""
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

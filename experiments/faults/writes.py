"""Writes that fail, wherever work writes: loud within seconds, and nothing that was there is lost."""

import contextlib
import errno
import io
import itertools
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from experiments.faults.subject import newest
from experiments.faults.victims import WORKS, not_redone, undisturbed

ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE)
SOON = 5.0  # seconds from the failure to the end
# Calls that may fail, and how often each of them comes at least.
CALLS = {
    "train": {"write": 12, "new file": 3, "replace": 3, "rename": 3, "fsync": 40, "mkdir": 5},
    "localise": {"write": 8, "new file": 3, "replace": 3, "rename": 3, "fsync": 30, "mkdir": 5},
    "sweep": {"write": 8, "replace": 3, "fsync": 10, "mkdir": 1},
    "answer": {"write": 8, "replace": 8, "fsync": 8, "mkdir": 2},
}


@dataclass(frozen=True)
class Failed:
    """One write that failed.

    Attributes:
      work: what was at work.
      call: which call failed.
      number: the how manieth of them.
      error: with what, by its name.
      said: what the work said; empty where it went on without.
      seconds: from the failure to the end of the work.
      wrong: what was wrong; empty where nothing was.
    """

    work: str
    call: str
    number: int
    error: str
    said: str
    seconds: float
    wrong: str


def every_write(each: int = 2) -> list[tuple[str, str, int, int]]:
    """Work, call, number and error: each call of each work `each` times, evenly spread, errors in turn."""
    errors = itertools.cycle(ERRORS)
    return [
        (work, call, 1 + round(index * (most - 1) / max(each - 1, 1)), next(errors))
        for work, calls in CALLS.items()
        for call, most in calls.items()
        for index in range(min(each, most))
    ]


def failed_writes(folder: Path, cases: Sequence[tuple[str, str, int, int]]) -> list[Failed]:
    """Does each work once as it is, then with a write that fails, then again as it is.

    Args:
      folder: a new one.
      cases: of `every_write`.
    """
    expected, found = undisturbed(folder, (work for work, *_ in cases)), []
    for index, (work, call, number, code) in enumerate(cases):
        here = folder / f"write{index}"
        shutil.copytree(folder / work, here)
        said, seconds, wrong = _with_failure(work, here, call, number, code)
        if not wrong:
            wrong = _after(work, here, expected[work])
        found.append(Failed(work, call, number, errno.errorcode[code], said, seconds, wrong))
        shutil.rmtree(here)
    return found


def _with_failure(work: str, folder: Path, call: str, number: int, code: int) -> tuple[str, float, str]:
    """What the work said, how long it took to say it, and what was wrong with that."""
    said, wrong = "", ""
    with (
        failing(call, number, code) as when,
        warnings.catch_warnings(),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")  # a cache that cannot be written gives one, and the work goes on
        try:
            WORKS[work].work(folder)
        except (OSError, ValueError) as error:
            said = str(error).splitlines()[0]
            if os.strerror(code) not in said:
                wrong = f"it does not say why: {said}"
        except AssertionError:
            wrong = "it says that it did what it did not"
        ended = time.monotonic()
    seconds = ended - when[0] if when and said else 0.0
    if said and seconds > SOON:
        wrong = f"it said so after {seconds:.1f} s"
    if said and not when:
        wrong = f"it failed by itself: {said}"
    return said, seconds, wrong


def _after(work: str, folder: Path, expected: str) -> str:
    """What is wrong once nothing fails any more; empty where nothing is."""
    try:
        for run in ("run", "localised"):
            if (folder / run).is_dir():
                newest(folder / run)
    except (OSError, ValueError) as error:
        return f"what was there is damaged: {error}"
    return not_redone(work, folder, expected)


@contextlib.contextmanager
def failing(call: str, number: int, code: int) -> Iterator[list[float]]:
    """Makes the `number`-th call of a kind fail, and all later ones; yields when that was, once it was."""
    from aila_jax import files
    from aila_jax.reporting import kept_cells
    from aila_jax.runs import lease

    when: list[float] = []
    count = itertools.count(1)
    owners: dict[str, list[tuple[Any, str]]] = {
        "write": [(files, "write_whole"), (kept_cells, "write_whole")],
        "new file": [(files, "new_file")],
        "replace": [(os, "replace")],
        "rename": [(os, "rename")],
        "fsync": [(os, "fsync")],
        "mkdir": [(os, "mkdir")],
    }

    def failing_call(real: Callable[..., Any]) -> Callable[..., Any]:
        def fails(*args: Any, **kwargs: Any) -> Any:
            if next(count) < number:
                return real(*args, **kwargs)
            when[:] = when or [time.monotonic()]
            raise OSError(code, os.strerror(code))

        return fails

    with contextlib.ExitStack() as patches:
        patches.enter_context(patch.object(lease, "BEAT", 3600.0))  # or its writes come at any time
        for owner, name in owners[call]:
            patches.enter_context(patch.object(owner, name, failing_call(getattr(owner, name))))
        yield when

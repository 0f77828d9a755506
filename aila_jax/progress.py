"""How far a long piece of work is: a bar on a terminal, one line at a time in a file or a pipe."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from typing import ClassVar

from tqdm import tqdm

from aila_jax.processes.here import first

SILENCE = 15.0  # seconds without a word after which a stage says that it still goes on


class _Bar(tqdm):
    """A bar without tqdm's thread: that waits for ever on the lock of a bar that could not be drawn."""

    monitor_interval = 0


class Progress:
    """Counts `total` units of work on standard error.

    On a terminal that is a bar that redraws itself. Anywhere else a bar would make one endless line, so each
    `report` prints a line of its own. Where standard error cannot be written, the work goes on unseen.

    Attributes:
      error: why nothing is shown any more; None while it is.
      shown: how often anything was shown, by all of them.

    Args:
      total: units of work; None where nobody knows. unit: what they are, one word. start: units already done
        before. quiet: show nothing; of several processes the first one shows it.
    """

    shown: ClassVar[int] = 0

    def __init__(self, total: int | None, unit: str, start: int = 0, quiet: bool = False):
        terminal, quiet = sys.stderr.isatty(), quiet or not first()
        self.error: OSError | None = None
        self._bar = _Bar(
            total=total,
            initial=start,
            unit=unit,
            unit_scale=total is not None and total > 99_999,
            disable=quiet or not terminal,
            dynamic_ncols=True,
            mininterval=0.5,
            delay=1e-9,  # drawn at the first `advance`, not here, where an error would leave no bar at all
        )
        self._lines = not (quiet or terminal)
        self._total, self._unit, self._start, self._done = total, unit, start, start
        self._began = time.monotonic()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def advance(self, count: int = 1) -> None:
        """Some more units are done."""
        self._done += count
        self._show(lambda: self._bar.update(count))

    def report(self, text: str) -> None:
        """Shows `text` beside the bar, or in a line with the units done and the time left at the mean speed
        so far.
        """
        self._show(lambda: self._bar.set_postfix_str(text))
        if self._lines:
            of, time_left = self._time_left(time.monotonic() - self._began)
            line = f"{self._unit} {self._done:,}{of}: {text}, {time_left}"
            self._show(lambda: print(line, file=sys.stderr, flush=True))

    def _show(self, write: Callable[[], object]) -> None:
        if self.error is not None:
            return
        try:
            write()
            Progress.shown += 1
        except OSError as error:
            self.error, self._bar.disable = error, True

    def _time_left(self, seconds: float) -> tuple[str, str]:
        if self._total is None:
            return "", f"{duration(seconds)} so far"
        left = seconds * (self._total - self._done) / max(self._done - self._start, 1)
        return f" of {self._total:,}", (
            f"ETA {duration(left)}" if self._done < self._total else f"done in {duration(seconds)}"
        )

    def close(self) -> None:
        """Ends the bar's line."""
        self._show(self._bar.close)


class Stage:
    """One part of a long piece of work, a context manager: says on standard error what begins and how long it
    takes, that it still goes on where nothing else is shown for `SILENCE` seconds, and when it ended.

    Args:
      number: of the stage, from 1.
      of: stages in all.
      title: what it does.
      about: how long that takes, for people.
    """

    def __init__(self, number: int, of: int, title: str, about: str):
        self._place, self._begins = f"[{number} of {of}]", f"{title} (about {about})"
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._say_so, daemon=True)

    def __enter__(self) -> "Stage":
        self._began = time.monotonic()
        _write(f"{self._place} {self._begins}")
        self._watch.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._over.set()
        self._watch.join()
        if kind is None:
            _write(f"{self._place} done in {self._so_far()}")

    def _so_far(self) -> str:
        return duration(time.monotonic() - self._began)

    def _say_so(self) -> None:
        seen = Progress.shown
        while not self._over.wait(SILENCE):
            if Progress.shown == seen:
                _write(f"      still at it, {self._so_far()} so far")
            seen = Progress.shown


def _write(line: str) -> None:
    """A line on standard error, in the place of a bar that is drawn there; what cannot be written is not."""
    # Not by tqdm.write, which waits for ever on the lock of a bar that could not be drawn.
    with contextlib.suppress(OSError):
        print(f"\r\033[K{line}" if sys.stderr.isatty() else line, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"

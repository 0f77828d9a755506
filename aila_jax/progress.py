"""How far a long piece of work is: a bar on a terminal, one line at a time in a file or a pipe."""

import sys
import time
from collections.abc import Callable

from tqdm import tqdm


class _Bar(tqdm):
    """A bar without tqdm's thread: that waits for ever on the lock of a bar that could not be drawn."""

    monitor_interval = 0


class Progress:
    """Counts `total` units of work on standard error.

    On a terminal that is a bar that redraws itself. Anywhere else a bar would make one endless line, so each
    `report` prints a line of its own. Where standard error cannot be written, the work goes on unseen.

    Attributes:
      error: why nothing is shown any more; None while it is.

    Args:
      total: units of work; None where nobody knows. unit: what they are, one word. start: units already done
        before. quiet: show nothing.
    """

    def __init__(self, total: int | None, unit: str, start: int = 0, quiet: bool = False):
        terminal = sys.stderr.isatty()
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


def duration(seconds: float) -> str:
    """45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"

"""Settings that differ from those of what is there already."""

import reprlib
from collections.abc import Sequence
from typing import Any

MOST_LINES = 12

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 30
_SHORT.maxtuple = _SHORT.maxlist = 3


class SettingsConflict(ValueError):
    """A run directory holds a run with other settings; the message is a table of several lines.

    Attributes:
      differences: setting, its value there, its value asked for.
    """

    def __init__(self, workdir: str, differences: Sequence[tuple[str, Any, Any]], preset: str = ""):
        """`preset`: the name of one that gives what is there; empty: none is known."""
        self.differences = tuple(differences)
        shown = [
            (name, _SHORT.repr(there), _SHORT.repr(asked))
            for name, there, asked in self.differences[:MOST_LINES]
        ]
        rows = [("setting", "there", "asked"), *shown]
        first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
        more = len(self.differences) - len(shown)
        lines = [
            f"workdir is {workdir!r}; it holds a run with another configuration:",
            *(f"  {name:<{first}}  {there:<{second}}  {asked}" for name, there, asked in rows),
            *([f"  … and {more} more"] if more else []),
            f"Fix: choose another --workdir, or ask for what is there{f': --config={preset}' if preset else ''}",
        ]
        super().__init__("\n".join(lines))

"""Lines that were broken to fit a page, put together again: a sentence goes on over such a line end."""

import re
from collections.abc import Sequence

# A shorter line ended for another reason than a full page: a heading, a signature, a verse, a table.
WRAPPED = 40
_STARTS = re.compile(r"([-*+•|>#=~:]|\.\.\.|\(?\w{1,3}[.)]\s)")  # an item of a list, code, a table, a rule


def join_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """One line for each paragraph; blank lines are left out, except from a text that has no others.

    A line goes on with the one before where that is at least `WRAPPED` characters long, is indented like it
    (or less, being the item of a list) and this one does not begin as an item, code or a table does.
    """
    joined: list[str] = []
    before = ""  # the line as it was, not the paragraph so far
    for line in lines:
        if line.strip() and _goes_on(before, line):
            joined[-1] = f"{joined[-1].rstrip()} {line.strip()}"
        elif line.strip():
            joined.append(line)
        before = line
    return tuple(joined) or tuple(lines)


def _goes_on(before: str, line: str) -> bool:
    if len(before.rstrip()) < WRAPPED or _STARTS.match(line.strip()):
        return False
    deeper = _indent(line) - _indent(before)
    return deeper == 0 or (deeper > 0 and bool(_STARTS.match(before.strip())))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())

"""Working memory in pages of 2 MiB.

XLA's programs for CPUs take their working memory anew for every run, and Linux clears what it hands out, page
by page: with pages of 4 KiB that was 10 % of a training step of `small` and 5 % of one of `paper`
(docs/speed.md). glibc asks for large pages if it is told so before a process starts.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "GLIBC_TUNABLES"
TUNABLE = "glibc.malloc.hugetlb"
LEAST = (2, 35)  # of glibc, that it is known
OFFERED = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart_in_huge_pages() -> None:
    """Starts this process again as it was started, with `GLIBC_TUNABLES=glibc.malloc.hugetlb=1`; to be called
    before anything was done.

    Nothing happens where that would change nothing or was decided already: `setting` says where.
    """
    try:
        offered, library = OFFERED.read_text(), os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (OSError, ValueError):  # no Linux, or another C library
        return
    value = setting(os.environ, offered, library)
    if value is not None and sys.executable and sys.orig_argv:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, VARIABLE: value})


def setting(environment: Mapping[str, str], offered: str, library: str) -> str | None:
    """What GLIBC_TUNABLES is to be; None where it is to stay.

    Args:
      environment: whoever sets glibc.malloc.hugetlb there, to whatever, has decided.
      offered: what Linux says of large pages: only `[madvise]` waits to be asked.
      library: name and version of the C library, such as "glibc 2.36".
    """
    before = environment.get(VARIABLE, "")
    name, _, version = library.partition(" ")
    parts = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if TUNABLE in before or "[madvise]" not in offered or name != "glibc" or parts < LEAST:
        return None
    return ":".join(part for part in (before, f"{TUNABLE}=1") if part)

"""Which of a job's processes this is, and what they must agree on. Alone, none of it does anything."""

import itertools
import json
import sys
import time
from typing import Any

from aila_jax.config import require

WAITS = 20  # a process waits for the others this many times as long as one may be silent
SHOWN = 200  # characters of a value in a message

_COUNTED = itertools.count()  # agreements of this process so far; the same in all of them


def _engine() -> Any:
    """JAX's own state of the job; None where JAX is not loaded, and so no job was joined."""
    return getattr(sys.modules.get("jax._src.distributed"), "global_state", None)


def count() -> int:
    """Processes of the job."""
    engine = _engine()
    return 1 if engine is None or engine.client is None else int(engine.num_processes)


def index() -> int:
    """The number of this one, from 0."""
    return 0 if count() == 1 else int(_engine().process_id)


def first() -> bool:
    """Whether this one writes files and prints: process 0 does, for all of them."""
    return index() == 0


class Waiting:
    """How long a process waits for the others.

    Attributes:
      seconds: the limit.
    """

    seconds = 900.0


def agree(
    what: str, value: str = "", fix: str = "give every process the same command and the same files"
) -> None:
    """Waits until every process is here, and has the same `value`.

    Args:
      what: its name, for the message; without a value, what is waited for.
      value: compared with that of process 0.
      fix: what to do where they differ.

    Raises:
      ValueError: one has another value, in all of them.
      TimeoutError: not all came; the message names who is missing.
    """
    if count() == 1:
        return
    client, place = _engine().client, f"aila/agreed/{next(_COUNTED)}"
    client.key_value_set(f"{place}/said/{index()}", json.dumps([what, value]))
    if first():
        said = _all_said(client, place, what)
        client.key_value_set(f"{place}/verdict/0", json.dumps([said[0], _differing(said)]))
    [(_, verdict)] = _polled(client, f"{place}/verdict/", 1, lambda _: f"process 0 did not come to: {what}")
    (own, _), differing = json.loads(verdict)
    for process, asked, other in differing:
        both = asked if asked == own else f"{asked!r} for {own!r}"
        limit = "the same as in process 0"
        require(False, f"{both} of process {process}", other[:SHOWN], limit, fix)


def _all_said(client: Any, place: str, what: str) -> dict[int, list[str]]:
    def missing(found: list[tuple[str, str]]) -> str:
        came = {int(name.rpartition("/")[2]) for name, _ in found}
        who = ", ".join(str(one) for one in range(count()) if one not in came)
        return f"process {who} did not come to: {what}"

    found = _polled(client, f"{place}/said/", count(), missing)
    return {int(name.rpartition("/")[2]): json.loads(value) for name, value in found}


def _differing(said: dict[int, list[str]]) -> list[tuple[int, str, str]]:
    return [(process, own[0], own[1]) for process, own in sorted(said.items()) if own != said[0]]


def _polled(client: Any, place: str, entries: int, missing: Any) -> list[tuple[str, str]]:
    """The entries below a name, when there are so many.

    It asks again and again, since a call that waits in C++ would keep Python from answering a signal.
    """
    end, pause = time.monotonic() + Waiting.seconds, 0.002
    while len(found := client.key_value_dir_get(place)) < entries:
        if time.monotonic() > end:
            raise TimeoutError(
                f"{missing(found)}, within {Waiting.seconds:g} s. Fix: look at what it said last, or raise"
                " --patience"
            )
        time.sleep(pause)
        pause = min(2 * pause, 0.2)
    return [(str(name), str(value)) for name, value in found]

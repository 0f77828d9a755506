"""Contestants in processes of their own that take turns, what a call holds, and the files of a benchmark."""

import contextlib
import ctypes
import dataclasses
import json
import multiprocessing
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from aila_jax.files import write_atomically
from aila_jax.provenance import versions
from benchmarks.record import Machine, commit, load

# What a contestant says first, and the call that is timed then.
Begin = Callable[..., tuple[Any, Callable[[], object]]]


def memory(name: str) -> int | None:
    """This process's VmRSS, VmHWM or RssAnon in bytes; None where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)


def give_back() -> bool:
    """Free pages of the C library's heap go back to the system; False where it has no such call."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return False
    return True


def fresh_peak() -> int | None:
    """Begins the resident peak anew; what is held, in bytes. None where the system does not let it."""
    # First, or the peak would begin with what earlier calls freed, and later calls take it again unseen.
    if not give_back():
        return None
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return memory("VmRSS")


def rise(call: Callable[[], object]) -> int | None:
    """How far a call raises the resident peak above what is held before it, in bytes."""
    before = fresh_peak()
    if before is None:
        return None
    call()
    after = memory("VmHWM")
    return None if after is None else after - before


def held(compiled: Any, *arguments: Any) -> int | None:
    """What a call of a function of `jax.jit` holds beside its arguments, in bytes, as its compiler says.
    Results that take the place of arguments are not beside them.
    """
    found = compiled.lower(*arguments).compile().memory_analysis()
    if found is None:
        return None
    return int(found.temp_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes)


def _serve(connection: Connection, begin: Begin, *arguments: Any) -> None:
    """A contestant's side: what it says first, then a time for every request."""
    try:
        said, call = begin(*arguments)
        connection.send(("said", said))
        while connection.recv() is not None:
            began = time.perf_counter()
            call()
            connection.send(("seconds", time.perf_counter() - began))
    except EOFError:
        return
    except Exception:
        connection.send(("error", traceback.format_exc()))


class Contestant:
    """The parent's side of a process.

    Raises (from every call):
      RuntimeError: the process failed, or died.
    """

    def __init__(self, who: str, begin: Begin, *arguments: Any):
        """Starts it; `begin(*arguments)` runs there."""
        self.who = who
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, begin, *arguments), daemon=True)
        self._process.start()
        theirs.close()

    def answer(self) -> Any:
        """What it says next."""
        try:
            kind, value = self._connection.recv()
        except EOFError:
            kind, value = "error", "its process died; mostly that is a lack of memory. Fix: smaller sizes"
        if kind == "error":
            raise RuntimeError(f"{self.who} failed: {value}")
        return value

    def seconds(self) -> float:
        """Of one call."""
        self._connection.send("time")
        found: float = self.answer()
        return found

    def end(self) -> None:
        """Asks the process to end, and ends it where it does not."""
        with contextlib.suppress(OSError):
            self._connection.send(None)
        self._process.join(10)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()
        self._connection.close()


def in_turns(times: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, tuple[float, ...]]:
    """The seconds of every contestant, one a round, in a new order each round."""
    seconds: dict[str, list[float]] = {who: [] for who in times}
    draw = np.random.default_rng(0)
    for _ in range(rounds):
        for who in draw.permutation(sorted(times)):
            seconds[who].append(times[who]())
    return {who: tuple(own) for who, own in seconds.items()}


def versions_of(*packages: str) -> dict[str, str]:
    """Those of the packages that are installed."""
    return {name: version(name) for name in packages if find_spec(name)}


def write_files(
    out: Path,
    name: str,
    arguments: Sequence[str],
    machine: Machine,
    cells: Sequence[Any],
    text: str,
    more: Mapping[str, str] = {},
) -> None:
    """Writes `name`.json and table.md.

    Args:
      out: the folder.
      name: of the benchmark.
      arguments: of its command.
      machine: as it was before.
      cells: dataclasses.
      text: the table.
      more: versions of packages that only it uses.
    """  # fmt: skip
    document = {
        "command": f"python -m benchmarks.{name} {' '.join(arguments)}",
        "commit": commit(),
        "versions": versions() | dict(more),
        "machine": dataclasses.asdict(dataclasses.replace(machine, load_after=load())),
        "cells": [dataclasses.asdict(one) for one in cells],
    }
    write_atomically(out / f"{name}.json", (json.dumps(document, indent=1) + "\n").encode())
    write_atomically(out / "table.md", text.encode())

"""Promises tried on a build with a protection taken out: each must break, or its test shows nothing.

python -m experiments.faults --without                      # all, in minutes
python -m experiments.faults.without "retention" out.json   # one, in this process
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

from aila_jax.files import write_atomically
from aila_jax.provenance import git_commit
from experiments.faults.apart import ROOT, environment

FORM = "aila_jax reliability without, version 1"
WITHOUT = (
    "AILA_FAULTS_WITHOUT"  # the environment variable that names the promise, for processes that are started
)


@dataclass(frozen=True)
class Protection:
    """What keeps a promise.

    Attributes:
      said: what is missing without it.
      take: takes it out of this process, for good.
    """

    said: str
    take: Callable[[], None]


@dataclass(frozen=True)
class Without:
    """A promise without a protection.

    Attributes:
      promise: its name.
      said: what was missing.
      cases: that were tried.
      broken: how many of them broke.
      first: the first of those, in words.
    """

    promise: str
    said: str
    cases: int
    broken: int
    first: str


def _everywhere(original: Any, by: Any) -> None:
    """Puts something in the place of a function in all modules of the package that have it."""
    for name, module in list(sys.modules.items()):
        if not name.startswith("aila_jax") or not isinstance(module, ModuleType):
            continue
        for key, value in list(vars(module).items()):
            if value is original:
                setattr(module, key, by)


def _for_good(owner: Any, name: str, by: Any) -> None:
    patch.object(owner, name, by).start()


def _order_of_data() -> None:
    from aila_jax.data.pipeline import TrainBatches

    _for_good(TrainBatches, "set_state", lambda self, state: None)


def _flushes() -> None:
    from aila_jax import files
    from aila_jax.checkpoint import manifest, store

    assert manifest and store
    _everywhere(files.flush, lambda path: None)


def _checksums_of_files() -> None:
    from aila_jax.checkpoint import found, manifest

    assert found
    _everywhere(manifest.check_files, lambda *arguments: None)


def _told_saves() -> None:
    from aila_jax.checkpoint import CheckpointStore

    save = CheckpointStore.save

    def quiet(self: CheckpointStore, *arguments: Any) -> None:
        try:
            save(self, *arguments)
        except OSError:
            return

    _for_good(CheckpointStore, "save", quiet)


def _finite_arrays() -> None:
    from aila_jax.checkpoint import store
    from experiments.faults import nonfinite

    assert nonfinite  # which looks by the same function, and has it from here on
    _everywhere(store.not_finite, lambda items: None)


def _kept_cells() -> None:
    from aila_jax.reporting.kept_cells import KeptCells

    _for_good(KeptCells, "read", lambda self: 0)


def _who_calls() -> None:
    from aila_jax.processes import meet

    _for_good(meet, "_check", lambda *arguments: None)


def _old_rules() -> None:
    from aila_jax.config import serialize

    serialize.OLD_RULES.clear()


def _words_of_a_library() -> None:
    from aila_jax.pretrained import folder

    _for_good(folder, "SafetensorError", ZeroDivisionError)  # which it does not raise


def _types() -> None:
    from aila_jax.config import checks

    as_kind = checks.as_kind

    def unrefused(kind: Any, value: Any, name: str) -> Any:
        try:
            return as_kind(kind, value, name)
        except ValueError:
            return value

    _everywhere(as_kind, unrefused)


def _steps_that_stay() -> None:
    from aila_jax.checkpoint import CheckpointStore

    save = CheckpointStore._save

    def newest_alone(self: CheckpointStore, *arguments: Any) -> None:
        self._keep_every = 0
        save(self, *arguments)

    _for_good(CheckpointStore, "_save", newest_alone)


def _memory() -> None:
    from aila_jax.checkpoint import CheckpointStore

    save, held = CheckpointStore.save, []

    def greedy(self: CheckpointStore, *arguments: Any) -> None:
        held.append(b"x" * 2**24)
        save(self, *arguments)

    _for_good(CheckpointStore, "save", greedy)


def _leases() -> None:
    from aila_jax.runs.lease import Lease

    _for_good(Lease, "_wait_for", lambda self, there: None)


PROTECTIONS = {
    "SIGKILL loses and tears nothing": Protection("where training was in its data is not restored", _order_of_data),
    "a power cut loses nothing committed": Protection("nothing is flushed", _flushes),
    "damage is found, named, survived": Protection("files are not compared with the manifest", _checksums_of_files),
    "failed writes are loud": Protection("a save that failed says nothing", _told_saves),
    "non-finite numbers reach no checkpoint": Protection("arrays are not looked at before a save", _finite_arrays),
    "sweeps and studies resume": Protection("cells that were kept are not read", _kept_cells),
    "other devices, other processes": Protection("who joins a job is not asked of which it is", _who_calls),
    "old runs load for ever": Protection("a missing setting means today's rule", _old_rules),
    "strangers' files are only data": Protection("an error of the library that reads safetensors comes as it is", _words_of_a_library),
    "every input is refused or served": Protection("settings and options of another type are not refused", _types),
    "retention": Protection("every k-th step does not stay", _steps_that_stay),
    "no slow leak": Protection("each save keeps 16 MiB", _memory),
    "two on one directory": Protection("a lease that is alive is taken", _leases),
}  # fmt: skip


def take_out() -> None:
    """Takes out the protection that the environment names, where it names one."""
    promise = os.environ.get(WITHOUT, "")
    if promise:
        PROTECTIONS[promise].take()


def pytest_sessionstart() -> None:
    """For tests that keep a promise: `-p experiments.faults.without`."""
    take_out()


def tried_without(promise: str, path: Path) -> None:
    """`main` in a process of its own, which keeps what was taken out to itself."""
    command = [sys.executable, "-m", "experiments.faults.without", promise, str(path)]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True)


def main(promise: str, out: str) -> None:
    """Tries a promise, fewer cases of it, and writes what became of it."""
    os.environ[WITHOUT] = promise
    take_out()
    promises = importlib.import_module("experiments.faults.promises")
    found = promises.tried(promise, promises.SCALES["small"])
    first = found.broken[0] if found.broken else ""
    without = Without(promise, PROTECTIONS[promise].said, found.cases, found.cases - found.kept, first[:500])
    document = {"format": FORM, "commit": git_commit(), **asdict(without)}
    write_atomically(Path(out), (json.dumps(document, indent=1) + "\n").encode())


if __name__ == "__main__":
    main(*sys.argv[1:])

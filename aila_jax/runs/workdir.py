"""The run directory: what is in it already, whether it can be written, and the files that say what made a
run.
"""

import contextlib
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from aila_jax.checkpoint import DIRECTORY, Checkpoint, find_checkpoint, incomplete_steps, whole_steps
from aila_jax.config import Config, by_rules_of, require, saved_config, to_dict
from aila_jax.data.dataset import Dataset
from aila_jax.provenance import git_commit, versions
from aila_jax.reporting.files import write_atomically
from aila_jax.training.sharding import describe_devices

PLACES = (
    "data_dir",
    "tfds_data_dir",
    "cache_dir",
    "files",
    "valid_files",
    "test_files",
)  # settings of data that say where it is


def run_directory(checkpoint: str | Path) -> Path:
    """The run directory that a checkpoint path lies in."""
    return find_checkpoint(checkpoint).directory.parent


def check_writable(directory: Path) -> Path:
    """Makes the folder; ValueError where that, or writing in it, is not possible."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"output folder is {str(directory)!r}; it cannot be made ({error.strerror}). Fix: choose another"
            " folder"
        ) from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ValueError(
            f"output folder is {str(directory)!r}; it is not writable. Fix: choose another folder, or change"
            " its permissions"
        )
    return directory


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Holds a run directory against other processes that train into it: they would replace its log and each
    other's checkpoints.

    Raises:
      ValueError: another process holds it.
    """
    check_writable(workdir)
    try:
        lock = FileLock(workdir / ".lock").acquire(timeout=0)
    except Timeout as error:
        raise ValueError(
            f"workdir is {str(workdir)!r}; it must be a folder that no other process trains into. "
            "Fix: wait until that run ends, or choose another --workdir"
        ) from error
    except NotImplementedError:
        warnings.warn(
            f"{workdir} cannot be locked on this file system; make sure that one process alone trains"
            " into it",
            stacklevel=3,
        )
        yield
        return
    with lock:
        yield


def _anywhere(config: Config) -> dict[str, Any]:
    """Without the places of its data, which may move; whether it is the same text its fingerprint says."""
    values = to_dict(config)
    return {**values, "data": {name: value for name, value in values["data"].items() if name not in PLACES}}


def as_begun(workdir: Path, config: Config, quiet: bool) -> Config:
    """The configuration by the rules of the run in `workdir`, where that began before they were settings."""
    try:
        saved = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none there, or one that `existing_run` refuses
        return config
    config, taken = by_rules_of(saved, config) if isinstance(saved, dict) else (config, ())
    if taken and not quiet:
        print(f"rules    {', '.join(taken)} as when this run began, before they were settings")
    return config


def existing_run(workdir: Path, config: Config) -> Checkpoint | None:
    """The newest checkpoint of the run in `workdir`, or None where there is none yet."""
    check_writable(workdir)
    file = workdir / "config.json"
    if not file.exists():
        require(
            not (workdir / "checkpoints").exists(),
            "workdir",
            str(workdir),
            "empty or a run directory",
            "choose another --workdir",
        )
        return None
    try:
        old = json.loads(file.read_text(encoding="utf-8"))
        before, asked = _anywhere(saved_config(old)), _anywhere(config)
    except ValueError as error:
        raise ValueError(
            f"{file} is not a configuration that this version reads ({error}). Fix: choose another --workdir"
        ) from error
    if changed := sorted(_differences(before, asked)):
        raise ValueError(
            f"workdir is {str(workdir)!r}; it holds a run with another configuration ({'; '.join(changed)})."
            " Fix: choose another --workdir"
        )
    # None: stopped before its first checkpoint. A damaged one must raise, not begin again over the others.
    checkpoints = workdir / DIRECTORY
    if incomplete := incomplete_steps(checkpoints):
        raise ValueError(
            f"checkpoint is {str(checkpoints / str(incomplete[0]))!r}; it must be a whole checkpoint: this"
            " folder has no record. Fix: copy it again, or move it away to go on from an older step"
        )
    return find_checkpoint(workdir) if whole_steps(checkpoints) else None


def _differences(old: dict[str, Any], new: dict[str, Any], path: str = "") -> list[str]:
    found = []
    for key in old.keys() | new.keys():
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += _differences(before, after, f"{path}{key}.")
        elif json.dumps(before) != json.dumps(after):
            found.append(f"{path}{key}: {before!r} there, {after!r} asked")
    return found


def write_run_files(workdir: Path, config: Config, dataset: Dataset) -> None:
    """Writes config.json and run.json."""
    write_atomically(workdir / "config.json", (json.dumps(to_dict(config), indent=2) + "\n").encode())
    write_atomically(
        workdir / "run.json",
        (json.dumps({"seed": config.seed, **run_meta(dataset)}, indent=2) + "\n").encode(),
    )


def run_meta(dataset: Dataset) -> dict[str, Any]:
    """Versions, commit, device and data fingerprint: what makes a run reproducible."""
    return {
        "versions": versions(),
        "commit": git_commit(),
        "device": describe_devices(),
        "data": {"name": dataset.name, "fingerprint": dataset.fingerprint},
    }

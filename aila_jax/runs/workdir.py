"""The run directory: what is in it already, whether it can be written, and the files that say what made a
run.
"""

import contextlib
import json
import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from aila_jax import presets
from aila_jax.checkpoint import (
    DIRECTORY,
    Ancestor,
    Checkpoint,
    find_checkpoint,
    incomplete_steps,
    whole_steps,
)
from aila_jax.checkpoint.lineage import lineage_to_json
from aila_jax.config import (
    Config,
    SettingsConflict,
    by_rules_of,
    from_dict,
    require,
    saved_config,
    to_dict,
)
from aila_jax.config.train import DEFAULT_BATCH_SIZE
from aila_jax.data.dataset import Dataset
from aila_jax.files import folder_inside, refuse_link, write_atomically
from aila_jax.json_files import json_object, read_json
from aila_jax.presets import FromPreset
from aila_jax.processes import here
from aila_jax.provenance import git_commit, versions
from aila_jax.runs.lease import NAME as LEASE
from aila_jax.runs.lease import Lease
from aila_jax.training.sharding import describe_devices

PLACES = (
    "data_dir",
    "tfds_data_dir",
    "cache_dir",
    "files",
    "valid_files",
    "test_files",
)  # settings of data that say where it is
SHARED = ("accumulate", "parallel", "remat")  # settings of training that change no update but by rounding
ELSEWHERE = {"data": PLACES, "train": SHARED}  # what a run may go on with in another way, and its mesh


def run_directory(checkpoint: str | Path) -> Path:
    """The run directory that a checkpoint path lies in."""
    return find_checkpoint(checkpoint).directory.parent


def check_writable(directory: Path, *names: str) -> Path:
    """Makes the folder that `names` lead to from `directory`; ValueError where that, or writing in it, is not
    possible, or one of `names` is a link.
    """
    try:
        directory = folder_inside(directory, *names)
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


class RunMoved(OSError):
    """Training ended at once because its run directory is no longer where it was."""


class RunFolder:
    """A run directory that is open, so that it is known again wherever it is moved to; a context manager."""

    def __init__(self, path: Path, lease: Lease | None = None):
        """Opens it; `lease` holds it, and is None in a process that writes nothing."""
        self._lease = lease
        self._path = path.resolve()  # where the checkpoints go, whatever becomes of a link that leads to it
        self._opened = os.stat(self._path)
        # Held open, the directory has a name wherever it goes, and its number is given to no other.
        directories = hasattr(os, "O_DIRECTORY")
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY) if directories else None

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def unmoved(self) -> None:
        """Raises RunMoved where the path does not lead to the directory that was opened: what is written to
        the path would be another run, and neither of the two would be whole. Raises RunTaken where another
        process has taken it over.
        """
        if self._is_at(self._path):
            if self._lease is not None:
                self._lease.check()
            return
        now = self._path_now()
        if now is None:
            raise RunMoved(
                f"the run directory {self._path} is not there any more, and it is not known where it is."
                " Training ended at once, without saving. Fix: find the directory; the same command with"
                " --workdir=THERE continues from its newest checkpoint"
            )
        steps = whole_steps(now / DIRECTORY)
        raise RunMoved(
            f"the run directory {self._path} was moved to {now} while a run trained into it. Training ended at"
            " once, without saving; the newest checkpoint there is"
            f" {f'of step {steps[-1]}' if steps else 'none'}. Fix: the same command with --workdir={now} continues"
        )

    def _is_at(self, path: Path) -> bool:
        try:
            return os.path.samestat(os.stat(path), self._opened)
        except OSError:
            return False

    def _path_now(self) -> Path | None:
        """Where the directory is now, as far as the system tells."""
        try:
            path = Path(os.readlink(f"/proc/self/fd/{self._descriptor}"))
        except OSError:
            return None
        return path if self._is_at(path) else None


def refuse_links_of_run(workdir: Path) -> None:
    """ValueError where a file or folder that training writes is a link: a run directory from a stranger could
    name any file with it.
    """
    for name in (".lock", LEASE, "config.json", "run.json", "metrics.jsonl", "tensorboard", DIRECTORY):
        refuse_link(workdir / name)
    for folder, folders, names in os.walk(workdir / DIRECTORY):
        for name in (*folders, *names):
            refuse_link(Path(folder, name))


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[RunFolder]:
    """Holds a run directory against other processes that train into it: they would replace its log and each
    other's checkpoints.

    Raises:
      ValueError: another process holds it, or a file in it that training writes is a link.
    """
    check_writable(workdir)
    refuse_links_of_run(workdir)
    with contextlib.ExitStack() as stack:
        lease = None
        if here.first():  # of several processes it writes, and holds the directory for all
            lease = Lease(workdir, stack.enter_context(_lock(workdir)))
            stack.enter_context(lease)
        yield stack.enter_context(RunFolder(workdir, lease))


@contextlib.contextmanager
def _lock(workdir: Path) -> Iterator[bool]:
    """Holds the lock that processes of one machine share; whether there is one."""
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
            stacklevel=5,
        )
        yield False
        return
    with lock:
        yield True


def _anywhere(config: Config) -> dict[str, Any]:
    """Without the places of its data, which may move (whether it is the same text its fingerprint says), and
    without what says how devices share the work, which a run may go on with elsewhere.
    """
    values = to_dict(config)
    del values["mesh"]
    for group, names in ELSEWHERE.items():
        values[group] = {name: value for name, value in values[group].items() if name not in names}
    return values


def as_begun(workdir: Path, config: Config, quiet: bool) -> Config:
    """The configuration by the rules of the run in `workdir`, where that began before they were settings, and
    with its batches where no other size was asked for.
    """
    try:
        saved = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none there, or one that `existing_run` refuses
        return config
    config, taken = by_rules_of(saved, config) if isinstance(saved, dict) else (config, ())
    if taken and not quiet:
        print(f"rules    {', '.join(taken)} as when this run began, before they were settings")
    train = saved.get("train") if isinstance(saved, dict) else None
    size = train.get("batch_size") if isinstance(train, dict) else None
    asked = config.train.batch_size != DEFAULT_BATCH_SIZE
    if not asked and type(size) is int and 1 <= size < DEFAULT_BATCH_SIZE:
        # The run may have a small corpus, of which its batches have all.
        with contextlib.suppress(
            ValueError
        ):  # settings that do not fit this size are a conflict, and refused
            config = replace(config, train=replace(config.train, batch_size=size))
    return config


def with_preset_then(workdir: Path, config: Config, preset: FromPreset | None, quiet: bool) -> Config:
    """The configuration that the run in `workdir` has, where it differs from `config` in nothing but what the
    preset of both was when the run began and is not any more; `config` where there is no such run, and where
    anything else differs, which is a conflict.

    Args:
      workdir: the run directory.
      config: what is asked for.
      preset: how it came to be; None where nobody knows.
      quiet: do not say which settings are meant.
    """
    record = _recorded_preset(workdir)
    if preset is None or record.get("name") != preset.name:
        return config
    try:
        saved = saved_config(json_object(read_json(workdir / "config.json"), "the configuration"))
        then = _anywhere(saved_config(json_object(record.get("config"), "the preset")))
    except (OSError, ValueError):  # none there, or one that `existing_run` refuses
        return config
    changed = _differences(_anywhere(saved), _anywhere(config))
    own = {name for name, there, _ in changed if _setting(then, name) != there}
    if not changed or own or {name for name, _, _ in changed} & set(preset.asked):
        return config
    if not quiet:
        settings = ", ".join(f"{name} {there!r}, now {now!r}" for name, there, now in sorted(changed))
        print(f"preset   {preset.name} has changed since this run began, which goes on as it was: {settings}")
    values, now = to_dict(saved), to_dict(config)
    for group, names in ELSEWHERE.items():
        values[group] |= {name: now[group][name] for name in names}
    return from_dict(Config, {**values, "mesh": now["mesh"]})


def preset_record(workdir: Path, preset: FromPreset | None) -> dict[str, Any]:
    """What run.json says of the preset: its name, and what it gave when the run began."""
    if preset is None:
        return {}
    there = _recorded_preset(workdir)
    if there.get("name") == preset.name:  # stopped before its first checkpoint
        return {"preset": there}
    return {"preset": {"name": preset.name, "config": presets.as_dict(preset.name)}}


def _recorded_preset(workdir: Path) -> dict[str, Any]:
    """What run.json says of a preset; empty where it says nothing."""
    try:
        found = json_object(read_json(workdir / "run.json"), "run.json").get("preset")
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _setting(values: dict[str, Any], name: str) -> Any:
    """A setting by its dotted name."""
    found: Any = values
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _same_preset(saved: dict[str, Any]) -> str:
    """The name of a preset that gives what is saved today; empty where none does."""
    for name in presets.PRESETS:
        if not _differences(saved, _anywhere(presets.preset(name))):
            return name
    return ""


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
        old = json_object(read_json(file), "the configuration")
        before, asked = _anywhere(saved_config(old)), _anywhere(config)
    except ValueError as error:
        raise ValueError(
            f"{file} is not a configuration that this version reads ({error}). Fix: choose another --workdir"
        ) from error
    if changed := sorted(_differences(before, asked), key=lambda difference: difference[0]):
        raise SettingsConflict(str(workdir), changed, _same_preset(before))
    # None: stopped before its first checkpoint. A damaged one must raise, not begin again over the others.
    checkpoints = workdir / DIRECTORY
    if incomplete := incomplete_steps(checkpoints):
        raise ValueError(
            f"checkpoint is {str(checkpoints / str(incomplete[0]))!r}; it must be a whole checkpoint: this"
            " folder has no record. Fix: copy it again, or move it away to go on from an older step"
        )
    return find_checkpoint(workdir) if whole_steps(checkpoints) else None


def _differences(old: dict[str, Any], new: dict[str, Any], path: str = "") -> list[tuple[str, Any, Any]]:
    """Dotted name, old and new value of each setting that differs."""
    found: list[tuple[str, Any, Any]] = []
    for key in old.keys() | new.keys():
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += _differences(before, after, f"{path}{key}.")
        elif json.dumps(before) != json.dumps(after):
            found.append((f"{path}{key}", before, after))
    return found


def agree_on_run(config: Config, dataset: Dataset, found: Checkpoint | None) -> None:
    """Waits until every process has read what is in the run directory, and has read the same.

    Raises:
      ValueError: one of them has other settings, another corpus, or another checkpoint.
    """
    here.agree("the configuration", json.dumps(_anywhere(config), sort_keys=True))
    here.agree("the fingerprint of the corpus", dataset.fingerprint)
    step = "none" if found is None else f"step {found.step}, {found.weights[:12]}"
    fix = "give every process the same --workdir, on a file system that all of them see"
    here.agree("the newest checkpoint", step, fix)


def write_run_files(
    workdir: Path,
    config: Config,
    dataset: Dataset,
    lineage: tuple[Ancestor, ...] = (),
    preset: dict[str, Any] | None = None,
) -> None:
    """Writes config.json and run.json; `preset` is its record."""
    write_atomically(workdir / "config.json", (json.dumps(to_dict(config), indent=2) + "\n").encode())
    write_atomically(
        workdir / "run.json",
        (
            json.dumps({"seed": config.seed, **run_meta(dataset, lineage), **(preset or {})}, indent=2) + "\n"
        ).encode(),
    )


def run_meta(dataset: Dataset, lineage: tuple[Ancestor, ...] = ()) -> dict[str, Any]:
    """Versions, commit, device, data fingerprint, and what it began with: what makes a run reproducible."""
    return {
        "versions": versions(),
        "commit": git_commit(),
        "device": describe_devices(),
        "data": {"name": dataset.name, "fingerprint": dataset.fingerprint},
        **lineage_to_json(lineage),
    }

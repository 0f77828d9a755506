"""Saving the checkpoints of one run."""

import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from aila_jax.checkpoint.arrays import (
    ANCHOR_ARRAYS,
    alone,
    array_sha256,
    leaves,
    quiet_libraries,
    without_params,
)
from aila_jax.checkpoint.folders import DIRECTORY, step_folders, whole_steps
from aila_jax.checkpoint.manifest import (
    MARK,
    flush,
    make_manifest,
    mark_array,
    mark_of,
    read_key,
    write_manifest,
)
from aila_jax.checkpoint.record import FORMATS, RECORD, Record
from aila_jax.partition.anchors import Anchors
from aila_jax.partition.build import Partition, table_of
from aila_jax.partition.rule_tables import RuleTables
from aila_jax.processes import here
from aila_jax.training.sharding import gathered
from aila_jax.training.state import TrainState

FULL = "make room"
UNSOUND = "look for what makes them (a rate that is too high, say)"
UNFINISHED = ".unfinished"  # ends the name of a folder that is being written


class SaveError(OSError):
    """A checkpoint could not be saved; the message says why, what is intact and how to go on."""


class CheckpointStore:
    """Saves the checkpoints of one run; keeps the newest ones. A context manager.

    A step's folder is written beside its place, flushed to disk, and then renamed: it is whole or not there.
    """

    def __init__(self, run_directory: Path, keep: int, keep_every: int = 0):
        """Makes the folder, and removes what a save that was cut off left in it.

        Args:
          run_directory: whose folder it is.
          keep: newest checkpoints that stay.
          keep_every: those of steps that are multiples of it stay too; 0 is none.

        Raises:
          ValueError: the folder is a link, or the key of AILA_CHECKPOINT_KEY_FILE cannot be read.
        """
        place = run_directory / DIRECTORY
        if place.is_symlink():
            raise ValueError(
                f"{place} is a link; it must be a folder of its own. Fix: put the folder itself there"
            )
        place.mkdir(parents=True, exist_ok=True)
        self.directory, self._keep, self._keep_every = place.resolve(), keep, keep_every
        self._key = read_key()
        if not here.first():
            return
        flush(run_directory)
        for entry in self.directory.iterdir():
            if entry.name.endswith(UNFINISHED) or ".orbax-checkpoint-tmp" in entry.name:
                remove(entry)

    def __enter__(self) -> "CheckpointStore":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def save(
        self,
        step: int,
        state: TrainState,
        record: Record,
        anchors: Anchors | None = None,
        partition: Partition | None = None,
        best: int | None = None,
        rule_tables: RuleTables | None = None,
    ) -> None:
        """Saves and waits until everything is on disk, so that a failed save shows here and not at the next
        one. Of several processes the first one writes, and all of them wait.

        Older checkpoints beyond `keep` go when this one is whole; that of step `best` and every
        `keep_every`-th stay.

        Raises:
          ValueError: a later step is there.
          SaveError: a number in it is not finite, or the disk is full, say.
        """
        host = gathered(state)  # of all processes, so before one of them looks at files alone
        if here.first():
            self._save(step, host, record, anchors, partition, best, rule_tables)
        here.agree(f"the checkpoint of step {step}")

    def _save(
        self,
        step: int,
        host: TrainState,
        record: Record,
        anchors: Anchors | None,
        partition: Partition | None,
        best: int | None,
        rule_tables: RuleTables | None,
    ) -> None:
        if step in whole_steps(self.directory):
            return
        if any(other >= step for other in step_folders(self.directory)):
            raise ValueError(
                f"the checkpoint of step {step} was not saved: {self.directory} holds a later step. Fix: move"
                " that folder away"
            )
        record = replace(record, format=FORMATS[-1])
        items: dict[str, Any] = {"params": host.params, "state": without_params(host)}
        if anchors is not None:
            items["anchors"] = {name: np.asarray(getattr(anchors, name)) for name in ANCHOR_ARRAYS}
            record = replace(
                record, anchors={"k": anchors.k, "estimator": anchors.estimator, "types": anchors.types}
            )
        table = None if partition is None else table_of(partition)
        if table is not None:
            items["partition"] = {"values": table.values}
            record = replace(
                record,
                table={"vocabulary": table.vocabulary, "names": list(table.names), "note": table.note},
            )
        if rule_tables is not None:
            items["relation"] = rule_tables.arrays
            record = replace(record, relation={"vocabulary": rule_tables.vocabulary})
        if (where := not_finite(items)) is not None:
            raise SaveError(self._not_saved(step, f"{where} has numbers that are not finite", UNSOUND))
        staging = self.directory / f"{step}{UNFINISHED}"
        try:
            remove(staging)
            with quiet_libraries():
                self._write(staging, step, items, record)
            os.rename(staging, self.directory / str(step))
            flush(self.directory)
        except Exception as error:  # Orbax and TensorStore raise errors of many types for a full disk
            _remove_quietly(staging)
            raise SaveError(self._not_saved(step, reason(error), FULL)) from error
        for old in whole_steps(self.directory)[: -self._keep]:
            if old == best or (self._keep_every and old % self._keep_every == 0):
                continue
            # Under another name first: a removal that is cut off leaves no half of a checkpoint.
            going = self.directory / f"{old}{UNFINISHED}"
            os.rename(self.directory / str(old), going)
            remove(going)

    def _write(self, staging: Path, step: int, items: dict[str, Any], record: Record) -> None:
        """All files of a step; the manifest last."""
        arrays = {
            f"{item}/{name}": {
                "shape": list(np.shape(leaf)),
                "dtype": str(leaf.dtype),
                "sha256": array_sha256(leaf),
            }
            for item, tree in items.items()
            for name, leaf in leaves(tree)
        }
        run = self.directory.parent.name
        import orbax.checkpoint as ocp  # late: see arrays.py

        # The record first: the mark in the arrays is made from its bytes.
        staging.mkdir()
        with ocp.Checkpointer(ocp.JsonCheckpointHandler(), multiprocessing_options=alone()) as checkpointer:
            checkpointer.save(staging / "record", {**asdict(record), "arrays": arrays, "run": run})
        mark = mark_of((staging / RECORD).read_bytes())
        items = {**items, "params": {**items["params"], MARK: mark_array(mark)}}
        with ocp.StandardCheckpointer(multiprocessing_options=alone()) as checkpointer:
            for item, tree in items.items():
                checkpointer.save(staging / item, tree)
                checkpointer.wait_until_finished()
        write_manifest(make_manifest(staging, step, run, mark), staging, self._key)

    def latest(self) -> str:
        """The last good checkpoint in words."""
        steps = whole_steps(self.directory)
        return f"step {steps[-1]} in {self.directory}" if steps else "none"

    def _not_saved(self, step: int, why: str, fix: str) -> str:
        steps = whole_steps(self.directory)
        intact = f"step {steps[-1]} is intact there" if steps else "no other is there"
        again = f"goes on from step {steps[-1]}" if steps else "begins again"
        return (
            f"the checkpoint of step {step} was not saved in {self.directory}: {why}; {intact}. Fix: {fix}, then"
            f" run the same command, which {again}"
        )


def reason(error: BaseException) -> str:
    """The reason of a failed write in a few words, also where a library hides it in a long message."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        for code in (28, 122, 30, 5, 13):  # full, quota, read-only, input/output, permission
            if os.strerror(code) in str(seen):
                return os.strerror(code)
        seen = seen.__cause__ or seen.__context__
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def not_finite(items: dict[str, Any]) -> str | None:
    """The name of the first array on the host that holds a floating-point number which is not finite."""
    for item, tree in items.items():
        for name, leaf in leaves(tree):
            numbers = np.asarray(leaf)
            if jnp.issubdtype(numbers.dtype, jnp.inexact) and not np.all(np.isfinite(numbers)):
                return f"{item}/{name}"
    return None


def remove(path: Path) -> None:
    """Removes a folder, a file or a link, and nothing behind a link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_quietly(path: Path) -> None:
    """What cannot be removed now is removed when the store is opened again."""
    shutil.rmtree(path, ignore_errors=True)

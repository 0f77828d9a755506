"""A checkpoint on disk: found, verified, read."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aila_jax.checkpoint.arrays import (
    ANCHOR_ARRAYS,
    alone,
    array_sha256,
    check_arrays,
    check_mark,
    leaves,
    without_params,
)
from aila_jax.checkpoint.folders import DIRECTORY, whole_steps
from aila_jax.checkpoint.lineage import Ancestor, lineage_of, weights_sha256
from aila_jax.checkpoint.manifest import (
    MARK,
    NAME,
    Damaged,
    Manifest,
    check_files,
    mark_array,
    mark_of,
    read_key,
    read_manifest,
)
from aila_jax.checkpoint.record import (
    BEST,
    FORMATS,
    RECORD,
    SEEN,
    ArrayEntry,
    Record,
    Stored,
    UnknownFormat,
    read_record,
)
from aila_jax.checkpoint.run_files import Known
from aila_jax.config import Config, require, saved_config, user_path
from aila_jax.config.checks import shown
from aila_jax.data.tokenizer import Tokenizer
from aila_jax.partition.anchors import Anchors
from aila_jax.partition.build import FittedTable, Partition, build_partition, check_vocabulary
from aila_jax.partition.rule_tables import RuleTables, check_rule_vocabulary, table_names
from aila_jax.training.best import Seen
from aila_jax.training.state import TrainState


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint found on disk, its record read and its arrays not yet.

    Attributes:
      directory: the folder that holds the step folders.
      step: optimizer steps done.
      run: name of the run directory.
      record: what it holds beside its arrays.
      arrays: "params/…", "state/…", "anchors/…", "partition/…" and "relation/…" names.
      manifest: what its files must be; None for format 1, which had none: such a checkpoint is not verified.
    """

    directory: Path
    step: int
    run: str
    record: Record
    arrays: dict[str, ArrayEntry]
    manifest: Manifest | None = None

    @property
    def folder(self) -> Path:
        """The step's own."""
        return self.directory / str(self.step)

    @property
    def config(self) -> Config:
        return saved_config(self.record.config)

    @property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer.from_json(self.record.tokenizer)

    @property
    def lineage(self) -> tuple[Ancestor, ...]:
        """What its run began with, newest first; none for a run that began by itself."""
        return lineage_of(self.record.meta)

    @property
    def weights(self) -> str:
        """The identity of its parameters (`weights_sha256`)."""
        return weights_sha256(self.arrays)

    @property
    def files(self) -> Known:
        """What the files of its run held when it was saved."""
        return Known.from_meta(self.record.meta)

    @property
    def seen(self) -> Seen | None:
        """What its run had seen of its validation loss; None for a run that does not watch it."""
        seen = self.record.meta.get(BEST)
        return None if seen is None else Seen(*(seen[name] for name in SEEN))

    def say_unverified(self) -> None:
        """A line on stderr for a checkpoint of format 1, whose record has no checksum."""
        if self.manifest is None:
            print(f"aila: checkpoint {self.folder} is of format 1: not verified", file=sys.stderr)

    def params(self, template: Any) -> Any:
        """The parameters as NumPy arrays shaped like `template`, verified against their checksums.

        Raises:
          ValueError: another shape than the template's, or bytes that changed since they were saved.
        """
        return self._restore("params", template)

    def state(self, template: TrainState) -> TrainState:
        """The whole training state, likewise."""
        rest = self._restore("state", without_params(template))
        if int(rest["step"]) != self.step:
            raise ValueError(
                f"checkpoint {self.folder}: its state is of step {int(rest['step'])}, so the folder was renamed."
                f" Fix: rename it to {int(rest['step'])}"
            )
        return replace(template, params=self.params(template.params), **rest)

    def anchors(self) -> Anchors | None:
        """The anchors, likewise; None where the run had made none when it was saved."""
        if self.record.anchors is None:
            return None
        arrays = self._restore("anchors", self._template("anchors", ANCHOR_ARRAYS))
        with _readable(self, "anchors"):
            return Anchors(**arrays, **self.record.anchors)

    def partition(self) -> Partition:
        """The partition that the run was trained with, its table likewise.

        Raises:
          ValueError: also for a table of another vocabulary than the checkpoint's tokenizer.
        """
        table = None
        if self.record.table is not None:
            stored = self._restore("partition", self._template("partition", ("values",)))
            with _readable(self, "table"):
                table = FittedTable(
                    stored["values"],
                    self.record.table["vocabulary"],
                    tuple(self.record.table["names"]),
                    self.record.table["note"],
                )
        partition = build_partition(self.config.partition, table)
        check_vocabulary(partition, self.tokenizer)
        return partition

    def rule_tables(self) -> RuleTables | None:
        """What the run's relation knows of token types, likewise; None for one that reads no table."""
        names = table_names(self.config.relation)
        if self.record.relation is None and names:  # else a run that goes on would fit them anew, unsaid
            raise ValueError(
                f"checkpoint {self.folder} has no tables of its relation; relation"
                f" {self.config.relation.settings} needs {', '.join(names)}."
                f" {way_out(self.directory, self.step)}"
            )
        if self.record.relation is None:
            return None
        stored = self._restore("relation", self._template("relation", names))
        with _readable(self, "relation"):
            tables = RuleTables.of(self.record.relation["vocabulary"], stored)
        check_rule_vocabulary(tables, self.tokenizer)
        return tables

    def _template(self, item: str, names: tuple[str, ...]) -> dict[str, Any]:
        """Empty arrays of the shapes and types that the record says."""
        with _readable(self, item):
            entries = {name: self.arrays[f"{item}/{name}"] for name in names}
            return {name: np.empty(entry.shape, entry.dtype) for name, entry in entries.items()}

    def _restore(self, item: str, template: Any) -> Any:
        wanted = {
            f"{item}/{name}": (list(np.shape(leaf)), str(np.dtype(leaf.dtype)))
            for name, leaf in leaves(template)
        }
        stored = {
            name: (list(entry.shape), entry.dtype)
            for name, entry in self.arrays.items()
            if name.startswith(f"{item}/")
        }
        # Orbax restores an array into a template of another shape without complaint, so shapes are compared
        # here.
        for name in sorted(wanted.keys() | stored.keys()):
            if wanted.get(name) != stored.get(name):
                raise ValueError(
                    f"checkpoint {self.folder}: {name} is {stored.get(name, 'absent')}, the model needs"
                    f" {wanted.get(name, 'none')} (shape, type). Fix: use the configuration the checkpoint"
                    " was trained with"
                )
        import orbax.checkpoint as ocp  # late: see arrays.py

        blank = jax.tree.map(lambda leaf: np.empty(np.shape(leaf), leaf.dtype), template)
        mark = "" if self.manifest is None or item != "params" else self.manifest.mark
        if mark:
            blank = {**blank, MARK: np.empty_like(mark_array(mark))}
        with _readable(self, item), ocp.StandardCheckpointer(multiprocessing_options=alone()) as checkpointer:
            restored = checkpointer.restore(self.folder / item, blank)
            if mark:
                check_mark(restored.pop(MARK), mark)
        for name, leaf in leaves(restored):
            if array_sha256(leaf) != self.arrays[f"{item}/{name}"].sha256:
                raise ValueError(
                    f"checkpoint {self.folder}: {item}/{name} does not match its checksum: the file is"
                    f" damaged. {way_out(self.directory, self.step)}"
                )
        return restored


def find_checkpoint(path: str | Path, step: int | str | None = None, fallback: bool = False) -> Checkpoint:
    """The newest checkpoint (or that of `step`) of a run directory, a checkpoints folder, or a step folder
    itself.

    Where AILA_CHECKPOINT_KEY_FILE names a key, the checkpoint must be signed with it.

    Args:
      path: where to look.
      step: which of several; `best` is the one of the lowest validation loss, of a run with
        `train.keep_best`.
      fallback: where the newest is damaged, take the newest whole one, and say so on stderr.

    Raises:
      ValueError: there is none, it is of another format, or it is damaged.
    """
    path = user_path(path).resolve()
    if step is None and path.name.isdecimal() and (path / "record").is_dir():
        path, step = path.parent, int(path.name)
    directory = path / DIRECTORY if (path / DIRECTORY).is_dir() else path
    steps = whole_steps(directory)
    if not steps:
        raise ValueError(
            f"checkpoint path is {str(path)!r}; it must be a run directory that holds a checkpoint. Fix:"
            " train first, or correct the path"
        )
    if step == BEST:
        newest = find_checkpoint(path, fallback=fallback)
        return open_checkpoint(directory, _best_step(newest, steps), read_key())
    if step is not None and step not in steps:
        raise ValueError(f"step is {step}; {directory} holds steps {steps}. Fix: choose one of them")
    if step is not None or not fallback:
        return open_checkpoint(directory, steps[-1] if step is None else int(step), read_key())
    return _newest_whole(directory, steps)


def _best_step(newest: Checkpoint, steps: list[int]) -> int:
    """The step of the lowest validation loss, as the newest checkpoint of the run remembers it."""
    kept, best = newest.config.train.keep_best, None if newest.seen is None else newest.seen.step
    fix = "leave it out for the newest checkpoint, or train with --config.train.keep_best"
    limit = f"left out: the run in {str(newest.directory.parent)!r} keeps no best checkpoint"
    require(kept, "step", BEST, limit, fix)
    limit = "left out: that run has had no finite validation loss yet"
    require(best is not None, "step", BEST, limit, "leave it out for the newest checkpoint")
    limit = f"left out: step {best} was the best, and steps {steps} are there"
    require(best in steps, "step", BEST, limit, f"restore step {best}, or choose one that is there")
    assert best is not None, "it is among the steps"
    return best


def open_checkpoint(directory: Path, step: int, key: bytes | None = None) -> Checkpoint:
    """One checkpoint of a checkpoints folder, its manifest and its record verified; with a key, also who
    saved it.

    Raises:
      ValueError: it is of another format, or damaged.
    """
    folder = directory / str(step)
    try:
        manifest = read_manifest(folder, key)
        if manifest is not None:
            check_files(manifest, folder, (str(RECORD),))
        stored = read_record(folder)
        _check_mark(folder, stored, manifest)
        if manifest is None and key is not None:
            raise Damaged("it is of format 1, which is not signed, and a key was given")
    except UnknownFormat as error:
        raise ValueError(
            f"checkpoint {folder} has format {shown(error.args[0])[:80]}; this version reads"
            f" {' and '.join(map(str, FORMATS))}. Fix: use the version that wrote it"
        ) from None
    except (ValueError, OSError) as error:
        raise ValueError(
            f"checkpoint {folder}: its record cannot be used, the files are damaged ({_one_line(error)}; steps"
            f" there: {whole_steps(directory)}). {way_out(directory, step)}"
        ) from error
    return Checkpoint(directory, step, stored.run, stored.record, stored.arrays, manifest)


def _check_mark(folder: Path, stored: Stored, manifest: Manifest | None) -> None:
    """A checkpoint of format 2 has a manifest, and marked parameters; one of format 1 has neither."""
    if manifest is not None:
        if stored.record.format != manifest.format:
            raise Damaged(f"its record has format {stored.record.format}, its manifest {manifest.format}")
        if mark_of((folder / RECORD).read_bytes()) != manifest.mark:
            raise Damaged("its manifest is that of another record")
    elif stored.record.format != 1 or MARK in _names_of_arrays(folder / "params"):
        raise Damaged(f"{NAME} is missing")


def _names_of_arrays(item: Path) -> str:
    """What Orbax wrote of the names of an item's arrays, as text."""
    found = item / "_METADATA"
    return found.read_text(encoding="utf-8") if found.is_file() else ""


def _newest_whole(directory: Path, steps: list[int]) -> Checkpoint:
    """The newest checkpoint all of whose files are what was saved."""
    first: ValueError | None = None
    for step in reversed(steps):
        try:
            found = open_checkpoint(directory, step, read_key())
            check_all(found)
        except ValueError as error:
            first = first or error
            print(f"aila: {_one_line(error)}", file=sys.stderr)
            continue
        if first is not None:
            print(f"aila: step {step} is used instead: it is the newest whole checkpoint", file=sys.stderr)
        return found
    assert first is not None  # there is a step
    raise first


def check_all(found: Checkpoint) -> None:
    """Compares every byte of a checkpoint with what was saved; without a manifest, every array.

    Raises:
      ValueError: something is damaged.
    """
    if found.manifest is not None:
        try:
            check_files(found.manifest, found.folder)
        except (Damaged, OSError) as error:
            raise ValueError(
                f"checkpoint {found.folder} is damaged: {_one_line(error)}."
                f" {way_out(found.directory, found.step)}"
            ) from None
    with _readable(found, "arrays"):
        check_arrays(found.folder, found.arrays, None if found.manifest is None else found.manifest.mark)


def way_out(directory: Path, step: int) -> str:
    """What to do about a damaged checkpoint, with the command for an older one where there is one."""
    older = [other for other in whole_steps(directory) if other < step]
    if not older:
        return "Fix: restore a copy or an older step; none is there"
    return (
        f"Fix: restore a copy or an older step: --checkpoint={directory / str(older[-1])}, or --fallback for"
        f" the newest whole one; to train on from it, move {directory / str(step)} away"
    )


@contextlib.contextmanager
def _readable(found: Checkpoint, part: str) -> Iterator[None]:
    """Says which part of a checkpoint is damaged where reading it fails, with whatever a library raises
    then.
    """
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"checkpoint {found.folder}: {part} cannot be read, the files are damaged ({_one_line(error)})."
            f" {way_out(found.directory, found.step)}"
        ) from error


def _one_line(error: Exception) -> str:
    """What went wrong, short."""
    text = str(error) if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: {error}"
    return (text.splitlines() or [type(error).__name__])[0][:400]

"""Checkpoints: Orbax for the arrays, with our own record and checksums beside them."""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from aila_jax.config import Config, saved_config, to_dict, user_path
from aila_jax.data.tokenizer import Tokenizer
from aila_jax.partition.anchors import Anchors
from aila_jax.partition.build import FittedTable, Partition, build_partition, check_vocabulary, table_of
from aila_jax.training.state import TrainState

FORMAT = 1
DIRECTORY = "checkpoints"  # inside a run directory
ANCHOR_ARRAYS = ("table", "counts", "importance")


@dataclass(frozen=True)
class Record:
    """What a checkpoint holds beside its arrays; all of it is JSON.

    Attributes:
      config: the run's configuration.
      tokenizer: its tokenizer.json.
      partition: the partition's settings.
      data: fingerprint of the corpus and the position in the training data.
      meta: versions, git commit, device.
      format: version of this layout.
      anchors: k, estimator and types of the anchors whose arrays are in the checkpoint; None before they are
        made.
      table: vocabulary, names and note of the partition's table, which is in the checkpoint; None for a
        partition without one.
      log: the steps since the log's last record, from `TrainingLog.interval`; None in older checkpoints.
    """

    config: dict[str, Any]
    tokenizer: str
    partition: dict[str, Any]
    data: dict[str, Any]
    meta: dict[str, Any]
    format: int = FORMAT
    anchors: dict[str, Any] | None = None
    table: dict[str, Any] | None = None
    log: dict[str, Any] | None = None

    @classmethod
    def of(
        cls,
        config: Config,
        tokenizer: Tokenizer,
        data: dict[str, Any],
        meta: dict[str, Any],
        log: dict[str, Any] | None = None,
    ) -> "Record":
        return cls(to_dict(config), tokenizer.to_json(), config.partition.settings, data, meta, log=log)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint found on disk, its record read and its arrays not yet.

    Attributes:
      directory: the folder that holds the step folders.
      step: optimizer steps done.
      run: name of the run directory.
      arrays: "params/…", "state/…", "anchors/…" and "partition/…" names → {"shape", "dtype", "sha256"}.
    """

    directory: Path
    step: int
    run: str
    record: Record
    arrays: dict[str, Any]

    @property
    def config(self) -> Config:
        return saved_config(self.record.config)

    @property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer.from_json(self.record.tokenizer)

    def params(self, template: Any) -> Any:
        """The parameters as NumPy arrays shaped like `template`, verified against their checksums.

        Raises:
          ValueError: another shape than the template's, or bytes that changed since they were saved.
        """
        return self._restore("params", template)

    def state(self, template: TrainState) -> TrainState:
        """The whole training state, likewise."""
        rest = self._restore("state", _without_params(template))
        return replace(template, params=self.params(template.params), **rest)

    def anchors(self) -> Anchors | None:
        """The anchors, likewise; None where the run had made none when it was saved."""
        if self.record.anchors is None:
            return None
        return Anchors(
            **self._restore("anchors", self._template("anchors", ANCHOR_ARRAYS)), **self.record.anchors
        )

    def partition(self) -> Partition:
        """The partition that the run was trained with, its table likewise.

        Raises:
          ValueError: also for a table of another vocabulary than the checkpoint's tokenizer.
        """
        table = None
        if self.record.table is not None:
            stored = self._restore("partition", self._template("partition", ("values",)))
            table = FittedTable(
                stored["values"],
                self.record.table["vocabulary"],
                tuple(self.record.table["names"]),
                self.record.table["note"],
            )
        partition = build_partition(self.config.partition, table)
        check_vocabulary(partition, self.tokenizer)
        return partition

    def _template(self, item: str, names: tuple[str, ...]) -> dict[str, Any]:
        """Empty arrays of the shapes and types that the record says."""
        entries = {name: self.arrays[f"{item}/{name}"] for name in names}
        return {name: np.empty(entry["shape"], entry["dtype"]) for name, entry in entries.items()}

    def _restore(self, item: str, template: Any) -> Any:
        where = f"{self.directory / str(self.step)}"
        wanted = {
            f"{item}/{name}": (list(np.shape(leaf)), str(np.dtype(leaf.dtype)))
            for name, leaf in _leaves(template)
        }
        stored = {
            name: (entry["shape"], entry["dtype"])
            for name, entry in self.arrays.items()
            if name.startswith(f"{item}/")
        }
        # Orbax restores an array into a template of another shape without complaint, so shapes are compared
        # here.
        for name in sorted(wanted.keys() | stored.keys()):
            if wanted.get(name) != stored.get(name):
                raise ValueError(
                    f"checkpoint {where}: {name} is {stored.get(name, 'absent')}, the model needs"
                    f" {wanted.get(name, 'none')} (shape, type). Fix: use the configuration the checkpoint"
                    " was trained with"
                )
        blank = jax.tree.map(lambda leaf: np.empty(np.shape(leaf), leaf.dtype), template)
        with _readable(where, item), ocp.StandardCheckpointer() as checkpointer:
            restored = checkpointer.restore(self.directory / str(self.step) / item, blank)
        for name, leaf in _leaves(restored):
            if _sha256(leaf) != self.arrays[f"{item}/{name}"]["sha256"]:
                raise ValueError(
                    f"checkpoint {where}: {item}/{name} does not match its checksum: the file is damaged. "
                    "Fix: restore a copy or an older step"
                )
        return restored


class CheckpointStore:
    """Saves the checkpoints of one run; keeps the newest ones. A context manager."""

    def __init__(self, run_directory: Path, keep: int):
        self.directory = (run_directory / DIRECTORY).resolve()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, create=True, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def __enter__(self) -> "CheckpointStore":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    def save(
        self,
        step: int,
        state: TrainState,
        record: Record,
        anchors: Anchors | None = None,
        partition: Partition | None = None,
    ) -> None:
        """Saves and waits until everything is on disk, so that a failed save shows here and not at the next
        one.
        """
        if step in whole_steps(self.directory):
            return
        host = jax.device_get(state)
        rest = _without_params(host)
        items = {"params": host.params, "state": rest}
        if anchors is not None:
            items["anchors"] = {name: np.asarray(getattr(anchors, name)) for name in ANCHOR_ARRAYS}
            record = replace(
                record, anchors={"k": anchors.k, "estimator": anchors.estimator, "types": anchors.types}
            )
        table = None if partition is None else table_of(partition)
        if table is not None:
            items["partition"] = {"values": table.values}
            record = replace(
                record, table={"vocabulary": table.vocabulary, "names": list(table.names), "note": table.note}
            )
        arrays = {}
        for item, tree in items.items():
            for name, leaf in _leaves(tree):
                arrays[f"{item}/{name}"] = {
                    "shape": list(np.shape(leaf)),
                    "dtype": str(leaf.dtype),
                    "sha256": _sha256(leaf),
                }
        args = ocp.args.Composite(
            **{item: ocp.args.StandardSave(tree) for item, tree in items.items()},
            record=ocp.args.JsonSave({**asdict(record), "arrays": arrays, "run": self.directory.parent.name}),
        )
        # Orbax writes nothing, and says so by its result alone, where a later step's folder exists, whole or
        # not.
        if not self._manager.save(step, args=args):
            raise ValueError(
                f"the checkpoint of step {step} was not saved: {self.directory} holds a later step. Fix: move"
                " that folder away"
            )
        self._manager.wait_until_finished()

    def latest(self) -> str:
        """The last good checkpoint in words."""
        steps = whole_steps(self.directory)
        return f"step {steps[-1]} in {self.directory}" if steps else "none"


def whole_steps(directory: Path) -> list[int]:
    """The steps saved in a checkpoints folder, oldest first; a step folder without a record is none."""
    return [step for step in _step_folders(directory) if (directory / str(step) / "record").is_dir()]


def incomplete_steps(directory: Path) -> list[int]:
    """Steps whose folder lacks its record: copied in part, say, since saving itself makes whole folders
    only.
    """
    return [step for step in _step_folders(directory) if not (directory / str(step) / "record").is_dir()]


def _step_folders(directory: Path) -> list[int]:
    if not directory.is_dir():
        return []
    return sorted(int(entry.name) for entry in directory.iterdir() if entry.name.isdigit())


def find_checkpoint(path: str | Path, step: int | None = None) -> Checkpoint:
    """The newest checkpoint (or that of `step`) of a run directory, a checkpoints folder, or a step folder
    itself.

    Raises:
      ValueError: there is none, it is of another format, or its record is damaged.
    """
    path = user_path(path).resolve()
    if step is None and path.name.isdigit() and (path / "record").is_dir():
        path, step = path.parent, int(path.name)
    directory = path / DIRECTORY if (path / DIRECTORY).is_dir() else path
    steps = whole_steps(directory)
    if not steps:
        raise ValueError(
            f"checkpoint path is {str(path)!r}; it must be a run directory that holds a checkpoint. Fix:"
            " train first, or correct the path"
        )
    if step is not None and step not in steps:
        raise ValueError(f"step is {step}; {directory} holds steps {steps}. Fix: choose one of them")
    step = steps[-1] if step is None else step
    with (
        _readable(f"{directory / str(step)}", f"record (steps there: {steps})"),
        ocp.Checkpointer(ocp.JsonCheckpointHandler()) as checkpointer,
    ):
        stored = dict(checkpointer.restore(directory / str(step) / "record"))
    if stored.get("format") != FORMAT:
        raise ValueError(
            f"checkpoint {directory / str(step)} has format {stored.get('format')!r}; this version reads"
            f" {FORMAT}. Fix: use the version that wrote it"
        )
    arrays, run = stored.pop("arrays"), stored.pop("run")
    return Checkpoint(directory, step, run, Record(**stored), arrays)


@contextlib.contextmanager
def _readable(where: str, part: str) -> Iterator[None]:
    """Says which part of a checkpoint is damaged where reading it fails, with whatever a library raises
    then.
    """
    try:
        yield
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise ValueError(
            f"checkpoint {where}: {part} cannot be read, the files are damaged ({reason}). Fix: restore a"
            " copy or an older step"
        ) from error


def _without_params(state: TrainState) -> dict[str, Any]:
    rest = {
        name: getattr(state, name)
        for name in ("step", "opt_state", "key", "skipped", "first_bad_step", "bad_parts")
    }
    return rest if state.importance is None else {**rest, "importance": state.importance}


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    return [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _sha256(leaf: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(np.asarray(leaf)).tobytes()).hexdigest()

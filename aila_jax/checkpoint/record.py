"""What a checkpoint holds beside its arrays, and how much it may claim of them."""

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from aila_jax.checkpoint.run_files import Known
from aila_jax.config import Config, TrainedPart, saved_config, to_dict
from aila_jax.data.tokenizer import Tokenizer
from aila_jax.json_files import json_object, read_json

FORMATS = (1, 2)
RECORD = Path("record", "metadata")  # in a step's folder; where Orbax puts JSON
# What goes with the arrays of anchors and of a partition's table.
PARTS: dict[str, dict[str, type]] = {
    "anchors": {"k": int, "estimator": str, "types": bool},
    "table": {"vocabulary": str, "names": list, "note": str},
    "relation": {"vocabulary": str},
}
# In `meta`: the checkpoints that the run's weights came from, newest first, and what each of them has.
LINEAGE = "lineage"
ANCESTOR: dict[str, type] = {"run": str, "step": int, "weights": str, "path": str}
# In `meta` of a run that watches its validation loss: what it has seen (`training.best.Seen`).
BEST = "best"
SEEN: dict[str, tuple[type, ...]] = {
    "step": (int, type(None)),
    "loss": (float, type(None)),
    "reference": (float, type(None)),
    "waited": (int,),
}
MAX_LINEAGE = 1024  # runs that began one from another
MAX_ANCHORS = 2**20  # k, of a block
MAX_LENGTH = 2**20  # the scores of one sequence of that length fit no machine of today
MAX_ENTRIES = 2**48  # along one axis of an array
# Bytes of arrays for a byte on disk, and beside that. A checkpoint's parameters hardly compress, and its
# optimizer has at most a few times as many numbers, which may all be 0.
MAX_COMPRESSION, MAX_SMALL_BYTES = 64, 64 * 2**20


@dataclass(frozen=True)
class Record:
    """What a checkpoint holds beside its arrays; all of it is JSON.

    Attributes:
      config: the run's configuration.
      tokenizer: its tokenizer.json.
      partition: the partition's settings.
      data: fingerprint of the corpus and the position in the training data.
      meta: versions, git commit, device, and what the run's files held (`run_files.Known`).
      format: version of this layout.
      anchors: k, estimator and types of the anchors whose arrays are in the checkpoint; None before they are
        made.
      table: vocabulary, names and note of the partition's table, which is in the checkpoint; None for a
        partition without one.
      relation: vocabulary of the relation's tables, which are in the checkpoint; None for one without any.
      log: the steps since the log's last record, from `TrainingLog.interval`; None in older checkpoints.
    """

    config: dict[str, Any]
    tokenizer: str
    partition: dict[str, Any]
    data: dict[str, Any]
    meta: dict[str, Any]
    format: int = FORMATS[-1]
    anchors: dict[str, Any] | None = None
    table: dict[str, Any] | None = None
    relation: dict[str, Any] | None = None
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
class ArrayEntry:
    """One array of a checkpoint: its shape, type and SHA-256."""

    shape: tuple[int, ...]
    dtype: str
    sha256: str

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Stored:
    """A record as it is on disk.

    Attributes:
      record: the record.
      arrays: "params/…", "state/…", "anchors/…", "partition/…" and "relation/…" names.
      run: name of the run directory when it was saved.
    """

    record: Record
    arrays: dict[str, ArrayEntry] = field(default_factory=dict)
    run: str = ""


class UnknownFormat(ValueError):
    """A checkpoint of a format that this version does not read."""


def read_record(folder: Path) -> Stored:
    """The record in a step's folder, every field checked.

    Raises:
      UnknownFormat: of another version.
      ValueError: it is damaged, or claims what cannot be in the files that are there.
    """
    stored = json_object(read_json(folder / RECORD), "record")
    if stored.get("format") not in FORMATS:
        raise UnknownFormat(stored.get("format"))
    known = {one.name for one in fields(Record)} | {"arrays", "run"}
    needed = {"config", "tokenizer", "partition", "data", "meta", "arrays", "run"}
    for name in sorted(needed - stored.keys()):
        raise ValueError(f"its record has no {name!r}")
    for name in sorted(stored.keys() - known):
        raise ValueError(f"its record has {str(name)[:40]!r}, which no version wrote")
    arrays, run = json_object(stored.pop("arrays"), "arrays"), stored.pop("run")
    for name in ("config", "partition", "data", "meta"):
        json_object(stored[name], name)
    _check_lineage(stored["meta"].get(LINEAGE, []))
    _check_seen(stored["meta"].get(BEST))
    Known.from_meta(stored["meta"])
    for name, kinds in PARTS.items():
        if stored.get(name) is not None:
            _check_part(name, json_object(stored[name], name), kinds)
    if stored.get("log") is not None:
        json_object(stored["log"], "log")
    if not isinstance(stored["tokenizer"], str) or not isinstance(run, str):
        raise ValueError("its record's tokenizer and run must be texts")
    entries = {name: _entry(name, value) for name, value in arrays.items()}
    _check_sizes(entries, folder)
    record = Record(**stored)
    _check_model(saved_config(record.config), entries)
    return Stored(record, entries, run)


def _check_part(name: str, part: dict[str, Any], kinds: dict[str, type]) -> None:
    """The settings of anchors or of a table: these and no others, of their types."""
    wrong = sorted(part.keys() ^ kinds.keys())
    wrong += [key for key, kind in kinds.items() if key in part and type(part[key]) is not kind]
    if name == "anchors" and not wrong and not 1 <= part["k"] <= MAX_ANCHORS:
        wrong.append("k")
    if name == "table" and not wrong and not all(isinstance(one, str) for one in part["names"]):
        wrong.append("names")
    if wrong:
        raise ValueError(f"its record's {name} has no usable {wrong[0][:40]!r}")


def _check_lineage(lineage: Any) -> None:
    """A list of what `ANCESTOR` says, and no more."""
    right = isinstance(lineage, list) and len(lineage) <= MAX_LINEAGE
    for one in lineage if right else ():
        right = right and isinstance(one, dict) and one.keys() == ANCESTOR.keys()
        right = right and all(type(one[name]) is kind for name, kind in ANCESTOR.items())
    if not right:
        raise ValueError(
            f"its record's lineage is {str(lineage)[:120]}; it must be a list of {', '.join(ANCESTOR)}"
        )


def _check_seen(seen: Any) -> None:
    """None, or what `SEEN` says, and no more."""
    if seen is None:
        return
    right = isinstance(seen, dict) and seen.keys() == SEEN.keys()
    if not right or any(type(seen[name]) not in kinds for name, kinds in SEEN.items()):
        raise ValueError(f"its record's {BEST} is {str(seen)[:120]}; it must hold {', '.join(SEEN)}")


def _entry(name: str, value: Any) -> ArrayEntry:
    entry = json_object(value, f"arrays[{name!r}]")
    shape, dtype, sha256 = entry.get("shape"), entry.get("dtype"), entry.get("sha256")
    sizes = tuple(shape) if isinstance(shape, list) else (None,)
    whole = all(type(size) is int and 0 <= size < MAX_ENTRIES for size in sizes)
    if not (whole and isinstance(dtype, str) and isinstance(sha256, str)):
        raise ValueError(
            f"array {name[:80]} is described by {str(entry)[:120]}; it needs shape, dtype and sha256"
        )
    try:
        np.dtype(dtype)
    except TypeError:
        raise ValueError(f"array {name[:80]} has the type {dtype[:40]!r}, which is none") from None
    return ArrayEntry(tuple(size for size in sizes if size is not None), dtype, sha256)


def _check_sizes(arrays: dict[str, ArrayEntry], folder: Path) -> None:
    """Arrays cannot be larger than what the bytes on disk can hold."""
    there = sum(path.lstat().st_size for path in folder.rglob("*"))
    limit = MAX_COMPRESSION * there + MAX_SMALL_BYTES
    claimed = sum(entry.nbytes for entry in arrays.values())
    if claimed > limit:
        largest = max(arrays, key=lambda name: arrays[name].nbytes)
        raise ValueError(
            f"its record claims {claimed:.3g} bytes of arrays, {largest[:80]} most of them; "
            f"the {there:,} bytes there can hold at most {limit:,}"
        )


def _check_model(config: Config, arrays: dict[str, ArrayEntry]) -> None:
    """A model's shapes are worked out before they are compared with its arrays, so these bound its sizes."""
    params = {name: entry for name, entry in arrays.items() if name.startswith("params/")}
    numbers = sum(math.prod(entry.shape) for entry in params.values())
    layers = {
        name.split("/")[1]
        for name, entry in params.items()
        if name.startswith("params/layer_") and entry.nbytes
    }
    if config.train.trained == TrainedPart.DIAL:  # the base's arrays are elsewhere
        numbers = max(numbers, MAX_LENGTH)
    limits = {
        "length": max(numbers, MAX_LENGTH),  # with rotary positions no array has the length
        "d_model": numbers,
        "n_heads": numbers,
        "d_ff": numbers,
        "n_layers": len(layers) + 1,  # one more is left to the comparison, which says more
    }
    for name, most in limits.items():
        value = getattr(config.model, name)
        if value > most:
            raise ValueError(
                f"model.{name} is {value}; with the arrays that are there it can be at most {most:,}"
            )

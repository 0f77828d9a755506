"""The manifest of a checkpoint: what every file of it must be, itself checked, with a key if one is given.

`manifest.json` in a step's folder is written last, and flushed to disk before the folder gets its name:

    {"manifest": {"format": 2, "step": 24, "run": "tiny", "mark": "…", "base": null,
                  "files": {NAME: {"size": …, "sha256": "…"}}},
     "sha256": "…", "hmac": "…"}

`sha256` is of the manifest's canonical JSON, so that an edit of any byte of the checkpoint shows. Who can
edit can compute it again: those who must detect intent give a key, and `hmac` is HMAC-SHA256 with it. `mark`
stands in the arrays of the parameters too (`MARK`): a checkpoint whose manifest was removed is damaged, and
not one of format 1, which had none.

Room that is left: `base` names another checkpoint by its checksum, for adapters that are nothing without it;
`files` is a flat list, so that shards of an array, written by several processes, are entries like others.
"""

import hashlib
import hmac
import json
import os
import stat
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from aila_jax.files import flush
from aila_jax.json_files import json_object, read_json

FORMAT = 2
NAME = "manifest.json"
MARK = "aila_checkpoint"  # the name of the mark beside the parameters
KEY_VARIABLE = "AILA_CHECKPOINT_KEY_FILE"
MIN_KEY_BYTES = 16
CHUNK = 2**20


class Damaged(ValueError):
    """A checkpoint is not what was saved; the message says what differs."""


@dataclass(frozen=True)
class FileEntry:
    """One file: its size in bytes and its SHA-256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint must be.

    Attributes:
      step: optimizer steps done.
      run: name of the run directory when it was saved.
      mark: 32 hexadecimal digits, made from the record, that stand in the arrays too.
      files: every file of the step's folder but the manifest, by its path in it.
      base: SHA-256 of the manifest of the checkpoint that this one is a change of; None for a whole one.
      format: version of this layout.
    """

    step: int
    run: str
    mark: str
    files: dict[str, FileEntry] = field(default_factory=dict)
    base: str | None = None
    format: int = FORMAT

    @property
    def canonical(self) -> bytes:
        """The bytes that are hashed and signed."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.canonical).hexdigest()

    def signature(self, key: bytes) -> str:
        """HMAC-SHA256 with a key."""
        return hmac.new(key, self.canonical, hashlib.sha256).hexdigest()


def mark_of(record: bytes) -> str:
    """The mark of a checkpoint with this record."""
    return hashlib.sha256(b"aila checkpoint mark\0" + record).hexdigest()[:32]


def mark_array(mark: str) -> Int[np.ndarray, " 5"]:
    """The mark as it stands beside the parameters: the format, then the digits as four numbers."""
    return np.concatenate(
        [np.array([FORMAT], np.int32), np.frombuffer(bytes.fromhex(mark), ">i4").astype(np.int32)]
    )


def read_key(path: str | Path | None = None) -> bytes | None:
    """The key in a file, or in the one that AILA_CHECKPOINT_KEY_FILE names; None where neither is given.

    Raises:
      ValueError: the file cannot be read, or holds fewer than 16 bytes.
    """
    chosen = path or os.environ.get(KEY_VARIABLE)
    if not chosen:
        return None
    try:
        key = Path(chosen).read_bytes().strip()
    except OSError as error:
        raise ValueError(
            f"key file is {str(chosen)!r}; it cannot be read ({error.strerror}). Fix: name a file with the key"
        ) from None
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(
            f"key file {str(chosen)!r} holds {len(key)} bytes; it must hold at least {MIN_KEY_BYTES}. "
            "Fix: openssl rand -hex 32 > FILE"
        )
    return key


def make_manifest(folder: Path, step: int, run: str, mark: str) -> Manifest:
    """The manifest of the files that are in `folder`."""
    return Manifest(step, run, mark, {name: file_entry(folder / name) for name in _files(folder)})


def write_manifest(manifest: Manifest, folder: Path, key: bytes | None) -> None:
    """Writes it, signed where there is a key, and flushes the whole folder to disk."""
    document: dict[str, Any] = {"manifest": asdict(manifest), "sha256": manifest.sha256}
    if key is not None:
        document["hmac"] = manifest.signature(key)
    (folder / NAME).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for parent, folders, files in os.walk(folder, topdown=False):
        for name in files:
            flush(Path(parent) / name)
        for name in folders:
            flush(Path(parent) / name)
    flush(folder)


def read_manifest(folder: Path, key: bytes | None = None) -> Manifest | None:
    """The manifest of a step's folder, itself checked; None where there is none.

    Args:
      folder: the step's.
      key: where given, the manifest must be signed with it.

    Raises:
      Damaged: it cannot be read, is not what was written, of another step than the folder's name, or not
        signed with the key.
    """
    path = folder / NAME
    if not os.path.lexists(path):
        return None
    try:
        document = json_object(read_json(path), NAME)
        values = dict(json_object(document["manifest"], "manifest"))
        files = {
            name: _file_entry(name, entry)
            for name, entry in json_object(values.pop("files"), "files").items()
        }
        manifest = Manifest(**values, files=files)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{NAME} cannot be read ({error})") from None
    if manifest.format != FORMAT:
        raise Damaged(f"{NAME} has format {str(manifest.format)[:40]}; this version reads {FORMAT}")
    if not hmac.compare_digest(manifest.sha256, str(document.get("sha256"))):
        raise Damaged(f"{NAME} does not match its checksum")
    if folder.name.isdecimal() and manifest.step != int(folder.name):
        raise Damaged(f"the folder is named {folder.name}, but holds step {manifest.step}")
    if key is not None:
        signature = document.get("hmac")
        if signature is None:
            raise Damaged("it is not signed, and a key was given")
        if not hmac.compare_digest(manifest.signature(key), str(signature)):
            raise Damaged("its signature is not of this key")
    return manifest


def _file_entry(name: str, entry: Any) -> FileEntry:
    values = json_object(entry, name)
    if values.keys() != {"size", "sha256"} or type(values["size"]) is not int:
        raise ValueError(f"{name[:80]} is described by {str(values)[:120]}; it needs size and sha256")
    return FileEntry(values["size"], str(values["sha256"]))


def check_files(manifest: Manifest, folder: Path, names: tuple[str, ...] | None = None) -> None:
    """Compares the folder with the manifest: names and sizes of all files, and the content of `names`, or of
    all.

    Raises:
      Damaged: something differs; the first of it is named.
    """
    found = set(_files(folder))
    for name in sorted(manifest.files.keys() - found):
        raise Damaged(f"{name} is missing")
    for name in sorted(found - manifest.files.keys()):
        raise Damaged(f"{name} was not saved with it")
    for name, entry in manifest.files.items():
        if (folder / name).stat().st_size != entry.size:
            raise Damaged(f"{name} has {(folder / name).stat().st_size:,} bytes for {entry.size:,}")
    for name in manifest.files if names is None else names:
        if name not in manifest.files:
            raise Damaged(f"{name} is not in {NAME}")
        if file_entry(folder / name) != manifest.files[name]:
            raise Damaged(f"{name} does not match its checksum")


def file_entry(path: Path, most: int | None = None) -> FileEntry:
    """Size and SHA-256 of a file, or of its first `most` bytes."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK if most is None else min(CHUNK, max(most - size, 0))):
            digest.update(chunk)
            size += len(chunk)
    return FileEntry(size, digest.hexdigest())


def _files(folder: Path) -> list[str]:
    """The paths of all files below a folder but its manifest.

    A link is damage, since it may lead anywhere, and so is a pipe, which would be read for ever.
    """
    names = []
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent) / name
            if path.is_symlink():
                raise Damaged(f"{path.relative_to(folder)} is a link")
            if name in files and not stat.S_ISREG(path.stat().st_mode):
                raise Damaged(f"{path.relative_to(folder)} is no plain file")
        names += [str((Path(parent) / name).relative_to(folder)) for name in files]
    return sorted(name for name in names if name != NAME)

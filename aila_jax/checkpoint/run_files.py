"""The files of a run beside its checkpoints, and what each of them held when a checkpoint was saved.

A record's `meta` has, under "files", the size and the SHA-256 of config.json, run.json, the log and
TensorBoard's files. The first two never change. The others grow: they must begin with what they held.
"""

import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aila_jax.checkpoint.manifest import Damaged, FileEntry, file_entry
from aila_jax.files import Growing
from aila_jax.json_files import json_object
from aila_jax.training.logs import BOARD, LOG

FILES = "files"  # in `meta`
SETTINGS = ("config.json", "run.json")
MOST_FILES = 2**16


@dataclass(frozen=True)
class Known:
    """What is known of a run's files, by their paths in the run directory."""

    entries: Mapping[str, FileEntry] = field(default_factory=dict)

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> "Known":
        """Of a checkpoint, empty where that knows of none; ValueError where no version wrote it."""
        there = json_object(meta.get(FILES, {}), FILES)
        if len(there) > MOST_FILES:
            raise ValueError(
                f"its record knows {len(there):,} files of its run; at most {MOST_FILES:,} are read"
            )
        return cls({name: _entry(name, value) for name, value in there.items()})

    def to_meta(self) -> dict[str, Any]:
        """As `from_meta` reads it."""
        return {FILES: {name: asdict(entry) for name, entry in self.entries.items()}}

    def of_settings(self, directory: Path) -> "Known":
        """The same with config.json and run.json as they are now, where nothing is known of them."""
        now = {
            name: file_entry(directory / name)
            for name in SETTINGS
            if name not in self.entries and (directory / name).is_file()
        }
        return Known({**self.entries, **now})

    def with_grown(self, files: Mapping[str, Growing]) -> "Known":
        """The same with these files as they are now."""
        return Known(
            {**self.entries, **{name: FileEntry(one.size, one.sha256) for name, one in files.items()}}
        )

    def check(self, directory: Path, name: str) -> None:
        """Compares a file of the run directory with what it held; Damaged where it holds something else."""
        entry, path = self.entries[name], directory / name
        try:
            status = path.lstat()
        except FileNotFoundError:
            raise Damaged("it is missing") from None
        if (
            not stat.S_ISREG(status.st_mode)
            or path.parent.resolve() != directory.resolve() / Path(name).parent
        ):
            raise Damaged("it is no plain file, or its folder is a link")
        grows = name not in SETTINGS
        if status.st_size < entry.size or (status.st_size > entry.size and not grows):
            raise Damaged(f"it has {status.st_size:,} bytes for {'at least ' if grows else ''}{entry.size:,}")
        if file_entry(path, entry.size) != entry:
            raise Damaged("it does not match its checksum")


def _entry(name: str, value: Any) -> FileEntry:
    """One file's entry; its name leads to nothing outside the run directory."""
    folder, _, file = name.rpartition("/")
    plain = file not in ("", ".", "..") and "\\" not in file and len(file) < 256 and file.isprintable()
    own = name in (*SETTINGS, LOG) or (folder == BOARD and plain)
    values = json_object(value, name[:80])
    size, sha256 = values.get("size"), values.get("sha256")
    if not own or values.keys() != {"size", "sha256"} or type(size) is not int or not isinstance(sha256, str):
        raise ValueError(
            f"its record knows the file {name[:80]!a} as {str(values)[:120]}, which no version wrote"
        )
    return FileEntry(size, sha256)

"""A power cut, imitated: what a program writes, names and flushes below a folder is recorded in its order,
and the disk is laid out as a cut at any point of it may leave it.

A file system may keep, of what was not flushed, anything. Five extremes stand for that. A file's content is
flushed by fsync of the file, and its name by fsync of the folder, as POSIX has it.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

CALLS = ("fsync", "rename", "replace", "unlink", "remove", "rmdir", "mkdir", "link")
FORMS = ("flushed", "written", "names first", "content first", "zeros")

Names = dict[str, int]  # of a folder: the inode of each name
Laid = dict[str, bytes | None]  # path in the folder: content; None for a folder


@dataclass(frozen=True)
class Disk:
    """What a folder holds, or what of it is flushed, by inodes.

    Attributes:
      root: inode of the folder.
      folders: of each folder, its names.
      files: of each file, its content.
    """

    root: int
    folders: dict[int, Names]
    files: dict[int, bytes]


@dataclass(frozen=True)
class Moment:
    """The disk right before a call, or at the end.

    Attributes:
      call: which call, and of what.
      written: everything that was written.
      flushed: what of it is flushed.
      done: what the program had said to be done.
      folders: inodes of all folders that there ever were.
    """

    call: str
    written: Disk
    flushed: Disk
    done: tuple[str, ...]
    folders: frozenset[int]

    def laid(self, form: str) -> Laid:
        """The folder after a cut at this moment, in one of `FORMS`.

        flushed: names and content that were flushed alone; files without content are empty.
        written: everything.
        names first: all names, and content that was flushed.
        content first: names that were flushed, and all content.
        zeros: all names, and zeros in place of content that was not flushed.
        """
        names = self.flushed.folders if form in ("flushed", "content first") else self.written.folders
        if form in ("written", "content first"):
            files = {**self.flushed.files, **self.written.files}
        elif form == "zeros":
            blank = {inode: bytes(len(content)) for inode, content in self.written.files.items()}
            files = {**blank, **self.flushed.files}
        else:
            files = self.flushed.files
        laid: Laid = {}

        def walk(inode: int, path: str) -> None:
            for name, child in names.get(inode, {}).items():
                if child in self.folders:
                    laid[f"{path}{name}"] = None
                    walk(child, f"{path}{name}/")
                else:
                    laid[f"{path}{name}"] = files.get(child, b"")

        walk(self.written.root, "")
        return laid


@dataclass
class Recorder:
    """Records a folder; `say` notes what the program has promised by now."""

    folder: Path
    moments: list[Moment] = field(default_factory=list)
    _done: list[str] = field(default_factory=list)
    _ever: set[int] = field(default_factory=set)  # folders
    _held: dict[int, int] = field(default_factory=dict)  # open inodes, whose numbers are given to no other
    _known: dict[str, bytes] = field(default_factory=dict)  # contents, each of them once
    _folders: dict[int, Names] = field(default_factory=dict)  # flushed
    _files: dict[int, bytes] = field(default_factory=dict)  # flushed

    def say(self, done: str) -> None:
        self._done.append(done)

    def begin(self) -> None:
        """What is there already is flushed."""
        now = self._now()
        self._folders, self._files = dict(now.folders), dict(now.files)

    def note(self, call: str) -> None:
        """Adds the moment right before a call."""
        now = self._now()
        flushed = Disk(now.root, dict(self._folders), dict(self._files))
        self.moments.append(Moment(call, now, flushed, tuple(self._done), frozenset(self._ever)))

    def flushed(self, descriptor: int) -> None:
        """Notes that a file's content, or a folder's names, are flushed now."""
        status = os.fstat(descriptor)
        now = self._now()
        if stat.S_ISDIR(status.st_mode):
            if status.st_ino in now.folders:
                self._folders[status.st_ino] = now.folders[status.st_ino]
        elif status.st_ino in now.files:
            self._files[status.st_ino] = now.files[status.st_ino]

    def close(self) -> None:
        for descriptor in self._held.values():
            os.close(descriptor)

    def _now(self) -> Disk:
        folders: dict[int, Names] = {}
        files: dict[int, bytes] = {}

        def walk(folder: Path) -> None:
            names: Names = {}
            for entry in os.scandir(folder):
                with contextlib.suppress(FileNotFoundError):  # of a thread that removes it just now
                    inode = entry.inode()
                    if inode not in self._held:
                        self._held[inode] = os.open(entry.path, os.O_RDONLY)
                    names[entry.name] = inode
                    if entry.is_dir(follow_symlinks=False):
                        walk(Path(entry.path))
                    else:
                        content = Path(entry.path).read_bytes()
                        files[inode] = self._known.setdefault(hashlib.sha256(content).hexdigest(), content)
            inode = folder.stat().st_ino
            folders[inode] = names
            self._ever.add(inode)

        walk(self.folder)
        return Disk(self.folder.stat().st_ino, folders, files)


@contextlib.contextmanager
def recorded(folder: Path) -> Iterator[Recorder]:
    """Records what this process does below a folder, which must be there. One thread writes names."""
    recorder, real = Recorder(folder), {name: getattr(os, name) for name in CALLS}
    recorder.begin()

    def watched(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            recorder.note(f"{name} {_named(args[0])}")
            found = real[name](*args, **kwargs)
            if name == "fsync":
                recorder.flushed(args[0])
            return found

        return call

    with contextlib.ExitStack() as patches:
        patches.callback(recorder.close)
        for name in CALLS:
            patches.enter_context(patch.object(os, name, watched(name)))
        yield recorder
        recorder.note("the end")


def _named(subject: Any) -> str:
    """A path, or the path of a descriptor, for people."""
    if isinstance(subject, int):
        with contextlib.suppress(OSError):
            return os.readlink(f"/proc/self/fd/{subject}")
    return str(subject)


def lay(laid: Laid, folder: Path) -> None:
    """Makes a new folder as it was laid out."""
    folder.mkdir(parents=True)
    for path, content in laid.items():
        if content is None:
            (folder / path).mkdir(parents=True, exist_ok=True)
        else:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)


def identity(laid: Laid) -> str:
    """The same for the same layout."""
    digest = hashlib.sha256()
    for path, content in sorted(laid.items()):
        digest.update(f"{path}\0{'' if content is None else hashlib.sha256(content).hexdigest()}\0".encode())
    return digest.hexdigest()

"""Writing files so that a reader sees the old content or the new, never a part, and so that no link in a run
folder leads the writing astray.

A run folder may come from a stranger. The folder that a user names may be a link; nothing below it may, where
something is written: a link there could name any file that the user can write.
"""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: bytes) -> None:
    """Writes `content` beside `path`, flushes it to disk, renames it into place and flushes that; makes the
    parent folders. A link at `path` is replaced, not followed.

    Raises:
      ValueError: `path` is a folder.
      OSError: it cannot be written; the old content stays.
    """
    if path.is_dir():
        raise ValueError(
            f"{str(path)!r} is a folder; it must be a file to write. Fix: add a file name, such as"
            f" {str(path / 'report.html')!r}."
        )
    with names_the_file(path):
        make_folder(path.parent)
        replaced(path, content).close()


def replaced(path: Path, content: bytes) -> BinaryIO:
    """Like `write_atomically`, and leaves the new file open, unbuffered, for more at its end."""
    # Not tempfile: its files are readable by the owner alone, and the rename would keep that.
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    file = new_file(partial)
    try:
        write_whole(file, content)
        os.fsync(file.fileno())
        os.replace(partial, path)
        flush(path.parent)
    except BaseException:
        file.close()
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
        raise
    return file


def flush(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on disk. Where a system opens no folders, their
    lists are left to it.
    """
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Makes a folder and those above it that are missing, and flushes their names to disk."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        flush(folder.parent)


def new_file(path: Path) -> BinaryIO:
    """A file that was not there before, open for writing without a buffer; FileExistsError where anything has
    that name, a link to nowhere too.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return open(os.open(path, flags, 0o666), "wb", buffering=0)


def write_whole(file: BinaryIO, content: bytes) -> None:
    """Writes all of `content` to an unbuffered file; where that fails the file is what it was before."""
    before = file.tell()
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) :]
    except OSError:
        with contextlib.suppress(OSError):
            file.truncate(before)
            file.seek(before)
        raise


class Growing:
    """A file that is written at its end alone, and what it holds so far.

    Attributes:
      size: its bytes.
      sha256: of them, in hexadecimal digits.
    """

    def __init__(self, file: BinaryIO, content: bytes = b""):
        """Takes an unbuffered file that holds `content` and stands at its end."""
        self._file, self.size, self._digest = file, len(content), hashlib.sha256(content)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def add(self, content: bytes) -> None:
        """Writes all of it, or, with an OSError, nothing."""
        write_whole(self._file, content)
        self.size += len(content)
        self._digest.update(content)

    def flush(self) -> None:
        """Waits until it is on disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def folder_inside(root: Path, *names: str) -> Path:
    """The folder of that name below `root`, made where it is missing; ValueError where a part of the way down
    from `root` is a link.
    """
    folder = root
    with names_the_file(root.joinpath(*names)):
        make_folder(root)
        for name in names:
            folder = folder / name
            refuse_link(folder)
            make_folder(folder)
    return folder


def refuse_link(path: Path) -> None:
    """ValueError where `path` is a link: what it leads to is not part of the folder that it lies in."""
    if path.is_symlink():
        raise ValueError(
            f"{str(path)!r} is a link; it must be a file or folder of its own, since nothing is written through"
            " a link inside a run folder. Fix: remove it, or put what it leads to in its place (the run folder"
            " itself may be a link)"
        )


@contextlib.contextmanager
def names_the_file(path: Path) -> Iterator[None]:
    """Gives an operating system's error inside the path that the user knows: a full disk names none, and a
    temporary file has a name that says nothing.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error

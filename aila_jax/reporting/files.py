"""Writing a file so that a reader sees the old content or the new, never a part."""

import contextlib
import os
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Writes `content` beside `path`, flushes it to disk and renames it into place; makes the parent folders.

    Raises:
      ValueError: `path` is a folder.
    """
    if path.is_dir():
        raise ValueError(
            f"{str(path)!r} is a folder; it must be a file to write. Fix: add a file name, such as"
            f" {str(path / 'report.html')!r}."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: its files are readable by the owner alone, and the rename would keep that.
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
        raise

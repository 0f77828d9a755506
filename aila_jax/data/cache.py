"""Arrays kept on disk under a key of their content, verified when they are read."""

import contextlib
import hashlib
import io
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from aila_jax.config import user_path

FORMAT = 1  # raise it when the meaning of a cached array changes
Arrays = dict[str, np.ndarray]


def cache_directory(setting: str) -> Path:
    """`data.cache_dir`, or ~/.cache/aila_jax where it is empty."""
    return user_path(setting) if setting else Path.home() / ".cache" / "aila_jax"


def key_of(*parts: object) -> str:
    """A file name from whatever the cached arrays depend on, the format of the cache included."""
    return hashlib.sha256(repr((FORMAT, *parts)).encode()).hexdigest()[:32]


def load_or_build(directory: Path, key: str, build: Callable[[], Arrays]) -> Arrays:
    """The arrays stored under `key`; without them, or with a damaged file, builds and stores them.

    A damaged file gives a warning and is replaced. A directory that cannot be written gives a warning, and
    the arrays are used without being stored.
    """
    path = directory / f"{key}.npz"
    if path.exists():
        try:
            return _read(path)
        except (
            Exception
        ) as error:  # a damaged zip raises many types: BadZipFile, zlib.error, KeyError, EOFError …
            warnings.warn(
                f"token cache {path} is damaged ({type(error).__name__}: {error}); it is built again",
                stacklevel=2,
            )
    arrays = build()
    try:
        _write(path, arrays)
    except OSError as error:
        warnings.warn(
            # The same words for each file, so that they are shown once.
            f"token cache {directory} cannot be written ({error.strerror or error}); the next run starts from the text"
            " again. Fix: set --config.data.cache_dir, or make room",
            stacklevel=2,
        )
    return arrays


def _read(path: Path) -> Arrays:
    data = path.read_bytes()
    stored, body = data[:32], data[32:]
    if hashlib.sha256(body).digest() != stored:
        raise ValueError("the checksum does not match")
    with np.load(io.BytesIO(body), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _write(path: Path, arrays: Arrays) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    body = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written beside its place and moved there in one step: a reader never meets half a file, and of two
    # writers one wins.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(body).digest() + body)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise

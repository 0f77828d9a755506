"""Keys and values of passages, kept in memory and, where that is asked for, on disk.

They depend on weights (adapters among them), λ, τ, header, own tokens, where these stand, what a passage
sees, and the model's shape: all of this, and what computed them, is the name that they are found by.
"""

import contextlib
import hashlib
import json
import operator
import os
import threading
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aila_jax.checkpoint.lineage import weights_of
from aila_jax.config.serialize import to_dict
from aila_jax.files import refuse_link, write_atomically
from aila_jax.model.kept import KeysValues

SUFFIX = ".passage"
FORMAT = "aila_jax passage, version 1"
MEMORY_BYTES = 512 * 2**20
DISK_MIB = 2048
HASH_BYTES = 32


class Memory:
    """The most recently used of them, up to so many bytes."""

    def __init__(self, most: int = MEMORY_BYTES):
        """`most`: bytes."""
        self.most, self.bytes = most, 0
        self._found: OrderedDict[str, KeysValues] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._found)

    def get(self, key: str) -> KeysValues | None:
        """What is kept under the key; None where nothing is."""
        with self._lock:
            found = self._found.get(key)
            if found is not None:
                self._found.move_to_end(key)
            return found

    def put(self, key: str, found: KeysValues) -> None:
        """Keeps it, and forgets what was not used for the longest."""
        with self._lock:
            if key in self._found:
                return
            self._found[key] = found
            self.bytes += _bytes(found)
            while self.bytes > self.most and self._found:
                self.bytes -= _bytes(self._found.popitem(last=False)[1])


@dataclass(frozen=True)
class Disk:
    """Those in a folder, up to so many bytes; the oldest go first. Each file is named by its key and holds
    its own checksum. One that is not what it should be is not used, and a warning says so.

    Attributes:
      folder: where.
      most: bytes.
    """

    folder: Path
    most: int

    def path(self, key: str) -> Path:
        """The file of a key."""
        return self.folder / f"{key}{SUFFIX}"

    def get(self, key: str, shape: tuple[int, ...], dtype: str) -> KeysValues | None:
        """What is kept under the key; None where nothing is, or something else than keys and values of this
        shape and type.
        """
        path = self.path(key)
        head, size = _head(key, shape, dtype), 2 * _size(shape, dtype)
        try:
            if path.is_symlink() or not path.is_file():
                return None
            right = path.stat().st_size == HASH_BYTES + len(head) + size
            content = path.read_bytes() if right else b""
        except FileNotFoundError:  # another process removed it
            return None
        body = content[HASH_BYTES:]
        if not right or hashlib.sha256(body).digest() != content[:HASH_BYTES] or not body.startswith(head):
            warnings.warn(
                f"{path} is damaged or of another model: it is not used, and made again", stacklevel=2
            )
            return None
        with contextlib.suppress(OSError):  # what was used last goes last
            os.utime(path)
        values = np.frombuffer(body, jnp.dtype(dtype), offset=len(head)).reshape(2, *shape)
        return KeysValues(values[0], values[1])

    def put(self, key: str, found: KeysValues) -> None:
        """Writes it, whole or not at all, and removes the oldest files beyond the limit."""
        keys, values = np.asarray(found.keys), np.asarray(found.values)
        body = _head(key, keys.shape, str(keys.dtype)) + keys.tobytes() + values.tobytes()
        if HASH_BYTES + len(body) > self.most:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        refuse_link(self.path(key))
        write_atomically(self.path(key), hashlib.sha256(body).digest() + body)
        self._evict(self.path(key))

    def _evict(self, fresh: Path) -> None:
        files = []
        for one in self.folder.glob(f"*{SUFFIX}"):
            try:
                found = one.lstat()
            except FileNotFoundError:  # another process removed it
                continue
            files.append((one == fresh, found.st_mtime_ns, found.st_size, one))
        total = sum(size for _, _, size, _ in files)
        for _, _, size, one in sorted(files):
            if total <= self.most:
                return
            one.unlink(missing_ok=True)
            total -= size


@dataclass(frozen=True)
class Cache:
    """Memory first, then the disk.

    Attributes:
      memory: shared by all answers of a process by default.
      disk: None for memory alone.
    """

    memory: Memory
    disk: Disk | None = None

    def get(self, key: str, shape: tuple[int, ...], dtype: str) -> KeysValues | None:
        """What is kept under the key, keys and values of this shape and type."""
        found = self.memory.get(key)
        if found is None and self.disk is not None:
            found = self.disk.get(key, shape, dtype)
            if found is not None:
                self.memory.put(key, found)
        return found

    def put(self, key: str, found: KeysValues) -> None:
        """Keeps it."""
        self.memory.put(key, found)
        if self.disk is not None:
            self.disk.put(key, found)


SHARED = Memory()


@dataclass(frozen=True)
class Reader:
    """Of whose keys and values it is: all that their name says beside a passage's tokens.

    Attributes:
      weights: checksum of all parameters.
      model: the model's settings.
      lam: λ.
      tau: τ.
      hard: passages see themselves and the header alone.
      header: its tokens.
    """

    weights: str
    model: Any
    lam: float
    tau: float
    hard: bool
    header: tuple[int, ...]

    def key(self, body: Sequence[int] | None) -> str:
        """The name of a passage right after the header; None names the header itself."""
        said = {
            "format": FORMAT,
            "weights": self.weights,
            "model": to_dict(self.model),
            "dial": [float(np.float32(self.lam)), float(np.float32(self.tau))],
            "relation": "hard passages" if self.hard else "passages",
            "header": list(self.header),
            "body": None if body is None else list(body),
            "position": 0 if body is None else len(self.header),
            "computed by": [jax.__version__, jax.default_backend()],
        }
        text = json.dumps(said, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class _Known:
    """Parameters whose checksum is known. JAX's arrays cannot be changed: while they live, it is theirs.

    Attributes:
      arrays: all of them.
      names: their names.
      checksum: of both.
    """

    arrays: tuple[weakref.ref[Any], ...] = ()
    names: str = ""
    checksum: str = ""

    def is_of(self, arrays: Sequence[Any], names: str) -> bool:
        """Whether it is of these very arrays."""
        own = [ref() for ref in self.arrays]
        return self.names == names and len(own) == len(arrays) and all(map(operator.is_, own, arrays))


_KNOWN = [_Known()]


def weights_checksum(params: Any) -> str:
    """`weights_of` parameters, computed once for those that were asked for last."""
    arrays, names = jax.tree.leaves(params), str(jax.tree.structure(params))
    if _KNOWN[0].is_of(arrays, names):
        return _KNOWN[0].checksum
    found = weights_of(params)
    if all(isinstance(one, jax.Array) for one in arrays):
        _KNOWN[0] = _Known(tuple(map(weakref.ref, arrays)), names, found)
    return found


def _head(key: str, shape: tuple[int, ...], dtype: str) -> bytes:
    said = json.dumps({"format": FORMAT, "key": key, "shape": list(shape), "dtype": dtype})
    return said.encode() + b"\n"


def _size(shape: tuple[int, ...], dtype: str) -> int:
    return int(np.prod(shape)) * int(jnp.dtype(dtype).itemsize)


def _bytes(found: KeysValues) -> int:
    return int(found.keys.nbytes + found.values.nbytes)

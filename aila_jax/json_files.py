"""Reading JSON that may be a stranger's: bounded in size, refused in one line; and its checksum."""

import hashlib
import json
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

MAX_BYTES = 64 * 2**20


def read_json(path: Path, max_bytes: int = MAX_BYTES, constant: Callable[[str], Any] | None = None) -> Any:
    """What a JSON file holds.

    Args:
      path: the file.
      max_bytes: how large it may be.
      constant: what NaN and infinities become, as for `json.loads`.

    Raises:
      ValueError: it is larger, no UTF-8, no JSON, or nested deeper than Python reads.
      OSError: it cannot be read.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # reading a pipe would wait for ever
        raise ValueError(f"{path} is no plain file. Fix: restore a copy")
    size = found.st_size
    if size > max_bytes:
        raise ValueError(
            f"{path} has {size:,} bytes; it must have at most {max_bytes:,}. Fix: look at what wrote it"
        )
    return parse_json(path.read_bytes(), str(path), constant)


def parse_json(content: bytes, name: str, constant: Callable[[str], Any] | None = None) -> Any:
    """The same of bytes; `name` says what they are in a message."""
    try:
        return loads(content.decode("utf-8"), constant)
    except ValueError as error:
        raise ValueError(f"{name} is not JSON ({error}). Fix: restore a copy") from None


def loads(content: bytes | str, constant: Callable[[str], Any] | None = None) -> Any:
    """`json.loads`, whose only error is ValueError, also where a text is nested deeper than Python reads."""
    try:
        return json.loads(content, parse_constant=constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def json_object(value: Any, name: str) -> dict[str, Any]:
    """`value`, where it is a JSON object; ValueError where not."""
    if not isinstance(value, dict):
        raise ValueError(f"{name} is a {type(value).__name__}; it must be a JSON object. Fix: restore a copy")
    return value


def json_sha256(document: Mapping[str, Any]) -> str:
    """SHA-256 of what a document says, however it is laid out."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

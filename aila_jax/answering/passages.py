"""The passages that a question is answered from: texts in Python, a folder of text files, or JSON lines."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aila_jax.config import require, user_path
from aila_jax.config.checks import whole
from aila_jax.data.documents import unix_line_ends
from aila_jax.data.file_contents import decode_text
from aila_jax.json_files import loads

MAX_PASSAGES = 1024
MAX_BYTES = 16 * 2**20  # of all of them: an answer reads no more than a model's length of each
GIVE = 'passages=["a text", …], [("name", "a text"), …], a folder of .txt files, or a .jsonl file'


@dataclass(frozen=True)
class Passage:
    """One passage.

    Attributes:
      id: its name; its number, counted from 0, where it came without one.
      text: what it says.
    """

    id: str
    text: str


def read_passages(passages: Any) -> tuple[Passage, ...]:
    """The passages in their order.

    Args:
      passages: texts, pairs (name, text), or mappings with "text" and perhaps "id"; or the path of a folder,
        whose .txt files are taken by name, or of JSON lines with "text" and perhaps "id".

    Raises:
      ValueError: none, one without a text, too many of them, or a name that is given twice; the message names
        the file and line.
    """
    if isinstance(passages, str | os.PathLike):
        found, name = _of_path(user_path(passages, "passages")), str(passages)
    else:
        several = isinstance(passages, Sequence) and not isinstance(passages, bytes | bytearray)
        require(several, "passages", passages, "a list of passages, or a path", GIVE)
        require(
            len(passages) <= MAX_PASSAGES, "passages", len(passages), f"at most {MAX_PASSAGES}", "give fewer"
        )
        found, name = (
            [_read(one, number, f"passage {number}") for number, one in enumerate(passages)],
            "passages",
        )
    require(bool(found), name, "none", "at least one passage", GIVE)
    size = sum(len(one.text.encode("utf-8", "surrogatepass")) for _, one in found)
    require(
        size <= MAX_BYTES, name, f"{size:,} bytes", f"at most {MAX_BYTES:,}", "give fewer or shorter ones"
    )
    seen: dict[str, str] = {}
    for where, one in found:
        before = seen.get(one.id, "")
        require(
            not before, f"{where}: id", one.id, f"another name than that of {before}", "rename one of them"
        )
        seen[one.id] = where
    return tuple(one for _, one in found)


def _of_path(path: Path) -> list[tuple[str, Passage]]:
    """Each passage of a folder or file, and where it stands."""
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.suffix == ".txt" and one.is_file())
        limit = f"a folder of 1 to {MAX_PASSAGES} .txt files"
        require(0 < len(files) <= MAX_PASSAGES, "passages", f"{path} with {len(files)}", limit, GIVE)
        return [_read((file.stem, _text_of(file)), 0, str(file)) for file in files]
    right = path.is_file() and path.suffix.lower() == ".jsonl"
    limit = "a folder of .txt files or a .jsonl file that is there"
    require(right, "passages", str(path), limit, f"correct the path, or {GIVE}")
    lines = [(n, line) for n, line in enumerate(_text_of(path).split("\n"), start=1) if line.strip()]
    limit = f"at most {MAX_PASSAGES} lines"
    require(len(lines) <= MAX_PASSAGES, str(path), f"{len(lines)} lines", limit, "give fewer passages")
    return [_line(line, number, f"{path}:{at}") for number, (at, line) in enumerate(lines)]


def _text_of(path: Path) -> str:
    """What a file says, if it is not too long."""
    size = path.stat().st_size
    require(size <= MAX_BYTES, str(path), f"{size:,} bytes", f"at most {MAX_BYTES:,}", "cut it")
    return unix_line_ends(decode_text(path.read_bytes(), path))


def _line(line: str, number: int, where: str) -> tuple[str, Passage]:
    """A line of JSON."""
    try:
        record = loads(line)
    except ValueError as error:
        raise ValueError(f'{where} is not JSON ({error}). Fix: write {{"id": …, "text": …}}') from None
    fix = 'write {"id": "a name", "text": "…"}'
    require(isinstance(record, dict), where, record, "a JSON object", fix)
    return _read(record, number, where)


def _read(given: Any, number: int, where: str) -> tuple[str, Passage]:
    """One passage, and where it stands; ValueError for what is none."""
    name: Any = str(number)
    text = given
    if isinstance(given, Mapping):
        text, name = given.get("text"), given.get("id", name)
        extra = [key for key in given if key not in ("id", "text")]
        require(not extra, where, extra, "with the keys id and text alone", "leave the others out")
    elif isinstance(given, tuple):
        require(len(given) == 2, where, given, "a pair (name, text)", GIVE)
        name, text = given
    require(isinstance(text, str), where, given, "a text, (name, text) or {id, text}", GIVE)
    named = (isinstance(name, str) and name != "") or whole(name)
    require(named, f"{where}: id", name, "a text or a whole number", "name the passage, or leave it out")
    require(bool(text.strip()), where, text, "a text, not empty", "leave the passage out")
    return where, Passage(str(name), text)

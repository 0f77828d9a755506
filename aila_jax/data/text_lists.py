"""Texts that a command reads, from a file or from standard input: one, one a line, or JSON lines."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aila_jax.config import require, user_path
from aila_jax.config.checks import whole
from aila_jax.data.documents import unix_line_ends
from aila_jax.data.file_contents import decode_text, read_content
from aila_jax.data.text_files import only_objects, read_record

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class TextItem:
    """One text.

    Attributes:
      id: the record's "id"; else its place, from 0.
      text: the text; of a record with "blocks" these, a line each.
      blocks: a record's "blocks" as they came; None where it has none.
      block_ids: a record's "block_ids", one for each token; None where it has none.
    """

    id: str | int
    text: str
    blocks: tuple[str, ...] | None = None
    block_ids: tuple[int, ...] | None = None


def read_text_list(path: str, by_line: bool = False) -> tuple[TextItem, ...]:
    """The texts of a file, or of standard input where the path is `-`.

    A plain file is one text. JSON lines (by name, or because every line is a JSON object) have one a record,
    also records without text: their places are those of the file.

    Args:
      path: the file, or `-`.
      by_line: each line of a plain file is a text.

    Raises:
      ValueError: the file holds no text in UTF-8, or a line is no such record.
    """
    if path == STANDARD_INPUT:
        name = "standard input"
        text = unix_line_ends(decode_text(sys.stdin.buffer.read(), Path(name)))
    else:
        text, name = read_content(user_path(path))
    require(bool(text.strip()), name, text[:40], "a text of at least one word", "write some text")
    if name.lower().endswith(".jsonl") or only_objects(text):
        lines = ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())
        return tuple(_item(line, f"{name}:{number}", place) for place, (number, line) in enumerate(lines))
    texts = text.removesuffix("\n").split("\n") if by_line else [text]
    return tuple(TextItem(place, one) for place, one in enumerate(texts))


def _item(line: str, where: str, place: int) -> TextItem:
    read_record(line, where)  # refuses what is no record
    record: dict[str, Any] = json.loads(line)
    name = record.get("id", place)
    right = isinstance(name, str) or whole(name)
    require(right, f"{where}: id", name, "a text or a whole number", "leave it out, or name the text")
    block_ids = record.get("block_ids")
    right = block_ids is None or (isinstance(block_ids, list) and all(map(whole, block_ids)))
    fix = 'write "block_ids": [0, 0, 1], say, one for each token'
    require(right, f"{where}: block_ids", block_ids, "a list of whole numbers", fix)
    if record.get("blocks") is not None:
        blocks = tuple(unix_line_ends(block) for block in record["blocks"])
        return TextItem(name, "\n".join(blocks), blocks, _tuple(block_ids))
    return TextItem(name, unix_line_ends(record["text"] or ""), None, _tuple(block_ids))


def _tuple(values: list[int] | None) -> tuple[int, ...] | None:
    return None if values is None else tuple(values)

"""Documents from JSON lines: {"text": "…"} or {"blocks": ["field one", …]}, with an optional "title"."""

import json
from pathlib import Path
from typing import Any

from aila_jax.data.documents import Document, unix_line_ends


def parse_json_lines(text: str, path: Path) -> list[Document]:
    """One document for each line that is not blank; other keys are ignored.

    The lines of "text" become the pieces; "blocks" are the pieces as they are, for the partition `given`.

    Args:
      text: the content of the file.
      path: its name, for titles and messages.

    Raises:
      ValueError: a line that is no such object; the message names file and line.
    """
    documents = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            documents.append(_document(line, f"{path}:{number}"))
    return documents


def _document(line: str, where: str) -> Document:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where} is no JSON ({error}). Fix: write one object a line") from error
    except RecursionError as error:
        raise ValueError(
            f"{where} is nested too deeply for JSON. Fix: write one flat object a line"
        ) from error
    if not isinstance(record, dict) or ("text" in record) == ("blocks" in record):
        found = sorted(record) if isinstance(record, dict) else type(record).__name__
        raise ValueError(
            f'{where} has {found}; it must be an object with either "text" or "blocks". '
            'Fix: write {"text": "…"} or {"blocks": ["…", "…"]}'
        )
    title = record.get("title", where)
    pieces = _text_pieces(record["text"], where) if "text" in record else _blocks(record["blocks"], where)
    _check_strings([title, *pieces], where)
    pieces = tuple(unix_line_ends(piece) for piece in pieces)
    if not any(piece.strip() for piece in pieces):
        raise ValueError(f"{where} has no text; a document must have at least one word. Fix: remove the line")
    return Document(title, pieces)


def _text_pieces(text: Any, where: str) -> tuple[str, ...]:
    _check_strings([text], where)
    return tuple(unix_line_ends(text).removesuffix("\n").split("\n"))


def _blocks(blocks: Any, where: str) -> tuple[str, ...]:
    if not isinstance(blocks, list) or not blocks:
        raise ValueError(
            f'{where} has {blocks!r} for "blocks"; it must be a list of at least 1 string. Fix: write'
            ' {"blocks": ["…", "…"]}'
        )
    return tuple(blocks)


def _check_strings(values: list[Any], where: str) -> None:
    for value in values:
        if not isinstance(value, str):
            # A mistake in a file, not in a call: ValueError, like the others.
            raise ValueError(
                f"{where} has {value!r}, a {type(value).__name__}, where text must stand. Fix: write it as a"
                " string"
            )
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{where} has half a surrogate pair, {value[error.start]!r}, which is no character. Fix:"
                " write the whole character"
            ) from error

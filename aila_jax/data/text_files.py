"""The user's own text: UTF-8 files and JSON lines, with held-out lines or files, checked before any work."""

import glob
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aila_jax.config import DataConfig, user_path
from aila_jax.data.documents import Corpus, Document, fingerprint, unix_line_ends
from aila_jax.data.held_out import fill_splits

_SETTINGS = {"train": "files", "validation": "valid_files", "test": "test_files"}


def read_text_files(config: DataConfig) -> Corpus:
    """The corpus of `data.files`, `data.valid_files` and `data.test_files`.

    A plain file is one document and its lines are the pieces; a `.jsonl` file has one document a line
    (`json_lines.parse_json_lines`). Where no validation or test files are given, the end of `data.files` is
    held out: its last lines, or its last documents where one of the files is `.jsonl`, since a record is
    never cut. Training comes first, then validation, then test.

    Raises:
      ValueError: a pattern matches no file, a file is empty or not UTF-8 or malformed, one file or two
        identical
        documents are in two splits, or the text is too short to hold anything out.
    """
    return read_splits(config, read_file)


def read_splits(config: DataConfig, read: Callable[[Path], list[Document]], piece: str = "lines") -> Corpus:
    """The corpus of the three settings, its files read by `read`; `piece` is what pieces are, for messages.
    See `read_text_files`.
    """
    paths = {
        split: find_files(getattr(config, setting), f"data.{setting}") for split, setting in _SETTINGS.items()
    }
    _refuse_shared_files(paths)
    splits = {
        split: [document for path in found for document in read(path)] for split, found in paths.items()
    }
    _refuse_shared_documents(splits)  # whole files and records, and below what is left of them
    by_line = all(path.suffix != ".jsonl" for path in paths["train"])
    fractions = {"test": config.test_fraction, "validation": config.valid_fraction}
    splits = fill_splits(splits, fractions, by_line, "data.files", _SETTINGS, piece)
    _refuse_shared_documents(splits)
    return Corpus(config.corpus, {split: tuple(documents) for split, documents in splits.items()})


def find_files(patterns: Sequence[str], setting: str) -> list[Path]:
    """The files that paths or globs name: in the order of the patterns, sorted within a glob, each file once.

    Raises:
      ValueError: a pattern matches no file.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        expanded = str(user_path(pattern))
        # A path that exists is itself, also where its name holds [ or *.
        names = [expanded] if Path(expanded).exists() else sorted(glob.glob(expanded, recursive=True))
        files = [Path(name) for name in names if Path(name).is_file()]
        if not files:
            fix = (
                f"use {str(Path(pattern) / '*.txt')!r}"
                if Path(expanded).is_dir()
                else f"correct the path (relative paths start at {Path.cwd()})"
            )
            raise ValueError(
                f"{setting} has {pattern!r}, which matches 0 files; it must match at least 1. Fix: {fix}"
            )
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def read_file(path: Path) -> list[Document]:
    """The documents of one file: lines of a plain file, records of a `.jsonl` file.

    Raises:
      ValueError: the file is empty, is not UTF-8, or (`.jsonl`) a line is malformed.
    """
    data = path.read_bytes()
    text = unix_line_ends(decode_text(data, path))
    if not text.strip():
        raise ValueError(
            f"{path} has {len(data)} bytes and no text; it must have at least one word. Fix: remove it from"
            " the data files"
        )
    if path.suffix == ".jsonl":
        return parse_json_lines(text, path)
    return [Document(str(path), tuple(text.removesuffix("\n").split("\n")))]


def decode_text(data: bytes, path: Path) -> str:
    """The UTF-8 content of the file `path`, without a byte-order mark.

    Raises:
      ValueError: `data` is not UTF-8; the message names byte, offset and a command that converts.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin1"
        raise ValueError(
            f"{path} is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start} ({error.reason}). "
            f"Fix: convert it, for instance with: iconv -f {encoding} -t utf-8 {path.name} > new_{path.name}"
        ) from error
    return text.removeprefix("\ufeff")


def _refuse_shared_files(paths: dict[str, list[Path]]) -> None:
    owner: dict[Path, str] = {}
    for split, found in paths.items():
        for path in found:
            first = owner.setdefault(path.resolve(), split)
            if first != split:
                raise ValueError(
                    f"{path} is in data.{_SETTINGS[first]} and in data.{_SETTINGS[split]}; splits must not"
                    " overlap. Fix: name it in one of them"
                )


def _refuse_shared_documents(splits: dict[str, list[Document]]) -> None:
    owner: dict[str, tuple[str, str]] = {}
    for split, documents in splits.items():
        for document in documents:
            first, title = owner.setdefault(fingerprint([document]), (split, document.title))
            if first != split:
                raise ValueError(
                    f"{document.title} ({split}) has the same content as {title} ({first}); splits must not"
                    " overlap. Fix: remove one of the two from the data files"
                )


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

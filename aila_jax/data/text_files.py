"""The user's own text: UTF-8 files and JSON lines, with held-out lines or files, checked before any work."""

import glob
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aila_jax.config import DataConfig, user_path
from aila_jax.data.documents import Corpus, Document, fingerprint, unix_line_ends
from aila_jax.data.file_contents import read_content
from aila_jax.data.held_out import Source, fill_splits, leave_out_repeated
from aila_jax.data.paragraphs import join_lines

_SETTINGS = {"train": "files", "validation": "valid_files", "test": "test_files"}


@dataclass(frozen=True)
class FileText:
    """What was read from one file.

    Attributes:
      documents: in its order.
      records: whether it is JSON lines, whose records are never cut.
      empty: records without text, which were left out.
      note: what people should know of how it was read; may be empty.
    """

    documents: list[Document]
    records: bool = False
    empty: int = 0
    note: str = ""


def read_text_files(config: DataConfig) -> Corpus:
    """The corpus of `data.files`, `data.valid_files` and `data.test_files`.

    A plain file is one document and its lines are the pieces; a file of JSON lines has one document a line
    (`parse_json_lines`). Where no validation or test files are given, the end of `data.files` is held out:
    its last lines, or its last documents where one of the files is JSON lines, since a record is never cut.
    Training comes first, then validation, then test. Documents of validation and test that are in an earlier
    split too are left out.

    Raises:
      ValueError: a pattern matches no file, a file is empty, no UTF-8 text or malformed, one file or two
        identical ones are in two splits, or the text is too short to hold anything out.
    """
    return read_splits(
        config,
        partial(read_file, by_content=config.file_kinds == "content", joined=config.join_lines),
        cut_lines=True,
    )


def read_splits(
    config: DataConfig, read: Callable[[Path], FileText], *, cut_lines: bool, piece: str = "lines"
) -> Corpus:
    """The corpus of the three settings, its files read by `read`; for `cut_lines` and `piece` see
    `held_out.Source`, for the rest `read_text_files`.
    """
    paths = {
        split: find_files(getattr(config, setting), f"data.{setting}") for split, setting in _SETTINGS.items()
    }
    _refuse_shared_files(paths)
    files = {split: [(path, read(path)) for path in found] for split, found in paths.items()}
    _refuse_identical_files(files)
    read_all = [file for found in files.values() for _, file in found]
    empty = sum(file.empty for file in read_all)
    notes = [file.note for file in read_all if file.note]
    if empty:
        total = empty + sum(len(file.documents) for file in read_all if file.records)
        notes.append(f"{empty} of {total} records left out: they have no text")
    splits = {
        split: [document for _, file in found for document in file.documents]
        for split, found in files.items()
    }
    by_line = not any(file.records for _, file in files["train"])
    splits = fill_splits(splits, config, Source("data.files", _SETTINGS, by_line, cut_lines, piece))
    if config.repeated == "leave_out":
        splits, repeated = leave_out_repeated(splits)
        notes += repeated
    found = {split: tuple(documents) for split, documents in splits.items()}
    return Corpus(config.corpus, found, notes=tuple(notes))


def find_files(patterns: Sequence[str], setting: str) -> list[Path]:
    """The files that paths or globs name: in the order of the patterns, sorted within a glob, each file once.

    Raises:
      ValueError: a pattern matches no file.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        expanded = str(user_path(pattern))
        files = matching_files(expanded)
        if not files:
            fix = (
                f"use {str(Path(pattern) / '*.txt')!r}"
                if Path(expanded).is_dir()
                else f"correct the path (relative paths start at {Path.cwd()}), or say where the files are now"
                " with --data_dir=FOLDER"
            )
            raise ValueError(
                f"{setting} has {pattern!r}, which matches 0 files; it must match at least 1. Fix: {fix}"
            )
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def matching_files(pattern: str) -> list[Path]:
    """The files that a path or glob names, sorted; a path that exists is itself, also where its name holds [
    or *.
    """
    names = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern, recursive=True))
    return [Path(name) for name in names if Path(name).is_file()]


def read_file(path: Path, by_content: bool = True, joined: bool = False) -> FileText:
    """The documents of one file: lines of a plain file, records of a file of JSON lines.

    Args:
      by_content: JSON lines is what its lines say, and compressed text is unpacked; otherwise JSON lines is
        what ends in `.jsonl`, and nothing but that and plain text is known.
      joined: whether lines are put together that were broken to fit a page (`paragraphs.join_lines`).

    Raises:
      ValueError: the file is empty, is no UTF-8 text, or (JSON lines) a line is malformed.
    """
    text, name = read_content(path, by_content)
    if not text.strip():
        raise ValueError(
            f"{path} has {path.stat().st_size} bytes and no text; it must have at least one word. Fix: remove"
            " it from the data files"
        )
    note = ""
    records = name.endswith(".jsonl")
    if by_content and not records:
        _refuse_other_formats(text, name, path)
        records = name.lower().endswith(".jsonl") or only_objects(text)
        if records and not name.lower().endswith(".jsonl"):
            note = f"{path} is read as JSON lines: every line of it is a JSON object (data.file_kinds)"
    if not records:
        return FileText([Document(str(path), _lines(text, joined))])
    _refuse_one_value(text, path)
    try:
        documents = parse_json_lines(text, path, joined)
    except ValueError as error:
        plain = ", or read its lines as plain text with --config.data.file_kinds=suffix" if note else ""
        raise ValueError(f"{error}{plain}") from error
    lines = sum(1 for line in text.split("\n") if line.strip())
    if not documents:
        raise ValueError(
            f"{path} has {lines} records and none has text; at least one must have a word. Fix: remove it"
            " from the data files"
        )
    return FileText(documents, True, lines - len(documents), note)


def only_objects(text: str) -> bool:
    """Whether every line that is not blank is a JSON object; most texts are told apart by their first one."""
    lines = (line for line in text.split("\n") if line.strip())
    return all(line.lstrip().startswith("{") and isinstance(_parsed(line), dict) for line in lines)


def _parsed(text: str) -> Any:
    """The JSON value, or None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _refuse_other_formats(text: str, name: str, path: Path) -> None:
    """Raises ValueError for formats of text that another setting reads."""
    if name.lower().endswith((".conllu", ".conll")):
        raise ValueError(
            f"{path} is annotated text by its name; data.corpus is 'text'. Fix: set"
            " --config.data.corpus=conllu, or read it as it is with --config.data.file_kinds=suffix"
        )
    _refuse_one_value(text, path)


def _refuse_one_value(text: str, path: Path) -> None:
    """Raises ValueError where the whole file is one JSON array, or one object over several lines."""
    whole = text.strip()
    first = whole.split("\n", 1)[0]
    if not whole.startswith(("[", "{")) or (first.startswith("{") and isinstance(_parsed(first), dict)):
        return
    value = _parsed(whole)
    if isinstance(value, dict) or (
        isinstance(value, list) and any(isinstance(x, (dict, str)) for x in value)
    ):
        what, filters = ("array", ".[]") if isinstance(value, list) else ("object", ".")
        raise ValueError(
            f"{path} is one JSON {what}; it must have one object a line. Fix: jq -c '{filters}' {path.name} >"
            " new.jsonl"
        )


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


def _refuse_identical_files(files: dict[str, list[tuple[Path, FileText]]]) -> None:
    """Raises ValueError where files of two splits have the same content."""
    owner: dict[str, tuple[str, Path]] = {}
    for split, found in files.items():
        for path, file in found:
            first, other = owner.setdefault(fingerprint(file.documents), (split, path))
            if first != split:
                raise ValueError(
                    f"{path} ({split}) has the same content as {other} ({first}); splits must not"
                    " overlap. Fix: remove one of the two from the data files"
                )


def parse_json_lines(text: str, path: Path, joined: bool = False) -> list[Document]:
    """One document for each line that is not blank and has text; other keys are ignored.

    The lines of "text" become the pieces; "blocks" are the pieces as they are, for the partition `given`.
    "title" is only a name: any value, or none. Records whose text is null or empty are left out.

    Args:
      text: the content of the file.
      path: its name, for titles and messages.
      joined: as in `read_file`.

    Raises:
      ValueError: a line that is no such object; the message names file and line.
    """
    documents = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{path}:{number}"
            pieces, title = read_record(line, where, joined)
            if pieces:
                documents.append(Document(title, pieces))
    return documents


def json_of_line(line: str, where: str) -> Any:
    """What a line of JSON lines holds; ValueError with `where`, its file and line, for what is no JSON."""
    try:
        return json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where} is no JSON ({error}). Fix: write one object a line") from error
    except RecursionError as error:
        raise ValueError(
            f"{where} is nested too deeply for JSON. Fix: write one flat object a line"
        ) from error


def read_record(line: str, where: str, joined: bool = False) -> tuple[tuple[str, ...], str]:
    """The pieces and the title of a record of JSON lines; no pieces where it has no text.

    Args:
      line: a JSON object with "text" or "blocks".
      where: its file and line, for messages, and its title where it has none.
      joined: as in `read_file`; "blocks" stay as they are.

    Raises:
      ValueError: it is no such object.
    """
    record = json_of_line(line, where)
    named = [key for key in ("text", "blocks") if key in record] if isinstance(record, dict) else []
    valued = [key for key in named if record[key] is not None]
    if not named or len(valued) > 1:
        found = sorted(record) if isinstance(record, dict) else type(record).__name__
        raise ValueError(
            f'{where} has {found}; it must be an object with either "text" or "blocks". '
            'Fix: write {"text": "…"} or {"blocks": ["…", "…"]}'
        )
    if not valued:
        return (), where
    value = record[valued[0]]
    pieces = _text_pieces(value, where, joined) if valued == ["text"] else _blocks(value, where)
    _check_strings([*pieces], where)
    pieces = tuple(unix_line_ends(piece) for piece in pieces)
    return pieces if any(piece.strip() for piece in pieces) else (), _title(record.get("title"), where)


def _title(value: Any, where: str) -> str:
    """A name for people, of whatever the record has there."""
    if value is None or value == "":
        return where
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode()


def _text_pieces(text: Any, where: str, joined: bool) -> tuple[str, ...]:
    _check_strings([text], where)
    return _lines(unix_line_ends(text), joined)


def _lines(text: str, joined: bool) -> tuple[str, ...]:
    lines = text.removesuffix("\n").split("\n")
    return join_lines(lines) if joined else tuple(lines)


def _blocks(blocks: Any, where: str) -> tuple[str, ...]:
    if not isinstance(blocks, list):
        raise ValueError(
            f'{where} has {blocks!r} for "blocks"; it must be a list of strings. Fix: write'
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

"""The user's own questions: JSON lines of `question`, `passages`, `answer` and, if known, `rationale`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aila_jax.config import DataConfig
from aila_jax.config.checks import require, shown
from aila_jax.data.documents import Corpus, Document, unix_line_ends
from aila_jax.data.file_contents import read_content
from aila_jax.data.questions.examples import Example, Turn
from aila_jax.data.text_files import FileText, json_of_line, read_splits

MAX_PASSAGES = 1024  # of a record
MAX_CHARACTERS = 1_000_000  # of a record's texts together
_KEYS = ("question", "passages", "answer", "rationale", "title")
_WRITE = 'write {"question": "…", "passages": ["…", "…"], "answer": "…", "rationale": [0]}'


def question_files(config: DataConfig, make: Callable[[Example], Document]) -> Corpus:
    """The corpus of `data.files`, `data.valid_files` and `data.test_files`, each record made a document.

    Raises:
      ValueError: as `read_question_file` and `text_files.read_splits`.
    """

    def read(path: Path) -> FileText:
        return FileText([make(example) for example in read_question_file(path, config)], records=True)

    return read_splits(config, read, cut_lines=False, piece="records")


def read_question_file(path: Path, config: DataConfig | None = None) -> tuple[Example, ...]:
    """The examples of one file, one a line; blank lines are passed over.

    Args:
      path: of the file.
      config: says by what a file's kind is known (`data.file_kinds`); None goes by its content.

    Raises:
      ValueError: no record, or one that `read_question` refuses.
    """
    text, _ = read_content(path, config is None or config.file_kinds == "content")
    found = tuple(
        read_question(line, f"{path}:{number}")
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    )
    require(bool(found), str(path), "without a record", "JSON lines, at least one", _WRITE)
    return found


def read_question(line: str, where: str) -> Example:
    """The example of one line.

    A passage is a text, or an object with `text` and `id`; `rationale` has numbers of passages, from 0, or
    their ids. Line ends inside a text become spaces where it is a question, a passage or an answer: a line
    end would end an answer. Other control characters are refused.

    Args:
      line: a JSON object.
      where: its file and line, for messages, and its title where it has none.

    Raises:
      ValueError: it is no such object, or too large.
    """
    record = _object(line, where)
    passages, ids = _passages(record.get("passages"), where)
    question, answer = (_text(record.get(name), f"{where}: {name}") for name in ("question", "answer"))
    total = len(question) + len(answer) + sum(map(len, passages))
    fix = "give fewer or shorter passages"
    require(total <= MAX_CHARACTERS, where, f"{total} characters", f"at most {MAX_CHARACTERS:,}", fix)
    rationale = _rationale(record.get("rationale"), ids, where)
    title = record.get("title")
    name = where if title in (None, "") else title if isinstance(title, str) else json.dumps(title)
    return Example(passages, (Turn(question, answer, rationale),), name.encode("utf-8", "replace").decode())


def _object(line: str, where: str) -> dict[str, Any]:
    record = json_of_line(line, where)
    require(isinstance(record, dict), where, type(record).__name__, "an object", _WRITE)
    missing = [name for name in _KEYS[:3] if name not in record]
    limit = f"an object with {', '.join(_KEYS[:3])}; {', '.join(missing)} not there"
    require(not missing, where, sorted(record), limit, _WRITE)
    return dict(record)


def _passages(value: Any, where: str) -> tuple[tuple[str, ...], dict[str, int]]:
    """Texts, and the number of each by its id."""
    known = isinstance(value, list) and 0 < len(value) <= MAX_PASSAGES
    given = f"{len(value)} passages" if isinstance(value, list) else value
    require(known, f"{where}: passages", given, f"a list of 1 to {MAX_PASSAGES}", _WRITE)
    texts, ids = [], {}
    for number, one in enumerate(value):
        name = f"{where}: passage {number}"
        if isinstance(one, dict):
            limit, fix = 'a text, or an object with "text"', 'write {"id": "a", "text": "…"}'
            require("text" in one, name, sorted(one), limit, fix)
            if (own := one.get("id")) is not None:
                whole = isinstance(own, int) and not isinstance(own, bool)
                require(
                    isinstance(own, str) or whole, f"{name}: id", own, "a text or a number", 'write "id": "a"'
                )
                require(
                    str(own) not in ids, f"{name}: id", own, "one that no other passage has", "change one"
                )
                ids[str(own)] = number
            one = one["text"]
        texts.append(_text(one, name))
    return tuple(texts), ids


def _rationale(value: Any, ids: dict[str, int], where: str) -> tuple[int, ...]:
    if value is None:
        return ()
    name, fix = f"{where}: rationale", 'write "rationale": [0]'
    require(isinstance(value, list), name, value, "a list of numbers or ids of passages", fix)
    found = set()
    for one in value:
        if isinstance(one, bool) or not isinstance(one, int | str):
            require(False, name, one, "numbers or ids of passages", fix)
        # Where passages have ids, a number is one of those.
        number = ids.get(str(one)) if ids else one
        limit = f"an id of a passage ({', '.join(list(ids)[:8])})" if ids else "a number of a passage, from 0"
        require(isinstance(number, int), name, one, limit, fix)
        found.add(int(str(number)))
    return tuple(sorted(found))


def _text(value: Any, name: str) -> str:
    """One line of text."""
    fix = 'write it as a string, such as "…"'
    require(isinstance(value, str), name, value, "a text", fix)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name} has half a surrogate pair, {value[error.start]!r}, which is no character. Fix: write the"
            " whole character"
        ) from error
    line = " ".join(unix_line_ends(value).replace("\t", " ").split("\n")).strip()
    control = [one for one in line if ord(one) < 32 or 127 <= ord(one) < 160]
    require(not control, name, shown("".join(control[:1])), "text without control characters", "leave it out")
    require(bool(line), name, value, "a text with at least one word", fix)
    return line

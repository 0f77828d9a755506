"""CoNLL-U files: sentences of annotated words, read strictly.

The package `conllu` accepts missing columns, ids out of order and heads that lead nowhere, and knows no line
numbers, so the few columns that are needed are read here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

COLUMNS = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
UNKNOWN = "_"
_WORD = re.compile(r"[1-9][0-9]{0,8}")
_RANGE = re.compile(r"([1-9][0-9]{0,8})-([1-9][0-9]{0,8})")


@dataclass(frozen=True)
class Word:
    """One syntactic word.

    Attributes:
      form: the word; whitespace inside it is one space.
      tag: its UPOS.
      relation: its DEPREL. `_` where it is not annotated.
      head: number of its head in the sentence, from 1; 0 is the root, −1 not annotated.
      line: of the file, from 1.
    """

    form: str
    tag: str
    head: int
    relation: str
    line: int


@dataclass(frozen=True)
class Sentence:
    """Words in order. `document`: what `# newdoc` before the sentence names, None where no document
    begins.
    """

    words: tuple[Word, ...]
    document: str | None


def parse_conllu(text: str, name: str) -> list[Sentence]:
    """The sentences of a CoNLL-U file.

    Of a multi-word token (`1-2`) the syntactic words are read, and not the line with the written form; empty
    nodes (`1.1`) are left out. Of comments only `# newdoc` counts.

    Args:
      text: content of the file, lines ended by newlines.
      name: of the file, for messages.

    Raises:
      ValueError: a line that is none of CoNLL-U, with file, line number, value, limit and fix.
    Source: the format of universaldependencies.org/format.
    """
    found = []
    document: str | None = None
    for group in _groups(text):
        reading = _Reading(name)
        for number, line in group:
            if line.startswith("#"):
                fix = "move the comment above the sentence"
                _check(
                    not reading.begun,
                    f"{name}:{number}",
                    f"the comment {line!r} inside a sentence",
                    "before its first word",
                    fix,
                )
                document = _new_document(line, document)
            else:
                reading.read(line, number)
        if reading.begun:
            found.append(Sentence(reading.finish(), document))
            document = None
    _check(
        bool(found), name, "no sentence", "CoNLL-U with at least 1 sentence", "remove it from the data files"
    )
    _check(
        any(word.form != UNKNOWN for sentence in found for word in sentence.words),
        name,
        "'_' for every FORM",
        "a corpus with its text, which some are published without",
        "put the text in with the corpus's own tool",
    )
    return found


def _groups(text: str) -> Iterator[list[tuple[int, str]]]:
    """Runs of lines between blank ones, each line with its number."""
    group: list[tuple[int, str]] = []
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        if line.strip(" \r"):  # a line of tabs is a row of empty columns
            group.append((number, line))
        elif group:
            yield group
            group = []


def _new_document(line: str, before: str | None) -> str | None:
    """The name in `# newdoc id = NAME`, empty for `# newdoc`; for other comments `before`."""
    comment = line.removeprefix("#").strip()
    if comment.split("=")[0].split()[:1] != ["newdoc"]:
        return before
    return comment.partition("=")[2].strip()


class _Reading:
    """One sentence while its lines are read."""

    def __init__(self, name: str):
        self._name = name
        self._words: list[Word] = []
        self._covered = 0  # the last word that a range holds
        self._empty = 0  # empty nodes since the last word
        self._line = 0

    @property
    def begun(self) -> bool:
        return self._line > 0

    def read(self, line: str, number: int) -> None:
        """Reads a line that is neither blank nor a comment."""
        self._line, where = number, f"{self._name}:{number}"
        values = line.split("\t")
        limit = f"{len(COLUMNS)} columns with a tab between them"
        _check(len(values) == len(COLUMNS), where, f"{len(values)} columns", limit, _columns_fix(line))
        for column, value in zip(COLUMNS, values, strict=True):
            fix = "write _ for nothing, and no space around values"
            _check(
                bool(value) and value == value.strip(),
                where,
                f"{value!r} for {column}",
                "a value without space around it",
                fix,
            )
        identity = values[0]
        if _WORD.fullmatch(identity):
            self._word(values, where)
        elif match := _RANGE.fullmatch(identity):
            self._range(int(match[1]), int(match[2]), where)
        else:
            empty = f"{len(self._words)}.{self._empty + 1}"
            limit = f"a number (1), a range (1-2) or an empty node, which is {empty} here"
            _check(identity == empty, where, f"ID {identity!r}", limit, "correct the ID")
            self._empty += 1

    def finish(self) -> tuple[Word, ...]:
        """The words, once all lines are read."""
        where, total = f"{self._name}:{self._line}", len(self._words)
        _check(
            total > 0, where, "a sentence of 0 words", "a sentence of at least 1 word", "remove the sentence"
        )
        _check(
            self._covered <= total,
            where,
            f"a range up to word {self._covered}",
            f"at most the last word, {total}",
            "correct the range",
        )
        for word in self._words:
            limit = f"at most the last word, {total}"
            _check(
                word.head <= total,
                f"{self._name}:{word.line}",
                f"HEAD {word.head}",
                limit,
                "correct the HEAD",
            )
        return tuple(self._words)

    def _word(self, values: list[str], where: str) -> None:
        expected = len(self._words) + 1
        fix = "number the words of a sentence in order, and put a blank line between sentences"
        _check(
            int(values[0]) == expected, where, f"ID {values[0]}", f"{expected}, since words count from 1", fix
        )
        head = values[6]
        _check(
            head in ("0", UNKNOWN) or bool(_WORD.fullmatch(head)),
            where,
            f"HEAD {head!r}",
            "the number of a word, 0 or _",
            "correct the HEAD",
        )
        form = " ".join(values[1].split())
        self._words.append(Word(form, values[3], -1 if head == UNKNOWN else int(head), values[7], self._line))
        self._empty = 0

    def _range(self, first: int, last: int, where: str) -> None:
        following = len(self._words) + 1
        limit = f"a range from the next word, {following}, on, outside other ranges"
        _check(
            first == following > self._covered and last >= first,
            where,
            f"ID {first}-{last}",
            limit,
            "put it before its first word",
        )
        self._covered = last


MOST_SHOWN = 400  # characters of a line in a message


def _columns_fix(line: str) -> str:
    return (
        "write tabs, not spaces, between the columns"
        if "\t" not in line and len(line.split()) == len(COLUMNS)
        else "write _ for nothing, or leave the file out if it is no CoNLL-U"
    )


def _check(condition: bool, where: str, found: str, limit: str, fix: str) -> None:
    if not condition:
        short = found if len(found) <= MOST_SHOWN else f"{found[:MOST_SHOWN]}…"
        raise ValueError(f"{where} has {short}; it must be {limit}. Fix: {fix}.")

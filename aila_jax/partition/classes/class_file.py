"""Classes from a user's file: one token and its class a line."""

from pathlib import Path

import numpy as np

from aila_jax.config import user_path
from aila_jax.data.file_contents import read_content
from aila_jax.data.tokenizer import EOS, Tokenizer
from aila_jax.partition.classes.class_table import ClassTable

OTHER = "other"  # the class of types that a file does not name
INSIDE = "##"  # before a piece of a word that has no leading space
SPACE = "▁"  # a space in a piece of text


def read_class_file(path: str | Path, tokenizer: Tokenizer, *, unnamed: str = OTHER) -> ClassTable:
    """The class of every type from a UTF-8 file with a token and its class on each line that is not blank.

    The two stand apart by whitespace; on a line with a tab, by the tab, and the class may hold spaces then.
    There are no comments: `#` is a token like any other. `<eos>` is the line end. Word-level tokens stand as
    they are, and so do characters. With pieces of words, as in byte-level BPE, `the` is the type that begins
    a word (" the"), `##the` the one without a space before it, and a `▁` is a space, for types that hold
    others; tabs and bytes that are no whole character cannot be named. Classes are numbered as they first
    appear.

    Args:
      path: of the file.
      tokenizer: whose types are named.
      unnamed: class of the types that the file does not name; it may be one of the file's own. Empty: such
        types are refused.

    Raises:
      ValueError: no such file, not UTF-8, no line, a malformed line, a token that is no type of the
        vocabulary or was named
        before, types left over with `unnamed` empty, or one class for all types.
    Source: ours (docs/data.md, "Class files").
    """
    path = user_path(path)
    lines = _lines(path)
    ids = {
        text: index
        for index, text in enumerate(tokenizer.types)
        if index != tokenizer.eos_id and not (tokenizer.byte_level and "�" in text)
    }
    names: dict[str, int] = {}
    table = np.full(tokenizer.vocab_size, -1, np.int32)
    named_at: dict[int, int] = {}
    for number, line in lines:
        where = f"{path}:{number}"
        token, name = _fields(line, where)
        index = tokenizer.eos_id if token == EOS else ids.get(_text(token) if tokenizer.spaced else token)
        if index is None:
            raise ValueError(_unknown(token, where, tokenizer, ids))
        if index in named_at:
            raise ValueError(
                f"{where} has the token {token!r}, which line {named_at[index]} has too; a token has one"
                " class. Fix: remove one line"
            )
        named_at[index] = number
        table[index] = names.setdefault(name, len(names))
    left = np.flatnonzero(table < 0)
    if len(left) and not unnamed:
        raise ValueError(
            f"{path} leaves {len(left)} of {tokenizer.vocab_size} types without a class,"
            f" {_written(tokenizer, int(left[0]))!r} first; it must name every type when no class is set for"
            f" the others. Fix: name them, or set --config.partition.unnamed={OTHER}"
        )
    if len(left):
        table[left] = names.setdefault(unnamed, len(names))
    if len(names) == 1:
        raise ValueError(
            f"{path} puts all {tokenizer.vocab_size} types into class {next(iter(names))!r}; at least 2"
            " classes must hold a type. Fix: give some tokens another class"
        )
    note = f"{path.name} names {len(named_at):,} of {tokenizer.vocab_size:,} types"
    return ClassTable(
        tuple(names), table, note + (f"; the other {len(left):,} are {unnamed!r}" if len(left) else "")
    )


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no file"
        raise ValueError(
            f"the class file {str(path)!r} is {found}; it must be a UTF-8 text file. Fix: correct the path"
            f" (relative paths start at {Path.cwd()})"
        )
    text, _ = read_content(path)
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines:
        raise ValueError(
            f"{path} has no classes; it must have a token and its class on at least 1 line. Fix: write lines"
            " such as: the DET"
        )
    return lines


def _fields(line: str, where: str) -> tuple[str, str]:
    parts = [part.strip() for part in line.split("\t")] if "\t" in line else line.split()
    if len(parts) != 2 or not all(parts):
        fix = "write the token, a tab and the class" + (
            "; there are no comments in class files" if line.startswith("#") else ""
        )
        raise ValueError(
            f"{where} has {line!r}, {len(parts)} fields; a line must have 2, a token and its class. Fix:"
            f" {fix}"
        )
    return parts[0], parts[1]


def _text(token: str) -> str:
    """The text of the piece that is written so."""
    if token.startswith(INSIDE) and token != INSIDE:
        return token.removeprefix(INSIDE)
    if SPACE in token:
        return token.replace(SPACE, " ")
    return f" {token}"


def _written(tokenizer: Tokenizer, index: int) -> str:
    """How a class file may write a type; its opposite is `_text`."""
    text = tokenizer.types[index]
    if index == tokenizer.eos_id:
        return EOS
    if not tokenizer.spaced:
        return text
    return text.replace(" ", SPACE) if " " in text else f"{INSIDE}{text}"


def _unknown(token: str, where: str, tokenizer: Tokenizer, ids: dict[str, int]) -> str:
    fix = "remove the line, or correct the spelling (upper and lower case differ)"
    if tokenizer.spaced and token in ids:
        fix = f"write {INSIDE}{token} for the type without a space before it"
    elif tokenizer.spaced and token.startswith("Ġ") and f" {token[1:]}" in ids:
        fix = f"write {token[1:]}, which is the type that begins a word"
    elif tokenizer.spaced:
        fix += "; words of several types need --config.data.tokenizer=word"
    elif token.lower() in ids:
        fix = f"write {token.lower()}, which is one of them"
    return (
        f"{where} has the token {token!r}, which is none of the {tokenizer.vocab_size} types of the"
        f" vocabulary. Fix: {fix}"
    )

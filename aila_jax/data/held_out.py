"""Held-out text: where a corpus has no validation or test split of its own, the end of its training text
becomes one; and no text is in two splits.
"""

import hashlib
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from aila_jax.config import DataConfig
from aila_jax.data.documents import Document

# Characters to hold out from which on a line may be cut: a text of a few words is divided by its lines.
_LEAST = 32
_SPACE = re.compile(r"\s")


@dataclass(frozen=True)
class Source:
    """A training text that others are held out from.

    Attributes:
      name: the setting that names it, for messages.
      settings: for each split the setting that would give it a text of its own.
      by_line: cut between pieces; otherwise between documents, since a record is never cut.
      cut_lines: a piece that is long beside what is held out is cut too, between words.
      piece: what pieces are, for messages.
    """

    name: str
    settings: dict[str, str]
    by_line: bool
    cut_lines: bool = False
    piece: str = "lines"


def fill_splits(
    splits: dict[str, list[Document]], config: DataConfig, source: Source
) -> dict[str, list[Document]]:
    """The splits, those without documents filled from the end of the training documents.

    Held out are `valid_fraction` and `test_fraction` of the text, or of its lines or documents where
    `data.hold_out` is `lines`.

    Args:
      splits: by name, `train` among them.
      config: the data settings.
      source: what the training documents are.

    Raises:
      ValueError: the text is too short to hold anything out.
    """
    fractions = {"test": config.test_fraction, "validation": config.valid_fraction}
    missing = {split: fraction for split, fraction in fractions.items() if not splits[split]}
    if config.hold_out == "lines":
        return _fill_by_count(splits, missing, source)
    train = splits["train"]
    total = sum(_lengths(train, by_line=False))
    cuttable = (
        source.by_line
        and source.cut_lines
        and all(fraction * total >= _LEAST for fraction in missing.values())
    )
    units = _units(train, source.by_line)
    if units <= len(missing) and not cuttable:
        _refuse_short(units, len(missing), missing, source)
    filled = dict(splits)
    for place, (split, fraction) in enumerate(missing.items(), start=1):
        filled["train"], filled[split] = hold_out_text(
            filled["train"], fraction * total, source.by_line, cuttable, left=len(missing) - place + 1
        )
    return filled


def hold_out_text(
    documents: Sequence[Document], wanted: float, by_line: bool, cut_lines: bool, left: int = 1
) -> tuple[list[Document], list[Document]]:
    """The documents without their last `wanted` characters, and those: cut at the nearest end of a piece or,
    unless `by_line`, of a document.

    Where that holds out less than half or more than one and a half times what is wanted, `cut_lines` cuts
    inside a piece: at the nearest space, or at the very character where no space is near.

    Args:
      left: pieces (or documents) that must stay at least.
    """
    ends = list(itertools.accumulate(_lengths(documents, by_line)))
    target = ends[-1] - wanted
    nearest = min(
        range(left, len(ends)), key=lambda count: abs(ends[count - 1] - target), default=None
    )  # pieces that stay, so that at least one is held out
    if cut_lines and (nearest is None or abs(ends[nearest - 1] - target) > wanted / 2):
        unit = next(number for number, end in enumerate(ends) if end > target)
        offset = round(target) - (ends[unit - 1] if unit else 0)
        return hold_out(_cut(documents, unit, offset, round(wanted / 2)), len(ends) - unit, True)
    assert nearest is not None, "fill_splits asks for more pieces than it holds out"
    return hold_out(documents, len(ends) - nearest, by_line)


def hold_out(
    documents: Sequence[Document], count: int, by_line: bool
) -> tuple[list[Document], list[Document]]:
    """The documents without the last `count` lines (or, unless `by_line`, documents), and those."""
    kept: list[Document] = []
    held: list[Document] = []
    left = _units(documents, by_line) - count
    for document in documents:
        size = _units([document], by_line)
        if size <= left:
            kept.append(document)
        elif left == 0:
            held.append(document)
        else:
            kept.append(document.part(0, left))
            held.append(document.part(left, size))
        left = max(0, left - size)
    return kept, held


def leave_out_repeated(
    splits: dict[str, list[Document]],
) -> tuple[dict[str, list[Document]], tuple[str, ...]]:
    """The splits without the documents whose words are those of one in an earlier split, and lines that say
    how many they were.

    Raises:
      ValueError: nothing is left of a split.
    """
    seen: set[bytes] = set()
    kept: dict[str, list[Document]] = {}
    notes = []
    earlier = ""
    for split, documents in splits.items():
        words = [_words(document) for document in documents]
        kept[split] = [document for document, own in zip(documents, words, strict=True) if own not in seen]
        gone = len(documents) - len(kept[split])
        if gone == len(documents) > 0:
            raise ValueError(
                f"split {split!r} has {len(documents)} documents and all of them are in {earlier} too; at"
                " least 1 must be its own. Fix: give it other text, hold out more with"
                " --config.data.valid_fraction and test_fraction, or keep them with"
                " --config.data.repeated=keep"
            )
        if gone:
            notes.append(
                f"{gone} of {len(documents)} documents of {split} left out: they are in {earlier} too"
                " (data.repeated)"
            )
        seen.update(words)
        earlier = f"{earlier} or {split}" if earlier else split
    return kept, tuple(notes)


def _words(document: Document) -> bytes:
    """Sha256 of the words: texts that differ in white space only are one text."""
    return hashlib.sha256(" ".join(document.text.split()).encode()).digest()


def _cut(documents: Sequence[Document], unit: int, offset: int, reach: int) -> list[Document]:
    """The documents with piece number `unit` of all their pieces in two: at the space nearest to `offset`
    and at most `reach` from it, which goes, or at `offset`.
    """
    cut = []
    for document in documents:
        pieces = document.pieces
        if 0 <= unit < len(pieces):
            piece = pieces[unit]
            offset = min(max(offset, 1), len(piece) - 1)
            start = max(offset - reach, 0)
            spaces = [start + found.start() for found in _SPACE.finditer(piece[start : offset + reach])]
            first, last = len(piece) - len(piece.lstrip()), len(piece.rstrip())
            near = [at for at in spaces if first < at < last]  # both halves have words
            at = min(near, key=lambda place: abs(place - offset), default=offset)
            halves = (piece[:at], piece[at + 1 :] if near else piece[at:])
            document = replace(document, pieces=(*pieces[:unit], *halves, *pieces[unit + 1 :]))
        cut.append(document)
        unit -= len(pieces)
    return cut


def _fill_by_count(
    splits: dict[str, list[Document]], fractions: dict[str, float], source: Source
) -> dict[str, list[Document]]:
    """`fill_splits` by numbers of lines or documents, however long they are."""
    total = _units(splits["train"], source.by_line)
    counts = {split: max(1, round(fraction * total)) for split, fraction in fractions.items()}
    if sum(counts.values()) >= total:
        _refuse_short(total, sum(counts.values()), counts, source)
    filled = dict(splits)
    for split, count in counts.items():
        filled["train"], filled[split] = hold_out(filled["train"], count, source.by_line)
    return filled


def _refuse_short(units: int, needed: int, missing: Iterable[str], source: Source) -> NoReturn:
    unit = source.piece if source.by_line else "documents"
    named = " and ".join(f"--config.data.{source.settings[split]}" for split in missing)
    raise ValueError(
        f"{source.name} has {units} {unit}; holding out {' and '.join(missing)} needs more than"
        f" {needed}. Fix: give more text, or set {named}"
    )


def _lengths(documents: Sequence[Document], by_line: bool) -> list[int]:
    """Characters of every piece, its line end included, or of every document."""
    pieces = [[len(piece) + 1 for piece in document.pieces] for document in documents]
    return [size for sizes in pieces for size in sizes] if by_line else [sum(sizes) for sizes in pieces]


def _units(documents: Sequence[Document], by_line: bool) -> int:
    return sum(len(document.pieces) for document in documents) if by_line else len(documents)

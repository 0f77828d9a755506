"""What Python and notebooks show of an object: what it is, and a few numbers that people look for."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

MAX_LINES, MAX_WIDTH = 10, 110


@dataclass(frozen=True)
class Card:
    """The few lines.

    Attributes:
      title: what it is.
      facts: name and value of each.
      table: rows of texts under a header, its first row; at most five rows are shown, both ends among them.
    """

    title: str
    facts: Mapping[str, object]
    table: Sequence[Sequence[str]] = ()

    def lines(self) -> list[tuple[str, ...]]:
        """The facts, then what is shown of the table."""
        facts = [(name, str(value)) for name, value in self.facts.items()]
        room = MAX_LINES - 1 - len(facts)
        return [*facts, *(tuple(row) for row in _ends(self.table, room))][: MAX_LINES - 1]

    def text(self) -> str:
        """For the terminal: aligned, at most ten lines of 110 characters."""
        facts, rows = self.lines()[: len(self.facts)], self.lines()[len(self.facts) :]
        lines = [self.title, *_aligned(facts), *_aligned(rows, right=True)]
        return "\n".join(_cut(" ".join(line.split("\n"))) for line in lines)

    def page(self) -> str:
        """For a notebook: a table of HTML in which everything is escaped."""
        rows = [self.title, *self.lines()]
        cells = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_cut(cell))}</td>" for cell in row) + "</tr>"
            for row in rows[1:]
        )
        return f"<table><caption>{html.escape(_cut(self.title))}</caption>{cells}</table>"


class Shown:
    """An object with a `card`: `repr` and what notebooks show are made from it."""

    def card(self) -> Card:
        """The few lines that are shown of it."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.card().text()

    def _repr_html_(self) -> str:
        return self.card().page()


def span(values: Any, decimals: int = 2) -> str:
    """Mean, least and greatest of an array; its type and shape where it has no values, as inside jit."""
    if values is None or isinstance(values, jax.core.Tracer) or not hasattr(values, "shape"):
        return shape(values)
    array = np.asarray(values, np.float64)
    if not array.size:
        return "none"
    mean, least, most = (f"{found:.{decimals}f}" for found in (array.mean(), array.min(), array.max()))
    return f"{mean} on average, from {least} to {most}"


def shape(array: Any) -> str:
    """Type and shape of an array, as float32[2, 3]; `none` for None."""
    if array is None:
        return "none"
    if not hasattr(array, "shape"):
        return type(array).__name__
    return f"{array.dtype}[{', '.join(map(str, array.shape))}]"


def count(number: int, one: str, many: str = "") -> str:
    """`1 layer`, `1,234 layers`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _ends(rows: Sequence[Sequence[str]], room: int) -> Iterable[Sequence[str]]:
    """All rows, or the header and as many as fit, evenly spread, the first and the last among them."""
    if len(rows) <= room:
        return rows
    picked = np.unique(np.linspace(1, len(rows) - 1, max(min(room - 1, 5), 2)).round().astype(int))
    return [rows[0], *(rows[index] for index in picked)]


def _aligned(rows: Sequence[Sequence[str]], right: bool = False) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    for row in rows:
        padded = [
            cell.rjust(width) if right else cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        ]
        yield f"  {'  '.join(padded)}".rstrip()


def _cut(text: str) -> str:
    return text if len(text) <= MAX_WIDTH else f"{text[: MAX_WIDTH - 1]}…"

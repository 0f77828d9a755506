"""Tables from row dataclasses: CSV and JSON rows, aligned text for the terminal, Markdown.

What a column is called, its unit and how its numbers are written stands at the field (`aila_jax.columns`).
"""

import csv
import dataclasses
import io
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from aila_jax.columns import Column, chosen, columns_of, file_columns, row_values
from aila_jax.config.checks import shown
from aila_jax.files import write_atomically

Row = TypeVar("Row")


@dataclass(frozen=True)
class Table:
    """A table as text.

    Attributes:
      header: the headings.
      rows: a text for each heading.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, columns: Sequence[Column], rows: Iterable[Any]) -> "Table":
        """The columns of some rows, in their formats."""
        header = tuple(column.title for column in columns)
        return cls(header, tuple(tuple(column.text(row) for column in columns) for row in rows))

    def aligned(self, *, rule: bool = False, last_left: bool = False) -> list[str]:
        """Lines for the terminal: columns of equal width, set to the right.

        Args:
          rule: a line of dashes under the headings.
          last_left: the last column is as long as it is, for text of any length.
        """
        fixed = len(self.header) - last_left
        every = (self.header, *self.rows)
        widths = [max(len(row[column]) for row in every) for column in range(fixed)]
        lines = [
            "  ".join([*(text.rjust(width) for text, width in zip(row, widths, strict=False)), *row[fixed:]])
            for row in every
        ]
        return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]] if rule else lines

    def markdown(self, under: str = "---") -> str:
        """The table in Markdown; `under` stands under each heading: `---:` sets columns to the right."""
        lines = (self.header, [under] * len(self.header), *self.rows)
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def table(cls: type, names: Sequence[str], rows: Iterable[Any]) -> Table:
    """The fields `names` of rows of the class `cls`."""
    return Table.of(chosen(cls, names), rows)


def markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table of texts in Markdown."""
    return Table(tuple(header), tuple(tuple(line) for line in lines)).markdown()


def names_of(cls: type) -> list[str]:
    """The names of the columns that every file of such rows has."""
    return [column.name for column in file_columns(cls, ())]


def csv_text(cls: type[Row], rows: Iterable[Row]) -> str:
    """Rows under a header of the column names. None is an empty cell, a tuple its values with a space between
    them; floats are in the shortest form that reads back exactly.
    """
    rows = tuple(rows)
    return values_csv([column.name for column in file_columns(cls, rows)], map(row_values, rows))


def values_csv(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """The same for rows that are name → value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        values = (row[name] for name in names)
        writer.writerow(" ".join(map(str, one)) if isinstance(one, tuple) else one for one in values)
    return text.getvalue()


def read_csv(cls: type[Row], text: str) -> tuple[Row, ...]:
    """The rows of a text that `csv_text` made: numbers come back bit for bit.

    Raises:
      ValueError: a column is missing or unknown, or a value is not of its type.
    """
    kinds, fields = field_types(cls), {column.name: column.field for column in columns_of(cls)}
    rows = []
    for index, line in enumerate(csv.DictReader(io.StringIO(text)), start=1):
        place = f"row {index}"
        _check_names(cls, line, fields, place)
        values = {
            name: _parsed(value, kinds[fields[name]], f"{place}.{name}") for name, value in line.items()
        }
        rows.append(row_from(cls, values, place))
    return tuple(rows)


def json_rows(rows: Iterable[Any]) -> list[dict[str, Any]]:
    """Rows of one class as JSON has them."""
    rows = tuple(rows)
    columns = file_columns(type(rows[0]), rows) if rows else ()
    return [{column.name: column.value(row) for column in columns} for row in rows]


def row_from(cls: type[Row], values: Any, place: str) -> Row:
    """A row from name → value.

    A field with a default may be missing: it came after files that are to stay readable. An int is taken for
    a float; nothing else is converted.

    Raises:
      ValueError: a field is missing, unknown, of another type or not finite; the message names the place.
    """
    kinds = field_types(cls)
    fields = {column.name: column.field for column in columns_of(cls)}
    _check_names(cls, values, fields, place)
    return cls(
        **{
            fields[name]: _value(value, kinds[fields[name]], f"{place}.{name}")
            for name, value in values.items()
        }
    )


def rows_from(cls: type[Row], rows: Iterable[Any], place: str) -> tuple[Row, ...]:
    """Rows from JSON objects, as `row_from`; each is named by its number."""
    return tuple(row_from(cls, values, f"{place}[{index}]") for index, values in enumerate(rows))


@dataclass(frozen=True)
class FieldType:
    """What a field holds.

    Attributes:
      kind: the type.
      optional: it may be None.
      item: what its items are, where it is a tuple.
    """

    kind: type
    optional: bool = False
    item: "FieldType | None" = None


_FIELD_TYPES: dict[type, dict[str, FieldType]] = {}


def field_types(cls: type) -> dict[str, FieldType]:
    """What each field of a row holds."""
    if cls not in _FIELD_TYPES:
        hints = typing.get_type_hints(cls)
        _FIELD_TYPES[cls] = {name: _field_type(hint) for name, hint in hints.items()}
    return _FIELD_TYPES[cls]


def _field_type(hint: Any) -> FieldType:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kind = next(option for option in options if option is not type(None))
    item = _field_type(typing.get_args(kind)[0]) if typing.get_origin(kind) is tuple else None
    return FieldType(tuple if item else kind, type(None) in options, item)


def _check_names(cls: type, values: Any, fields: Mapping[str, str], place: str) -> None:
    """Raises ValueError unless a row has the columns of its class, but for those that came later."""
    later = {field.name for field in dataclasses.fields(cls) if field.default is not dataclasses.MISSING}
    needed = {name for name, field in fields.items() if field not in later}
    if not isinstance(values, dict) or not needed <= set(values) <= set(fields):
        wrong = (
            sorted((needed - set(values)) | (set(values) - set(fields)), key=str)
            if isinstance(values, dict)
            else values
        )
        raise ValueError(
            f"{place} differs in {shown(wrong)}; a {cls.__name__} must have exactly the fields {', '.join(fields)}."
            " Fix: measure again."
        )


def _value(value: Any, wanted: FieldType, place: str) -> Any:
    """The value, checked."""
    if value is None and wanted.optional:
        return None
    if wanted.item and isinstance(value, (list, tuple)):
        return tuple(_value(one, wanted.item, f"{place}[{index}]") for index, one in enumerate(value))
    if wanted.kind is float and type(value) is int and abs(value) < 2**1000:
        value = float(value)
    if type(value) is not wanted.kind:
        raise ValueError(
            f"{place} is {shown(value)}; it must be a {wanted.kind.__name__}"
            f"{' or None' if wanted.optional else ''}. Fix: measure again, or correct the value."
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(
            f"{place} is {value!r}; it must be finite. Fix: look for a diverged run or an empty split; such a"
            " row is not recorded."
        )
    return value


def _parsed(text: str, wanted: FieldType, place: str) -> Any:
    """A value of a CSV file; raises ValueError where the text is none of its type."""
    if wanted.item:
        return tuple(_parsed(part, wanted.item, place) for part in text.split())
    if wanted.optional and text in ("", str(None)):  # an empty cell; None among the values of a tuple
        return None
    try:
        return _PARSERS[wanted.kind](text)
    except (KeyError, ValueError):
        raise ValueError(
            f"{place} is {text!r}; it must be a {wanted.kind.__name__}. Fix: give a file that was written by"
            " this package, unchanged."
        ) from None


_PARSERS: dict[type, Any] = {
    str: str,
    int: int,
    float: float,
    bool: {"True": True, "False": False}.__getitem__,
}


def json_text(document: Any, indent: int | None = 1) -> str:
    """Strict JSON with a line end; raises ValueError at a number that is not finite."""
    return json.dumps(document, allow_nan=False, ensure_ascii=False, indent=indent) + "\n"


def write_files(directory: str | Path, contents: Mapping[str, str]) -> list[Path]:
    """Writes each text under its name, in this order, each file whole; returns the paths.

    The file that says that all is there comes last.
    """
    paths = [Path(directory) / name for name in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        write_atomically(path, content.encode("utf-8"))
    return paths

"""What a table must know of a row's fields, stated once, beside each field.

A row is a dataclass; what is said of a field stands in its annotation:

    entropy_bits: Annotated[float, Column("entropy (bits)", fixed, help="mean attention entropy")]

Files, terminal tables, Markdown, the HTML report and data frames are all made from it.
"""

import dataclasses
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aila_jax.formats import MISSING, Format

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Column:
    """One column of a table of rows.

    Attributes:
      title: its heading; the field's name by default.
      format: the text of a value that is there.
      unit: of the numbers in files, such as nats.
      help: what it means, in a line.
      page_title: heading in the HTML report, where it is another.
      page_format: text in the HTML report, where there is room for more digits.
      missing: the text of None.
      name: in files; the field's name by default.
      after: the field that it stands behind, where that is not the field before it. A row that adds columns
        in the middle of those it inherits says so with this.
      optional: files and data frames leave it out where no row has a value.
      field: the field's name; filled in by `columns_of`.
    """

    title: str = ""
    format: Format = str
    unit: str = ""
    help: str = ""
    page_title: str = ""
    page_format: Format | None = None
    missing: str = MISSING
    name: str = ""
    after: str = ""
    optional: bool = False
    field: str = ""

    def value(self, row: Any) -> Any:
        """The row's value, exact."""
        return getattr(row, self.field)

    def text(self, row: Any) -> str:
        """The row's value as people read it."""
        value = self.value(row)
        return self.missing if value is None else self.format(value)

    def page_text(self, row: Any) -> str:
        """The same for the HTML report."""
        value = self.value(row)
        return self.missing if value is None else (self.page_format or self.format)(value)


def columns_of(cls: type) -> tuple[Column, ...]:
    """The columns of a row class, in the order in which files have them."""
    if cls not in _COLUMNS:
        _COLUMNS[cls] = _read_columns(cls)
    return _COLUMNS[cls]


_COLUMNS: dict[type, tuple[Column, ...]] = {}


def _read_columns(cls: type) -> tuple[Column, ...]:
    hints = typing.get_type_hints(cls, include_extras=True)
    ordered: list[Column] = []
    place = 0
    for field in dataclasses.fields(cls):
        stated = [one for one in getattr(hints[field.name], "__metadata__", ()) if isinstance(one, Column)]
        column = stated[0] if stated else Column()
        if column.after:
            place = 1 + [one.field for one in ordered].index(column.after)
        made = dataclasses.replace(
            column,
            field=field.name,
            name=column.name or field.name,
            title=column.title or field.name,
            page_title=column.page_title or column.title or field.name,
        )
        ordered.insert(place, made)
        place += 1
    return tuple(ordered)


def chosen(cls: type, names: Sequence[str], rows: Iterable[Any] = ()) -> tuple[Column, ...]:
    """The columns of these fields, in this order; with `rows`, only those that at least one row has."""
    every, rows = {column.field: column for column in columns_of(cls)}, tuple(rows)
    found = (every[name] for name in names)
    return tuple(c for c in found if not rows or any(c.value(row) is not None for row in rows))


def file_columns(cls: type, rows: Iterable[Any]) -> tuple[Column, ...]:
    """The columns that a file of these rows has: all but the optional ones that no row has."""
    rows = tuple(rows)
    return tuple(
        c for c in columns_of(cls) if not c.optional or any(c.value(row) is not None for row in rows)
    )


def row_values(row: Any) -> dict[str, Any]:
    """The row as name → value, in the order of its columns."""
    return {column.name: column.value(row) for column in columns_of(type(row))}


def to_pandas(cls: type, rows: Sequence[Any]) -> "DataFrame":
    """A data frame with a line for each row; `attrs` holds the columns' units and help.

    Raises:
      ModuleNotFoundError: pandas is not installed.
    """
    columns = file_columns(cls, rows)
    made = frame({column.name: [column.value(row) for row in rows] for column in columns})
    made.attrs["units"] = {column.name: column.unit for column in columns if column.unit}
    made.attrs["help"] = {column.name: column.help for column in columns if column.help}
    return made


def frame(values: Mapping[str, Any]) -> "DataFrame":
    """A data frame of these columns; ModuleNotFoundError where pandas is not installed."""
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "pandas is not installed; to_pandas() needs it. Fix: pip install 'aila_jax[pandas]', or read the"
            " CSV files with anything else",
            name=error.name,
        ) from error
    return pandas.DataFrame(dict(values))

"""A class for every token type, with the classes' names: what the partition `Classes` looks up."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from aila_jax.cards import Card, Shown


@dataclass(frozen=True, eq=False, repr=False)
class ClassTable(Shown):
    """The class of each of V token types.

    Attributes:
      names: of the G classes, all different and none empty; at least 2. Some may hold no type.
      table: class of each type, from 0 to G − 1; at least 2 of them are in use.
      note: a line for people on where the table comes from and how far to trust it.
    Raises:
      ValueError: whatever does not hold of the above, with value, limit and fix.
    """

    names: tuple[str, ...]
    table: Int[np.ndarray, " V"]
    note: str = ""

    def __post_init__(self) -> None:
        _check_names(self.names)
        table = np.asarray(self.table)
        if table.ndim != 1 or not len(table) or not np.issubdtype(table.dtype, np.integer):
            raise ValueError(
                f"the class table is {table.dtype}{list(table.shape)}; it must be whole numbers [V], one"
                " class for each of at least 1 type. Fix: np.asarray(…, np.int32) of one dimension"
            )
        wrong = np.flatnonzero((table < 0) | (table >= len(self.names)))
        if len(wrong):
            raise ValueError(
                f"the class of type {wrong[0]} is {table[wrong[0]]}; it must be from 0 to"
                f" {len(self.names) - 1}, since there are {len(self.names)} classes. Fix: name every class,"
                " and give every type one of them"
            )
        if (table == table[0]).all():
            raise ValueError(
                f"all {len(table)} types are of class {self.names[table[0]]!r}; at least 2 classes must hold"
                " a type, or every token is in one block. Fix: give some types another class"
            )
        table = table.astype(np.int32)  # a copy, so that the caller's array may change
        table.flags.writeable = False
        object.__setattr__(self, "table", table)

    @property
    def vocab_size(self) -> int:
        """V, the number of token types."""
        return len(self.table)

    @property
    def n_classes(self) -> int:
        """G, the number of names; some classes may hold no type."""
        return len(self.names)

    def card(self) -> Card:
        facts = {"names": ", ".join(self.names), "note": self.note or "none"}
        return Card(f"ClassTable: {self.n_classes} classes of {self.vocab_size:,} types", facts)


def _check_names(names: tuple[str, ...]) -> None:
    if len(names) < 2:
        raise ValueError(
            f"the class table has {len(names)} classes ({', '.join(map(repr, names))}); it must have at least"
            " 2, or every token is in one block. Fix: give some types another class"
        )
    for number, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise ValueError(
                f"class {number} is named {name!r}; it must be text that is not blank. Fix: name it"
            )
        if name in names[:number]:
            raise ValueError(
                f"classes {names.index(name)} and {number} are both named {name!r}; names must differ. Fix:"
                " make one class of the two, or rename one"
            )

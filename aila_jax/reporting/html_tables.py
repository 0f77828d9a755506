"""The report's tables of cells and heads, as text and as the exact value that sorting uses; a run's facts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aila_jax.columns import chosen
from aila_jax.evaluation.rows import CellRow, HeadRow, SweepResult

Fact = tuple[str, str]  # name and text


@dataclass(frozen=True)
class PageColumn:
    """A column of a table on the page.

    Attributes:
      title: its heading.
      hint: what it means, for a tooltip.
      texts: what is shown, row by row.
      values: the same, exact; empty where there is none.
    """

    title: str
    hint: str
    texts: tuple[str, ...]
    values: tuple[str, ...]


_DIAL = ("lam", "tau")
_CELL = (
    "perplexity_token",
    "perplexity_word",
    "perplexity_byte",
    "loss",
    "accuracy",
    "accuracy_determined",
    "pointers",
)
_HEAD = ("layer", "head")
_ATTENTION = (
    "entropy_bits",
    "entropy_fraction",
    "block_mass",
    "block_mass_uniform",
    "block_mass_lift",
    "block_mass_local",
    "block_mass_local_uniform",
    "pointer_mass",
    "pointer_mass_uniform",
    "sink_mass",
    "sink_mass_uniform",
    "n_in",
    "guaranteed_block_mass",
    "guaranteed_entropy_bits",
    "delta_imposed",
    "delta_measured",
    "delta_share",
    "pointer_fidelity",
    "pointer_uniform",
    "pointer_lift",
    "pointer_block_ratio",
    "pointer_key_share",
)


def cell_columns(cells: Sequence[CellRow]) -> list[PageColumn]:
    """The table of all cells."""
    return page_columns(CellRow, _DIAL + _CELL + _ATTENTION, cells)


def head_columns(heads: Sequence[HeadRow]) -> list[PageColumn]:
    """The table of heads."""
    return page_columns(HeadRow, _DIAL + _HEAD + _ATTENTION, heads)


def page_columns(cls: type, names: Sequence[str], rows: Sequence[Any]) -> list[PageColumn]:
    """A column for each quantity that at least one row has."""
    return [
        PageColumn(
            column.page_title,
            column.help,
            tuple(column.page_text(row) for row in rows),
            tuple("" if (value := column.value(row)) is None else repr(value) for row in rows),
        )
        for column in chosen(cls, names, rows)
    ]


def run_facts(result: SweepResult) -> list[Fact]:
    """What the rows say of the run."""
    cell = result.cells[0]
    return [
        ("run", cell.run),
        ("seed", str(cell.seed)),
        ("commit that trained it", cell.commit),
        ("split scored", cell.split),
        ("targets scored", f"{cell.targets:,}"),
        ("grid", f"{len({row.lam for row in result.cells})} λ × {len({row.tau for row in result.cells})} τ"),
        ("hard blocks", "yes" if cell.hard else "no"),
    ]


def sweep_facts(result: SweepResult) -> list[Fact]:
    """Everything in `meta` but the baselines, which have a table of their own."""
    return flatten(replace(result.meta, baselines=None).to_json())


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[Fact]:
    """Nested dicts as (dotted name, text) pairs in their order; lists on one line."""
    facts = []
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            facts += flatten(value, f"{prefix}{name}.")
        else:
            facts.append((f"{prefix}{name}", _text(value)))
    return facts


def _text(value: Any) -> str:
    """A value as a reader wants it."""
    if value is None or value in ("", {}, [], ()):
        return "–"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        between = "; " if any(isinstance(item, Mapping) for item in value) else ", "
        return between.join(_text(item) for item in value)
    return str(value)

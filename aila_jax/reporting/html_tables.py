"""The report's tables of cells and heads: what is shown, and the exact value that sorting uses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aila_jax.evaluation.rows import CellRow, HeadRow, SweepResult
from aila_jax.reporting import formats


@dataclass(frozen=True)
class Column:
    """A column of a table.

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


def _four(value: float | None) -> str:
    return formats.fixed(value, 4)


def _least(value: float | None) -> str:
    return formats.at_least(value, 4)


def _most(value: float | None) -> str:
    return formats.at_most(value, 4)


def _short(value: float) -> str:
    return f"{value:g}"


_Spec = tuple[str, str, str, Callable[[Any], str]]
_DIAL: tuple[_Spec, ...] = (("lam", "λ", "locality", _short), ("tau", "τ", "temperature", _short))
_ATTENTION: tuple[_Spec, ...] = (
    ("entropy_bits", "entropy (bits)", "mean attention entropy", _four),
    ("entropy_fraction", "entropy share", "entropy as a share of its largest possible value", _four),
    ("block_mass", "block mass", "attention inside the query's block, global keys included", _four),
    ("block_mass_uniform", "uniform mass", "block mass of uniform attention", _four),
    ("block_mass_lift", "lift", "block mass over that of uniform attention", formats.lift),
    ("block_mass_local", "local mass", "block mass without the mass on global keys", _four),
    (
        "guaranteed_block_mass",
        "guaranteed mass",
        "block mass that the margin guarantees, whatever the scores; empty where that is nothing",
        _least,
    ),
    ("guaranteed_entropy_bits", "guaranteed entropy (bits)", "largest entropy that the margin allows", _most),
    (
        "delta_imposed",
        "δ imposed",
        "margin λm that the dial imposes, in nats, mean over layers and heads",
        _four,
    ),
    (
        "delta_measured",
        "δ measured",
        "lowest score inside the block minus highest outside, in nats, mean over queries",
        _four,
    ),
    ("delta_share", "δ > 0", "share of queries where the measured margin is positive", formats.percent),
    (
        "pointer_fidelity",
        "pointer fidelity",
        "attention on what the query is pointed at: its block's anchors, or the known answer",
        _four,
    ),
    ("pointer_uniform", "uniform fidelity", "pointer fidelity of uniform attention", _four),
    ("pointer_lift", "pointer lift", "pointer fidelity over that of uniform attention", formats.lift),
    (
        "pointer_block_ratio",
        "fidelity / block mass",
        "share of the attention inside the block that is on what is pointed at there",
        _four,
    ),
    ("pointer_key_share", "key share", "share of the keys inside the block that are pointed at", _four),
)
_CELL: tuple[_Spec, ...] = (
    ("perplexity_token", "perplexity / token", "exp of the summed loss per token", formats.perplexity),
    (
        "perplexity_word",
        "perplexity / word",
        "exp of the summed loss per word, line ends counted",
        formats.perplexity,
    ),
    ("perplexity_byte", "perplexity / byte", "exp of the summed loss per byte", formats.perplexity),
    ("loss", "loss (nats)", "mean cross-entropy per token", _four),
    ("accuracy", "accuracy", "share of targets ranked first", formats.percent),
    (
        "accuracy_determined",
        "accuracy, determined",
        "share of the targets that the rule determines ranked first",
        formats.percent,
    ),
    ("pointers", "pointers", "what pointer fidelity is measured on", str),
)
_HEAD: tuple[_Spec, ...] = (
    ("layer", "layer", "counted from 0", str),
    ("head", "head", "counted from 0", str),
)


def cell_columns(cells: Sequence[CellRow]) -> list[Column]:
    """The table of all cells."""
    return _columns(cells, _DIAL + _CELL + _ATTENTION)


def head_columns(heads: Sequence[HeadRow]) -> list[Column]:
    """The table of heads."""
    return _columns(heads, _DIAL + _HEAD + _ATTENTION)


def _columns(rows: Sequence[CellRow] | Sequence[HeadRow], specs: Sequence[_Spec]) -> list[Column]:
    """A column for each quantity that at least one row has."""
    columns = []
    for field, title, hint, show in specs:
        values = [getattr(row, field) for row in rows]
        if any(value is not None for value in values):
            texts = tuple("–" if value is None else show(value) for value in values)
            columns.append(
                Column(title, hint, texts, tuple("" if value is None else repr(value) for value in values))
            )
    return columns


Fact = tuple[str, str]


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
    return flatten({name: value for name, value in result.meta.items() if name != "baselines"})


def flatten(values: dict[str, Any], prefix: str = "") -> list[Fact]:
    """Nested dicts as (dotted name, text) pairs in their order; lists on one line."""
    facts = []
    for name, value in values.items():
        if isinstance(value, dict) and value:
            facts += flatten(value, f"{prefix}{name}.")
        else:
            facts.append((f"{prefix}{name}", _text(value)))
    return facts


def _text(value: Any) -> str:
    """A value as a reader wants it."""
    if value is None or value in ("", {}, [], ()):
        return "–"
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(item) for item in value)
    return str(value)

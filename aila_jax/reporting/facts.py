"""The facts of a run for the report, as flat lists of names and values."""

from typing import Any

from aila_jax.evaluation.rows import SweepResult

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

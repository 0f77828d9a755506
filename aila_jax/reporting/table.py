"""The dial at one τ as a table for the terminal or for Markdown."""

from collections.abc import Sequence

from aila_jax.columns import chosen
from aila_jax.evaluation.rows import CellRow, SweepResult
from aila_jax.formats import UNITS
from aila_jax.reporting.grid import cells_at, sees_targets
from aila_jax.reporting.tables import Table

_ALWAYS = ("accuracy", "entropy_bits", "block_mass", "block_mass_lift")
# Columns that only stand where there is something in them: a guarantee, or pointer fidelity.
_OPTIONAL = (
    "guaranteed_block_mass",
    "guaranteed_entropy_bits",
    "pointer_fidelity",
    "pointer_lift",
    "pointer_block_ratio",
    "pointer_key_share",
    "accuracy_determined",
)
_KINDS = (
    "block_mass_local",
    "pointer_mass",
    "sink_mass",
    "n_in",
)  # what block mass is made of, with a relation

LEAKY_LINE = (
    "NOT CAUSAL: this model sees the targets it is scored on. Its perplexity and accuracy are not a language"
    " model's."
)
UNKNOWN_LINE = "UNKNOWN WHETHER CAUSAL: the sweep's file does not say how the model was built."


def dial_table(result: SweepResult, tau: float = 1.0) -> str:
    """The cells at `tau` as aligned plain text, λ ascending, with a heading line; no newline at the end.

    Columns: λ, perplexity per token (and per word and byte where recorded), accuracy, attention entropy in
    bits, block mass, and its lift over uniform attention; with a relation what block mass is made of, and
    keys inside; then pointer fidelity, where it was measured.

    Raises:
      ValueError: no cell has this τ.
    """
    cells = cells_at(result, tau)
    return "\n".join([*_heading(result, cells), *_table(cells).aligned(rule=True)])


def markdown_table(result: SweepResult, tau: float = 1.0) -> str:
    """The table of `dial_table` in Markdown."""
    cells = cells_at(result, tau)
    lines = _table(cells).markdown("---:").removesuffix("\n")
    return "\n".join([*(f"{line}\n" for line in _heading(result, cells)), lines])


def _heading(result: SweepResult, cells: Sequence[CellRow]) -> list[str]:
    """What the table shows, and the warning for a model that sees its targets, or may see them."""
    first = cells[0]
    heading = f"{first.run}, seed {first.seed}: {first.split}, {first.targets:,} targets, τ = {first.tau:g}"
    if not result.recorded:
        return [heading, UNKNOWN_LINE]
    return [heading, LEAKY_LINE] if sees_targets(result) else [heading]


def _table(cells: Sequence[CellRow]) -> Table:
    """The columns that are shown."""
    perplexities = [f"perplexity_{unit}" for unit in UNITS]
    columns = (
        *chosen(CellRow, ["lam"]),
        *chosen(CellRow, perplexities, cells),
        *chosen(CellRow, _ALWAYS),
        *(chosen(CellRow, _KINDS, cells) if any(cell.n_in is not None for cell in cells) else ()),
        *chosen(CellRow, _OPTIONAL, cells),
    )
    return Table.of(columns, cells)

"""The dial at one τ as a table for the terminal or for Markdown."""

from collections.abc import Sequence

from aila_jax.evaluation.rows import CellRow, SweepResult
from aila_jax.reporting import formats
from aila_jax.reporting.grid import cells_at, sees_targets

LEAKY_LINE = (
    "NOT CAUSAL: this model sees the targets it is scored on. Its perplexity and accuracy are not a language"
    " model's."
)


# Columns that only stand where there is something in them: a guarantee, or pointer fidelity.
_OPTIONAL = (
    ("guaranteed_block_mass", "guaranteed mass", formats.at_least),
    ("guaranteed_entropy_bits", "guaranteed bits", formats.at_most),
    ("pointer_fidelity", "fidelity", formats.fixed),
    ("pointer_lift", "fidelity lift", formats.lift),
    ("pointer_block_ratio", "÷ block mass", formats.fixed),
    ("pointer_key_share", "key share", formats.fixed),
    ("accuracy_determined", "accuracy, determined", formats.percent),
)


def dial_table(result: SweepResult, tau: float = 1.0) -> str:
    """The cells at `tau` as aligned plain text, λ ascending, with a heading line; no newline at the end.

    Columns: λ, perplexity per token (and per word and byte where recorded), accuracy, attention entropy in
    bits, block mass, and its lift over uniform attention; then pointer fidelity, where it was measured.

    Raises:
      ValueError: no cell has this τ.
    """
    cells = cells_at(result, tau)
    header, *rows = _rows(cells)
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = [
        "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True))
        for row in (header, *rows)
    ]
    return "\n".join(
        [*_heading(result, cells), lines[0], "  ".join("-" * width for width in widths), *lines[1:]]
    )


def markdown_table(result: SweepResult, tau: float = 1.0) -> str:
    """The table of `dial_table` in Markdown."""
    cells = cells_at(result, tau)
    header, *rows = _rows(cells)
    lines = [f"| {' | '.join(row)} |" for row in (header, ["---:"] * len(header), *rows)]
    return "\n".join([*(f"{line}\n" for line in _heading(result, cells)), *lines])


def _heading(result: SweepResult, cells: Sequence[CellRow]) -> list[str]:
    """What the table shows, and the warning for a model that sees its targets."""
    first = cells[0]
    heading = f"{first.run}, seed {first.seed}: {first.split}, {first.targets:,} targets, τ = {first.tau:g}"
    return [heading, LEAKY_LINE] if sees_targets(result) else [heading]


def _rows(cells: Sequence[CellRow]) -> list[list[str]]:
    """The header and a row of text for each cell."""
    units = [
        unit
        for unit in formats.UNITS
        if any(getattr(cell, f"perplexity_{unit}") is not None for cell in cells)
    ]
    header = [
        "λ",
        *(f"perplexity/{unit}" for unit in units),
        "accuracy",
        "entropy (bits)",
        "block mass",
        "lift",
    ]
    optional = [
        (field, title, show)
        for field, title, show in _OPTIONAL
        if any(getattr(cell, field) is not None for cell in cells)
    ]
    header += [title for _, title, _ in optional]
    rows = [
        [
            f"{cell.lam:g}",
            *(formats.perplexity(getattr(cell, f"perplexity_{unit}")) for unit in units),
            formats.percent(cell.accuracy),
            formats.fixed(cell.entropy_bits),
            formats.fixed(cell.block_mass),
            formats.lift(cell.block_mass_lift),
            *(
                "–" if getattr(cell, field) is None else show(getattr(cell, field))
                for field, _, show in optional
            ),
        ]
        for cell in cells
    ]
    return [header, *rows]

"""Reading a sweep as a grid: the cells of each τ in order of λ."""

import math

from aila_jax.evaluation.rows import CellRow, HeadRow, SweepResult
from aila_jax.formats import LEAKY, UNKNOWN_MASK


def by_tau(result: SweepResult) -> dict[float, tuple[CellRow, ...]]:
    """The cells of each τ, τ and λ ascending.

    Raises:
      ValueError: there is no cell, or two have the same λ and τ.
    """
    if not result.cells:
        raise ValueError(
            "the sweep has 0 cells; it must have at least 1. Fix: sweep over at least one λ and one τ."
        )
    grid: dict[float, dict[float, CellRow]] = {tau: {} for tau in sorted({cell.tau for cell in result.cells})}
    for cell in result.cells:
        if cell.lam in grid[cell.tau]:
            raise ValueError(
                f"the sweep has two cells at λ = {cell.lam:g}, τ = {cell.tau:g}; it must have one. Fix:"
                " report each run on its own."
            )
        grid[cell.tau][cell.lam] = cell
    return {tau: tuple(cells[lam] for lam in sorted(cells)) for tau, cells in grid.items()}


def nearest_tau(result: SweepResult, tau: float = 1.0) -> float:
    """The τ of the grid nearest to `tau` as a ratio; the larger of two equally near."""
    return min(sorted(by_tau(result), reverse=True), key=lambda other: abs(math.log(other / tau)))


def cells_at(result: SweepResult, tau: float) -> tuple[CellRow, ...]:
    """The cells at exactly `tau` (up to rounding), λ ascending; raises ValueError naming the τ there are."""
    grid = by_tau(result)
    for other, cells in grid.items():
        if math.isclose(other, tau):
            return cells
    known = ", ".join(f"{other:g}" for other in grid)
    raise ValueError(
        f"tau is {tau!r}; it must be one of the sweep's: {known}. Fix: pass tau={nearest_tau(result, tau):g},"
        " or sweep with this τ."
    )


def heads_at(result: SweepResult, tau: float) -> dict[float, tuple[HeadRow, ...]]:
    """The head rows at `tau` for each λ, λ ascending, in order of layer and head; raises ValueError where
    there is none.
    """
    rows = sorted(
        (row for row in result.heads if math.isclose(row.tau, tau)),
        key=lambda row: (row.lam, row.layer, row.head),
    )
    if not rows:
        raise ValueError(
            f"the sweep has 0 head rows at τ = {tau:g}; it must have some. Fix: sweep with head statistics."
        )
    return {lam: tuple(row for row in rows if row.lam == lam) for lam in sorted({row.lam for row in rows})}


def sees_targets(result: SweepResult) -> bool:
    """Whether the model is known to have no causal mask and so to see what it is scored on."""
    return result.recorded and result.config.model.bidirectional


def mask_note(result: SweepResult) -> str:
    """What is to be said of the model's mask wherever its numbers are drawn; empty where it is causal."""
    if not result.recorded:
        return UNKNOWN_MASK
    return LEAKY if sees_targets(result) else ""


def spread(count: int, most: int) -> list[int]:
    """At most `most` (2 or more) of the indices 0 … count − 1, evenly spread, both ends included."""
    if count <= most:
        return list(range(count))
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]

"""What a sweep shows, in sentences whose every figure is computed from its rows."""

from collections.abc import Sequence
from itertools import pairwise

from aila_jax.evaluation.rows import CellRow, SweepResult
from aila_jax.formats import change, fixed, percent, perplexity, times
from aila_jax.reporting.grid import by_tau, mask_note, nearest_tau


def sentences(result: SweepResult) -> list[str]:
    """Plain sentences about the dial at τ = 1 (or the nearest), from the lowest λ measured to the highest."""
    tau = nearest_tau(result)
    cells = by_tau(result)[tau]
    first, last = cells[0], cells[-1]
    if len(cells) == 1:
        return [_single(first)]
    said = [
        (
            f"From λ = {first.lam:g} to λ = {last.lam:g} at τ = {tau:g}, perplexity per token goes from "
            f"{perplexity(first.perplexity_token)} to {perplexity(last.perplexity_token)} "
            f"({change(first.perplexity_token, last.perplexity_token)}) and accuracy from "
            f"{percent(first.accuracy)} to {percent(last.accuracy)}."
        ),
        f"Attention entropy goes from {fixed(first.entropy_bits, 2)} to {fixed(last.entropy_bits, 2)} bits.",
        _inside(first, last),
        _best(cells),
    ]
    return said + _steepest(cells) + _baselines(result, cells)


def _inside(first: CellRow, last: CellRow) -> str:
    """Block mass; and what of it is on the own block, pointers and sink, where it is on more than the block:
    a pretrained model has most of it on its sink.
    """
    others = {
        name: (before, after)
        for name, before, after in (
            ("pointers", first.pointer_mass, last.pointer_mass),
            ("sink", first.sink_mass, last.sink_mass),
        )
        if before is not None and after is not None
    }
    among = "inside the query's own block"
    if others:
        among = f"on the query's own block{',' if len(others) > 1 else ' and'} {' and '.join(others)}"
    said = (
        f"Block mass, the share of attention {among}, goes from"
        f" {percent(first.block_mass)} to {percent(last.block_mass)}: {times(first.block_mass_lift)} and"
        f" {times(last.block_mass_lift)} that of uniform attention."
    )
    if not others:
        return said
    parts = {"own block": (first.block_mass_local, last.block_mass_local), **others}
    told = (f"{name} {percent(before)} to {percent(after)}" for name, (before, after) in parts.items())
    return f"{said} Of all attention: {', '.join(told)}."


def _single(cell: CellRow) -> str:
    """The one cell there is."""
    return (
        f"At λ = {cell.lam:g}, τ = {cell.tau:g}, perplexity per token is {perplexity(cell.perplexity_token)},"
        f" accuracy {percent(cell.accuracy)}, attention entropy {fixed(cell.entropy_bits, 2)} bits and block"
        f" mass {percent(cell.block_mass)}, {times(cell.block_mass_lift)} that of uniform attention."
    )


def _best(cells: Sequence[CellRow]) -> str:
    """The λ of the lowest perplexity."""
    best = min(cells, key=lambda cell: cell.perplexity_token)
    return (
        f"The lowest perplexity of the λ measured is {perplexity(best.perplexity_token)} per token, at λ ="
        f" {best.lam:g}."
    )


def _steepest(cells: Sequence[CellRow]) -> list[str]:
    """How much of the whole fall in entropy the steepest step carries: a graded dial has no step that carries
    most of it.
    """
    fall = cells[0].entropy_bits - cells[-1].entropy_bits
    if len(cells) < 3 or fall <= 0.0:
        return []
    before, after = max(pairwise(cells), key=lambda pair: pair[0].entropy_bits - pair[1].entropy_bits)
    share = (before.entropy_bits - after.entropy_bits) / fall
    return [
        f"The steepest step, from λ = {before.lam:g} to {after.lam:g}, carries {percent(share)} of the fall"
        " in entropy."
    ]


def _baselines(result: SweepResult, cells: Sequence[CellRow]) -> list[str]:
    """How the best cell compares with each baseline; nothing for a model that sees its targets, or may see
    them, which no baseline does.
    """
    best = min(cells, key=lambda cell: cell.perplexity_token)
    known = baselines(result)
    if not known or mask_note(result):
        return []
    named = ", ".join(f"{perplexity(value)} for the {name} model" for name, value in known.items())
    model = f"{perplexity(best.perplexity_token)} at this model's best λ, over {best.targets:,} targets"
    return [f"For scale, perplexity per token on the {best.split} split is {named}, and {model}."]


def baselines(result: SweepResult) -> dict[str, float]:
    """Token perplexity of each baseline that `meta` has."""
    return {name: one.perplexity_token for name, one in (result.meta.baselines or {}).items()}

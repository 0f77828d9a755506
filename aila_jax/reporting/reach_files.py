"""Reach on the terminal, as CSV (a row for each prediction) and as JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aila_jax.cards import count
from aila_jax.columns import columns_of
from aila_jax.inference.reach import Reach, ReachRow, ReachSummary
from aila_jax.reporting.tables import Table, csv_text, json_rows, json_text, write_files

FORMAT = "aila_jax reach, version 1"
CLAIM = "No other token can have influenced these predictions, whatever it is"
FUSED = (
    "The last layer is global, so every prediction can have read all that came before. It sums over states that"
    " hold no more than their reach below it:"
)
NOT_MASS = (
    "It says what can have influenced a prediction, not how much; a bound on attention mass says neither."
)


def describe_reach(found: Reach, name: str) -> str:
    """The claim with its condition, and how large reach is."""
    lines = [*_claim(name, found), *summary_lines(found.summary)]
    if found.generated.any():
        lines.append(f"the whole answer: {count(len(found.answer), 'token')} in all can have influenced it")
    if found.below is not None:
        lines += ["", FUSED, *summary_lines(found.below.summary)]
    return "\n".join([*lines, NOT_MASS])


def _claim(name: str, found: Reach) -> list[str]:
    return [
        f"{name}: λ = {found.lam:g}, τ = {found.tau:g}, attention outside is exactly 0 by {found.why_hard}",
        f"{CLAIM}: {found.condition.text}.",
        "",
    ]


def summary_lines(summary: Sequence[ReachSummary]) -> list[str]:
    """Mean, quartiles and largest, in tokens and in blocks."""
    return Table.of(columns_of(ReachSummary), summary).aligned()


def describe_prediction(found: Reach, position: int) -> str:
    """What can have influenced one prediction: its blocks, each with its tokens that count, others as `·`."""
    places, blocks = found.tokens(position), found.blocks(position)
    after = found.pieces[position]
    lines = [
        f"the prediction after token {position} ({after!r}): {count(len(places), 'token')} in"
        f" {count(len(blocks), 'block')} can have influenced it, {found.condition.text}"
    ]
    for block in blocks:
        own = places[found.block_ids[places] == block]
        shown = [found.pieces[at] for at in own]
        named = "of every block" if block < 0 else f"block {block}"
        drawn = " (generated in part)" if found.generated[own].any() else ""
        lines.append(f"  {named}, tokens {_ranges(own)}{drawn}: {''.join(shown)!r}")
    return "\n".join(lines)


def _ranges(places: np.ndarray) -> str:
    """Rising numbers as ranges: 0–4, 9."""
    parts = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}–{p[-1]}" for p in parts)


def write_reach(
    found: Reach, directory: Path, *, meta: Mapping[str, Any], position: int | None = None
) -> list[Path]:
    """Writes `reach.json` and `reach.csv`; returns the paths. `meta` says of what, in JSON values."""
    document = {
        **reach_document(found.condition.text, found.condition.unconditional, found.summary, meta),
        "lam": found.lam,
        "tau": found.tau,
        "hard_by": found.why_hard,
        "tokens": list(found.pieces),
        "block_ids": found.block_ids.tolist(),
        "generated": np.flatnonzero(found.generated).tolist(),
        "below_the_global_layer": None if found.below is None else json_rows(found.below.summary),
        "answer": found.answer.tolist() if found.generated.any() else None,
        "listed": None
        if position is None
        else {
            "position": position,
            "tokens": found.tokens(position).tolist(),
            "blocks": found.blocks(position).tolist(),
        },
    }
    files = {"reach.csv": csv_text(ReachRow, found.rows()), "reach.json": json_text(document)}
    return write_files(directory, files)


def reach_document(
    condition: str, unconditional: bool, summary: Sequence[ReachSummary], meta: Mapping[str, Any]
) -> dict[str, Any]:
    """What every `reach.json` says."""
    return {
        "format": FORMAT,
        "meta": dict(meta),
        "claim": CLAIM,
        "condition": condition,
        "unconditional": unconditional,
        "summary": json_rows(summary),
    }

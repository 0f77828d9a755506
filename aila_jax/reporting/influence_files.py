"""Influence on the terminal, as CSV and as JSON."""

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aila_jax.evaluation.influence_rows import HeadInfluenceRow, InfluenceResult, InfluenceRow
from aila_jax.reporting.files import write_atomically
from aila_jax.reporting.formats import change, fixed, percent, perplexity

FORMAT = "aila_jax influence, version 1"


def describe_influence(result: InfluenceResult) -> str:
    """The table over λ, with what it measures said above it, and the head that could carry most at each λ
    below.
    """
    first = result.rows[0]
    lines = [
        (
            f"{first.run}, seed {first.seed}: {first.split}, {first.positions:,} queries, {first.draws}"
            f" draws, τ = {first.tau:g}"
        ),
        (
            "KL divergence of the next-token distribution in nats (± standard error over queries) when tokens"
            " are resampled"
        ),
        "",
    ]
    header = (
        "λ",
        "block mass",
        "KL outside",
        "its spread over draws",
        "same queries as inside",
        "KL inside",
        "keys outside",
        "keys inside",
    )
    table = [header, *(_line(row) for row in result.rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(header))]
    lines += [
        "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) for line in table
    ]
    return "\n".join([*lines, "", *(_most(result, row) for row in result.rows), *_costs(result)])


def _costs(result: InfluenceResult) -> list[str]:
    """What removing attention costs, where it was measured."""
    return [
        f"λ = {row['lam']:g}: perplexity per token {perplexity(row['perplexity'])}, without attention"
        f" {perplexity(row['perplexity_without'])} ({change(row['perplexity'], row['perplexity_without'])};"
        f" {row['targets']:,} targets)"
        for row in result.meta.get("without_attention", [])
    ]


def _line(row: InfluenceRow) -> tuple[str, ...]:
    return (
        f"{row.lam:g}{' hard' if row.hard else ''}",
        fixed(row.block_mass),
        _with_error(row.kl_outside, row.kl_outside_error),
        nats(row.kl_outside_spread),
        nats(row.kl_outside_paired),
        _with_error(row.kl_inside, row.kl_inside_error),
        fixed(row.tokens_outside, 1),
        fixed(row.tokens_inside, 1),
    )


def _most(result: InfluenceResult, row: InfluenceRow) -> str:
    """The head whose keys outside the block could add most at this λ, by the measured and by the guaranteed
    mass.
    """
    heads = [head for head in result.heads if head.lam == row.lam]
    most = max(heads, key=lambda head: head.contribution_measured)
    text = (
        f"λ = {row.lam:g}: layer {most.layer}, head {most.head} has {percent(most.out_mass_measured)} of its"
        f" attention outside the block, which adds at most {nats(most.contribution_measured)} to the residual"
        " stream (measured mass, mean over queries)"
    )
    bounded = [head for head in heads if head.contribution_guaranteed is not None]
    if not bounded:
        return f"{text}; nothing is guaranteed"
    worst = max(bounded, key=lambda head: head.contribution_guaranteed or 0.0)
    return (
        f"{text}; no head adds more than {nats(worst.contribution_guaranteed)} at any query (guaranteed mass,"
        f" {worst.guarantee})"
    )


def nats(value: float | None) -> str:
    """Three significant digits, and a bare 0 for what is exactly 0."""
    return "–" if value is None else "0" if value == 0 else f"{value:.3g}"


def _with_error(value: float | None, error: float | None) -> str:
    return nats(value) if not value else f"{nats(value)} ± {nats(error)}"


def write_influence(result: InfluenceResult, directory: str | Path) -> list[Path]:
    """Writes `influence.csv` (a row per λ), `influence_heads.csv` (a row per λ, layer and head) and
    `influence.json` (everything, last).

    Raises:
      ValueError: a number that is not finite.
    """
    document = {
        "format": FORMAT,
        "config": result.config,
        "meta": result.meta,
        "rows": [dataclasses.asdict(row) for row in result.rows],
        "heads": [dataclasses.asdict(row) for row in result.heads],
    }
    contents = {
        "influence.csv": _csv(InfluenceRow, result.rows),
        "influence_heads.csv": _csv(HeadInfluenceRow, result.heads),
        "influence.json": json.dumps(document, allow_nan=False, ensure_ascii=False, indent=1) + "\n",
    }
    paths = [Path(directory) / name for name in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        write_atomically(path, content.encode("utf-8"))
    return paths


def _csv(cls: type, rows: Sequence[Any]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in dataclasses.fields(cls)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in rows)
    return text.getvalue()

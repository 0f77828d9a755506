"""Influence on the terminal, as CSV and as JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aila_jax.columns import Column, chosen
from aila_jax.config import saved_config, to_dict
from aila_jax.evaluation.influence_rows import HeadInfluenceRow, InfluenceResult, InfluenceRow
from aila_jax.evaluation.origin import InfluenceMeta
from aila_jax.formats import change, nats, percent, perplexity, with_error
from aila_jax.reporting.results import read_document
from aila_jax.reporting.tables import Table, csv_text, json_rows, json_text, rows_from, write_files

FORMAT = "aila_jax influence, version 1"
_SHOWN = (
    "lam",
    "block_mass",
    "kl_outside",
    "kl_outside_spread",
    "kl_outside_paired",
    "kl_inside",
    "tokens_outside",
    "tokens_inside",
)
_BEYOND = ("kl_beyond", "tokens_beyond")  # where the reach is more than what is inside in a layer


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
    beyond = chosen(InfluenceRow, _BEYOND, result.rows)
    header = tuple(column.title for column in (*chosen(InfluenceRow, _SHOWN), *beyond))
    lines += Table(header, tuple(_line(row, beyond) for row in result.rows)).aligned()
    if first.positions_beyond == 0:
        lines.append("fewer than two queries have a key beyond the reach: there is nothing to measure")
    return "\n".join([*lines, "", *(_most(result, row) for row in result.rows), *_costs(result)])


def _costs(result: InfluenceResult) -> list[str]:
    """What removing attention costs, where it was measured."""
    return [
        f"λ = {cost.lam:g}: perplexity per token {perplexity(cost.perplexity)}, without attention"
        f" {perplexity(cost.perplexity_without)} ({change(cost.perplexity, cost.perplexity_without)};"
        f" {cost.targets:,} targets)"
        for cost in result.meta.without_attention or ()
    ]


def _line(row: InfluenceRow, beyond: Sequence[Column]) -> tuple[str, ...]:
    texts = {column.field: column.text(row) for column in (*chosen(InfluenceRow, _SHOWN), *beyond)}
    texts["lam"] += " hard" if row.hard else ""
    texts["kl_outside"] = with_error(row.kl_outside, row.kl_outside_error)
    texts["kl_inside"] = with_error(row.kl_inside, row.kl_inside_error)
    if "kl_beyond" in texts:
        texts["kl_beyond"] = with_error(row.kl_beyond, row.kl_beyond_error)
    return tuple(texts.values())


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


def write_influence(result: InfluenceResult, directory: str | Path) -> list[Path]:
    """Writes `influence.csv` (a row per λ), `influence_heads.csv` (a row per λ, layer and head) and
    `influence.json` (everything, last).

    Raises:
      ValueError: a number that is not finite.
    """
    document = {
        "format": FORMAT,
        "config": to_dict(result.config),
        "meta": result.meta.to_json(),
        "rows": json_rows(result.rows),
        "heads": json_rows(result.heads),
    }
    return write_files(
        directory,
        {
            "influence.csv": csv_text(InfluenceRow, result.rows),
            "influence_heads.csv": csv_text(HeadInfluenceRow, result.heads),
            "influence.json": json_text(document),
        },
    )


def read_influence(path: str | Path) -> InfluenceResult:
    """What `write_influence` wrote: the JSON file, or the folder that holds `influence.json`.

    Raises:
      ValueError: it is not such a file, or a value in it is not what it must be.
    """
    path = Path(path) / "influence.json" if Path(path).is_dir() else Path(path)
    return read_document(path, "influence", FORMAT, _result)


def _result(document: Mapping[str, Any]) -> InfluenceResult:
    return InfluenceResult(
        rows_from(InfluenceRow, document["rows"], "rows"),
        rows_from(HeadInfluenceRow, document["heads"], "heads"),
        saved_config(document["config"]),
        InfluenceMeta.from_json(document["meta"]),
    )

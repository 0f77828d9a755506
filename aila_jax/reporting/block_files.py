"""A partition's statistics and listing on the terminal, as CSV and as JSON."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from aila_jax.columns import Column
from aila_jax.config import saved_config
from aila_jax.config.relation import relation_line
from aila_jax.evaluation.blocks import BlockReport
from aila_jax.partition.correlation import BlockCorrelation
from aila_jax.partition.listing import BoundaryEntry, ClassEntry
from aila_jax.partition.relation_statistics import LayerKeys
from aila_jax.reporting.tables import csv_text, json_text, table, values_csv, write_files

FORMAT = "aila_jax blocks, version 1"
_CLASS = ("number", "name", "share", "types", "frequent")
_BOUNDARY = ("count", "share", "entropy", "text")


@dataclass(frozen=True)
class ClassTypeRow:
    """One of the most frequent token types of a class.

    Attributes:
      number: of the class.
      name: of the class, empty where classes have none.
      share_of_tokens: of the training split's tokens that are in the class.
      types: how many token types the class has.
      rank: of the type in its class, from 1.
      text: what the type stands for.
      share_of_class: of the class's tokens that are of the type.
    """

    number: Annotated[int, Column(name="class")]
    name: str
    share_of_tokens: float
    types: int
    rank: int
    text: str
    share_of_class: float


def describe_blocks(report: BlockReport) -> str:
    """The report as text: statistics, then classes or boundary types, then examples."""
    s = report.statistics
    lines = [
        (
            f"partition {report.partition}, {report.source}, {report.split}: {s.tokens:,} tokens in"
            f" {s.windows:,} windows"
        ),
        *([report.listing.note] if report.listing.note else []),
        "",
        (
            f"keys in a query's block      {s.n_in:.2f} (without global keys {s.n_local:.2f}); two or more"
            f" for {s.share_two:.1%} of the queries"
        ),
        f"blocks a window              {s.blocks:.1f}",
        (
            f"tokens a block, in a window  mean {s.size_mean:.2f}, median {s.size_median:g}, largest"
            f" {s.size_largest}"
        ),
    ]
    if report.relation is not None:
        lines += _describe_relation(report)
    if report.correlation is not None:
        lines += _describe_correlation(report.correlation)
    listing = report.listing
    if listing.classes:
        lines += [
            "",
            *table(ClassEntry, _CLASS, listing.classes).aligned(last_left=True),
        ]
    if listing.boundaries:
        boundaries = table(BoundaryEntry, _BOUNDARY, listing.boundaries)
        lines += ["", "segments end with", *boundaries.aligned(last_left=True)]
    return "\n".join([*lines, "", "examples:", *(f"  {example}" for example in listing.examples)])


def write_blocks(report: BlockReport, directory: Path) -> list[Path]:
    """Writes blocks.json (everything), blocks.csv (one row of figures) and, where there are types to list,
    block_types.csv.
    """
    figures = _figures(report)
    document = {"format": FORMAT, **dataclasses.asdict(report), "meta": report.meta.to_json()}
    if report.relation is None:
        del document["relation"]
    contents = {
        "blocks.json": json_text(document),
        "blocks.csv": values_csv(list(figures), [figures]),
    }
    types = tuple(_class_types(report.listing.classes))
    if report.listing.boundaries:
        contents["block_types.csv"] = csv_text(BoundaryEntry, report.listing.boundaries)
    elif types:
        contents["block_types.csv"] = csv_text(ClassTypeRow, types)
    return write_files(directory, contents)


def _describe_relation(report: BlockReport) -> list[str]:
    """Keys inside by layer and kind, and the reach."""
    found = report.relation
    assert found is not None, "asked for with a relation alone"
    line = relation_line(saved_config(report.meta.config).relation)
    keys = table(LayerKeys, ("layer", "n_in", "own", "pointers", "sinks"), found.layers)
    return [
        "",
        f"relation {line}: keys inside of a query, mean",
        *(f"  {one}" for one in keys.aligned()),
        (
            f"reach of a query             {found.reach:.2f} tokens through all layers of hard attention, itself"
            f" included; at most {found.reach_largest}"
        ),
    ]


def _describe_correlation(found: BlockCorrelation) -> list[str]:
    largest = f"undefined, since {found.rho_undefined}" if found.rho_max is None else f"{found.rho_max:.3f}"
    mean = "" if found.rho_mean is None else f", mean {found.rho_mean:.3f}"
    return [
        f"correlation of embeddings    token with its block's mean {found.within:.3f}; between block means:"
        f" largest {largest}{mean} ({found.blocks:,} blocks, {found.tokens:,} tokens)"
    ]


def _figures(report: BlockReport) -> Mapping[str, Any]:
    """One tidy row; its columns depend on the kind of partition."""
    correlation = {} if report.correlation is None else dataclasses.asdict(report.correlation)
    named = {f"correlation_{name}": value for name, value in correlation.items()}
    origin = {
        "source": report.source,
        "split": report.split,
        "seed": report.meta.seed,
        "commit": report.meta.commit,
    }
    return {**report.partition, **origin, **dataclasses.asdict(report.statistics), **named, **_inside(report)}


def _inside(report: BlockReport) -> dict[str, Any]:
    """The figures of a relation."""
    found = report.relation
    if found is None:
        return {}
    layers = {
        f"layer{one.layer}_{name}": getattr(one, name)
        for one in found.layers
        for name in ("n_in", "own", "pointers", "sinks")
    }
    return {"keys_inside": found.n_in, "reach": found.reach, "reach_largest": found.reach_largest, **layers}


def _class_types(classes: Sequence[ClassEntry]) -> Iterator[ClassTypeRow]:
    for one in classes:
        for rank, (text, share) in enumerate(one.frequent, start=1):
            yield ClassTypeRow(one.number, one.name, one.share, one.types, rank, text, share)

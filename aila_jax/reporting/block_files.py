"""A partition's statistics and listing on the terminal, as CSV and as JSON."""

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from aila_jax.evaluation.blocks import BlockReport
from aila_jax.partition.correlation import BlockCorrelation
from aila_jax.partition.listing import BlockListing, BoundaryEntry, ClassEntry
from aila_jax.reporting.files import write_atomically

FORMAT = "aila_jax blocks, version 1"


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
    if report.correlation is not None:
        lines += _describe_correlation(report.correlation)
    listing = report.listing
    if listing.classes:
        lines += [
            "",
            *_table(("class", "name", "share", "types", "most frequent"), map(_class_row, listing.classes)),
        ]
    if listing.boundaries:
        header = ("count", "of all boundaries", "next-token entropy", "type")
        lines += ["", "segments end with", *_table(header, map(_boundary_row, listing.boundaries))]
    return "\n".join([*lines, "", "examples:", *(f"  {example}" for example in listing.examples)])


def write_blocks(report: BlockReport, directory: Path) -> list[Path]:
    """Writes blocks.json (everything), blocks.csv (one row of figures) and, where there are types to list,
    block_types.csv.
    """
    document = {"format": FORMAT, **dataclasses.asdict(report)}
    contents = {
        "blocks.json": json.dumps(document, allow_nan=False, ensure_ascii=False, indent=1) + "\n",
        "blocks.csv": _csv([_figures(report)]),
    }
    rows = list(_type_rows(report.listing))
    if rows:
        contents["block_types.csv"] = _csv(rows)
    for name, content in contents.items():
        write_atomically(directory / name, content.encode("utf-8"))
    return [directory / name for name in contents]


def _describe_correlation(found: BlockCorrelation) -> list[str]:
    largest = f"undefined, since {found.rho_undefined}" if found.rho_max is None else f"{found.rho_max:.3f}"
    mean = "" if found.rho_mean is None else f", mean {found.rho_mean:.3f}"
    return [
        f"correlation of embeddings    token with its block's mean {found.within:.3f}; between block means:"
        f" largest {largest}{mean} ({found.blocks:,} blocks, {found.tokens:,} tokens)"
    ]


def _class_row(entry: ClassEntry) -> tuple[str, ...]:
    words = " ".join(text.strip() or repr(text) for text, _ in entry.frequent)
    return str(entry.number), entry.name, f"{entry.share:.2%}", f"{entry.types:,}", words


def _boundary_row(entry: BoundaryEntry) -> tuple[str, ...]:
    return f"{entry.count:,}", f"{entry.share:.1%}", f"{entry.entropy:.3f}", repr(entry.text)


def _table(header: Sequence[str], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Columns of equal width, the last one as long as it is."""
    every = [tuple(header), *rows]
    widths = [max(len(row[column]) for row in every) for column in range(len(header) - 1)]
    return [
        "  ".join([*(text.rjust(width) for text, width in zip(row, widths, strict=False)), row[-1]])
        for row in every
    ]


def _figures(report: BlockReport) -> dict[str, Any]:
    """One tidy row."""
    correlation = {} if report.correlation is None else dataclasses.asdict(report.correlation)
    named = {f"correlation_{name}": value for name, value in correlation.items()}
    origin = {
        "source": report.source,
        "split": report.split,
        "seed": report.meta["seed"],
        "commit": report.meta["commit"],
    }
    return {**report.partition, **origin, **dataclasses.asdict(report.statistics), **named}


def _type_rows(listing: BlockListing) -> Iterable[dict[str, Any]]:
    for entry in listing.boundaries:
        yield dataclasses.asdict(entry)
    for one in listing.classes:
        base = {"class": one.number, "name": one.name, "share_of_tokens": one.share, "types": one.types}
        for rank, (text, share) in enumerate(one.frequent, start=1):
            yield {**base, "rank": rank, "text": text, "share_of_class": share}


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()

"""A listing of anchors on the terminal, as CSV and as JSON."""

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path

from aila_jax.evaluation.anchor_listing import AnchorBlock, AnchorListing, AnchorType
from aila_jax.reporting.files import write_atomically

FORMAT = "aila_jax anchors, version 1"


def describe_anchors(listings: Sequence[AnchorListing]) -> str:
    """The listings as text: a table of types, then blocks with their anchors in [brackets]."""
    return "\n\n".join(_describe(listing) for listing in listings)


def write_anchors(listings: Sequence[AnchorListing], directory: Path) -> list[Path]:
    """Writes `anchors_<estimator>.csv` (a row per type) for each listing and `anchors.json` (everything);
    returns the paths.
    """
    contents = {f"anchors_{listing.estimator}.csv": _csv(listing.types) for listing in listings}
    document = {"format": FORMAT, "listings": [dataclasses.asdict(listing) for listing in listings]}
    contents["anchors.json"] = json.dumps(document, allow_nan=False, ensure_ascii=False, indent=1) + "\n"
    for name, content in contents.items():
        write_atomically(directory / name, content.encode("utf-8"))
    return [directory / name for name in contents]


def marked(block: AnchorBlock) -> str:
    """The block as one line, each anchor in brackets: ` the| [cat]| sat`. Tokens are parted by a bar; a line
    end is shown as ⏎.
    """
    words = (word.replace("\n", "⏎") for word in block.tokens)
    return "|".join(
        f"[{word}]" if anchor else word for word, anchor in zip(words, block.anchors, strict=True)
    )


def _describe(listing: AnchorListing) -> str:
    origin = (
        "the checkpoint's own table" if listing.used else "made now for comparison; the run did not use it"
    )
    lines = [f"anchors by {listing.estimator} ({origin}), {listing.k} a block", ""]
    header = ("rank", "entropy", "measured on", "in the text", "anchors", "type")
    rows = [
        (f"{t.rank}", f"{t.entropy:.4f}", f"{t.count:,}", f"{t.tokens:,}", f"{t.chosen:,}", repr(t.text))
        for t in listing.types
    ]
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header) - 1)]
    for row in (header, *rows):
        lines.append(
            "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=False)) + f"  {row[-1]}"
        )
    return "\n".join(
        [*lines, "", "blocks, anchors in brackets:", *(f"  {marked(block)}" for block in listing.blocks)]
    )


def _csv(types: Sequence[AnchorType]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(
        text, [field.name for field in dataclasses.fields(AnchorType)], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(dataclasses.asdict(one) for one in types)
    return text.getvalue()

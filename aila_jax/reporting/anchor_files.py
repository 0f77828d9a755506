"""A listing of anchors on the terminal, as CSV and as JSON."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from aila_jax.evaluation.anchor_listing import AnchorBlock, AnchorListing, AnchorType
from aila_jax.reporting.tables import csv_text, json_text, table, write_files

FORMAT = "aila_jax anchors, version 1"
_SHOWN = ("rank", "entropy", "count", "tokens", "chosen", "text")


def describe_anchors(listings: Sequence[AnchorListing]) -> str:
    """The listings as text: a table of types, then blocks with their anchors in [brackets]."""
    return "\n\n".join(_describe(listing) for listing in listings)


def write_anchors(listings: Sequence[AnchorListing], directory: Path) -> list[Path]:
    """Writes `anchors_<estimator>.csv` (a row per type) for each listing and `anchors.json` (everything);
    returns the paths.
    """
    contents = {
        f"anchors_{listing.estimator}.csv": csv_text(AnchorType, listing.types) for listing in listings
    }
    document = {"format": FORMAT, "listings": [dataclasses.asdict(listing) for listing in listings]}
    return write_files(directory, {**contents, "anchors.json": json_text(document)})


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
    lines += table(AnchorType, _SHOWN, listing.types).aligned(last_left=True)
    return "\n".join(
        [*lines, "", "blocks, anchors in brackets:", *(f"  {marked(block)}" for block in listing.blocks)]
    )

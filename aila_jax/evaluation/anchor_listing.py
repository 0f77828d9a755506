"""Anchors for people to read: the types that rank lowest, and blocks of real text with their anchors."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np

from aila_jax import formats
from aila_jax.cards import Card, Shown
from aila_jax.columns import Column, to_pandas
from aila_jax.inference.language_model import LanguageModel
from aila_jax.partition.anchors import Anchors
from aila_jax.types import GLOBAL_ID, PADDING_ID, Batch

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class AnchorType:
    """One token type of the listing.

    Attributes:
      rank: place by entropy among the types that were measured, from 1.
      token: its id.
      text: what it stands for.
      entropy: its entry of the table, in [0, 1].
      count: occurrences that the entry was measured on.
      tokens: occurrences in the text that was read for the listing.
      chosen: how many of them were anchors.
    """

    rank: int
    token: int
    text: Annotated[str, Column("type", repr)]
    entropy: Annotated[float, Column(format=formats.four)]
    count: Annotated[int, Column("measured on", formats.count)]
    tokens: Annotated[int, Column("in the text", formats.count)]
    chosen: Annotated[int, Column("anchors", formats.count)]


@dataclass(frozen=True)
class AnchorBlock:
    """One block of text: its tokens in order, and which of them are anchors."""

    tokens: tuple[str, ...]
    anchors: tuple[bool, ...]


@dataclass(frozen=True, repr=False)
class AnchorListing(Shown):
    """The anchors that one table gives.

    Attributes:
      estimator: `corpus` or `attention`.
      used: the table is the checkpoint's own, not one made for comparison.
      k: anchors of a block.
      types: those of lowest entropy.
      blocks: examples.
      importance: of each feature group.
    """

    estimator: str
    used: bool
    k: int
    types: tuple[AnchorType, ...]
    blocks: tuple[AnchorBlock, ...]
    importance: tuple[float, ...]

    def to_pandas(self) -> "DataFrame":
        """The types as a data frame."""
        return to_pandas(AnchorType, self.types)

    def card(self) -> Card:
        facts = {"lowest entropy": ", ".join(repr(each.text) for each in self.types[:8])}
        used = "the checkpoint's own" if self.used else "for comparison"
        return Card(f"AnchorListing: {self.k} a block, {self.estimator}, {used}", facts)


def list_anchors(
    model: LanguageModel, anchors: Anchors, batches: Iterable[Batch], *, top: int, examples: int, used: bool
) -> AnchorListing:
    """Reads `batches` with the model's partition and lists `top` types and the first `examples` blocks of at
    least two tokens.
    """
    tokens, chosen = np.zeros(len(anchors.table), np.int64), np.zeros(len(anchors.table), np.int64)
    blocks: list[AnchorBlock] = []
    for batch in batches:
        block_ids = np.asarray(model.partition(batch))
        is_anchor = np.asarray(anchors.of(batch, block_ids, model.config.model.document_mask))
        real = np.asarray(batch.doc_ids) != PADDING_ID
        tokens += np.bincount(batch.tokens[real], minlength=len(tokens))
        chosen += np.bincount(batch.tokens[is_anchor], minlength=len(tokens))
        for row in range(len(block_ids)):
            if len(blocks) < examples:
                blocks += _blocks(model, batch, row, block_ids[row], is_anchor[row])
    measured = np.flatnonzero(np.asarray(anchors.counts) > 0)
    lowest = measured[np.argsort(np.asarray(anchors.table)[measured], kind="stable")][:top]
    types = tuple(
        AnchorType(
            rank=rank,
            token=int(token),
            text=model.tokenizer.token_text(int(token)),
            entropy=float(anchors.table[token]),
            count=int(anchors.counts[token]),
            tokens=int(tokens[token]),
            chosen=int(chosen[token]),
        )
        for rank, token in enumerate(lowest, start=1)
    )
    importance = tuple(float(value) for value in anchors.importance)
    return AnchorListing(anchors.estimator, used, anchors.k, types, tuple(blocks[:examples]), importance)


def _blocks(
    model: LanguageModel, batch: Batch, row: int, block_ids: np.ndarray, is_anchor: np.ndarray
) -> list[AnchorBlock]:
    """The blocks of one window that have anchors, by their first token. A block of a class is all its tokens,
    wherever they stand.
    """
    documents = (
        np.asarray(batch.doc_ids)[row] if model.config.model.document_mask else np.zeros_like(block_ids)
    )
    members: dict[tuple[int, int], list[int]] = {}
    for place, key in enumerate(zip(documents.tolist(), block_ids.tolist(), strict=True)):
        members.setdefault(key, []).append(place)
    found = []
    for (_, block), places in members.items():
        if block in (PADDING_ID, GLOBAL_ID) or not is_anchor[places].any():
            continue
        words = tuple(
            model.tokenizer.token_text(int(token)) for token in np.asarray(batch.tokens)[row, places]
        )
        found.append(AnchorBlock(words, tuple(bool(value) for value in is_anchor[places])))
    return found

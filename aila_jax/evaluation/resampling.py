"""Queries with a key outside their block, and their texts with the tokens on one side of the block
replaced.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from aila_jax.config import require
from aila_jax.data.packing import Windows
from aila_jax.data.pipeline import take
from aila_jax.inference.language_model import LanguageModel
from aila_jax.partition.relations import Relation
from aila_jax.types import PADDING_ID, Array, Batch

SIDES = ("outside", "inside")
CANDIDATES = 256  # queries looked at together: their [L, L] masks exist at once


@dataclass(frozen=True, eq=False)
class Queries:
    """P queries, each with the window that it stands in.

    Attributes:
      windows: arrays [P, L].
      block_ids: of the text as it is.
      at: position of the query.
      resampled: for each of `SIDES`, the keys of the query that are resampled.
    """

    windows: Batch
    block_ids: Int[np.ndarray, "P L"]
    at: Int[np.ndarray, "P"]
    resampled: Bool[np.ndarray, "2 P L"]


def choose_queries(
    model: LanguageModel, windows: Windows, positions: int, seed: int, or_fewer: bool = False
) -> Queries:
    """So many queries with a key outside their block, each once, in a random order that `seed` gives; with
    `or_fewer` all there are, at least 2, where they are not so many.
    """
    rows, places = np.nonzero(windows.batch.doc_ids != PADDING_ID)
    order = np.random.default_rng(seed).permutation(len(rows))
    found: list[tuple[Array, ...]] = []
    count = 0
    for start in range(0, len(order), CANDIDATES):
        part = order[start : start + CANDIDATES]
        batch, at = take(windows.batch, rows[part]), places[part]
        ids = np.asarray(model.partition(batch))
        sides = resampled_sides(
            ids,
            batch.doc_ids if model.config.model.document_mask else None,
            at,
            not model.config.model.bidirectional,
        )
        kept = sides[0].any(axis=-1)
        found.append((rows[part][kept], at[kept], ids[kept], sides[:, kept]))
        count += int(kept.sum())
        if count >= positions:
            break
    if or_fewer:
        positions = min(positions, max(count, 2))
    limit = f"at most the number of queries with a key outside their block ({count})"
    require(
        count >= positions,
        "positions",
        positions,
        limit,
        "lower it, or use a partition whose blocks leave keys outside",
    )
    which, at, ids, sides = (
        np.concatenate(parts, axis=axis)
        for parts, axis in zip(zip(*found, strict=True), (0, 0, 0, 1), strict=True)
    )
    return Queries(
        take(windows.batch, which[:positions]), ids[:positions], at[:positions], sides[:, :positions]
    )


def resampled_sides(
    block_ids: Int[np.ndarray, "P L"],
    doc_ids: Int[np.ndarray, "P L"] | None,
    at: Int[np.ndarray, "P"],
    causal: bool,
) -> Bool[np.ndarray, "2 P L"]:
    """The keys of each query outside its block, and those inside it other than itself."""
    index = np.arange(len(at))
    relation = Relation(block_ids, doc_ids, causal=causal)
    reach = np.asarray(relation.attendable())[index, 0, at]
    same = np.asarray(relation.inside())[index, 0, at]
    itself = np.arange(block_ids.shape[1])[None] == at[:, None]
    return np.stack([reach & ~same, reach & same & ~itself])


def resampled_texts(
    queries: Queries, corpus: Int[np.ndarray, " T"], draws: int, seed: int
) -> Int[np.ndarray, "draws 2 P L"]:
    """The windows of the queries with the tokens of each of `SIDES` replaced, once for every draw, the same
    new tokens on both sides.
    """
    shape = queries.windows.tokens.shape
    # A token at a uniform place of the corpus has the corpus' unigram distribution.
    new = [
        corpus[np.random.default_rng([seed, 1 + draw]).integers(len(corpus), size=shape)]
        for draw in range(draws)
    ]
    return np.where(queries.resampled[None], np.stack(new)[:, None], queries.windows.tokens)

"""Queries with a key outside their block, and their texts with the tokens on one side of the block
replaced; or, with a relation, on one side of what is inside, and beyond its reach.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from aila_jax.config import require
from aila_jax.data.packing import Windows
from aila_jax.data.pipeline import take
from aila_jax.inference.inputs import begin_ids
from aila_jax.inference.language_model import LanguageModel
from aila_jax.partition.kinds import document_starts
from aila_jax.partition.relations import reach_of_rows
from aila_jax.partition.rules import Blocks
from aila_jax.types import PADDING_ID, Array, Batch

SIDES = ("outside", "inside", "beyond")
CANDIDATES = 256  # queries looked at together
TOGETHER = 16  # rows of each one's masks that exist at once


@dataclass(frozen=True, eq=False)
class Queries:
    """P queries, each with the window that it stands in.

    Attributes:
      windows: arrays [P, L].
      blocks: of the text as it is, with its pointers, in all layers; arrays [P, L].
      at: position of the query.
      resampled: for each of `sides`, the keys of the query that are resampled.
    """

    windows: Batch
    blocks: Blocks
    at: Int[np.ndarray, "P"]
    resampled: Bool[np.ndarray, "S P L"]

    @property
    def sides(self) -> tuple[str, ...]:
        """The first two of `SIDES`; all where what lies beyond the reach is not all that is outside."""
        return SIDES[: len(self.resampled)]


def choose_queries(
    model: LanguageModel, windows: Windows, positions: int, seed: int, or_fewer: bool = False
) -> Queries:
    """So many queries with a key outside their block, each once, in a random order that `seed` gives; with
    `or_fewer` all there are, at least 2, where they are not so many. A begin token is never resampled.
    """
    rows, places = np.nonzero(windows.batch.doc_ids != PADDING_ID)
    order = np.random.default_rng(seed).permutation(len(rows))
    network, config = model.network, model.config.model
    found: list[tuple[Array, ...]] = []
    blocks: list[Blocks] = []
    count = 0
    for start in range(0, len(order), CANDIDATES):
        part = order[start : start + CANDIDATES]
        batch, at = take(windows.batch, rows[part]), places[part]
        here = jax.tree.map(np.asarray, network.blocks(batch))
        docs = batch.doc_ids if config.document_mask else None
        layers = 0 if network.rules.plain else config.n_layers
        sides = resampled_sides(here, docs, at, not config.bidirectional, layers) & ~_begins(model, batch)
        kept = sides[0].any(axis=-1)
        found.append((rows[part][kept], at[kept], sides[:, kept]))
        blocks.append(_rows(here, kept))
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
    which, at, sides = (
        np.concatenate(parts, axis=axis)
        for parts, axis in zip(zip(*found, strict=True), (0, 0, 1), strict=True)
    )
    sides = sides[:, :positions]
    if len(sides) > 2 and (sides[0] == sides[2]).all():
        sides = sides[:2]
    chosen = _rows(jax.tree.map(lambda *parts: np.concatenate(parts), *blocks), np.arange(positions))
    return Queries(take(windows.batch, which[:positions]), chosen, at[:positions], sides)


def _begins(model: LanguageModel, batch: Batch) -> Bool[np.ndarray, "P L"]:
    """Where a begin token stands: the same in every text, it carries nothing."""
    found = np.zeros(batch.tokens.shape, bool)
    for token in begin_ids(model):
        found |= np.asarray(document_starts(batch.doc_ids)) & (batch.tokens == token)
    return found


def _rows(blocks: Blocks, which: Array) -> Blocks:
    return jax.tree.map(lambda array: array[which], blocks)


def resampled_sides(
    blocks: Blocks,
    doc_ids: Int[np.ndarray, "P L"] | None,
    at: Int[np.ndarray, "P"],
    causal: bool,
    layers: int = 0,
) -> Bool[np.ndarray, "S P L"]:
    """The keys of each query outside, and those inside other than itself. Inside is what is so in at least
    one layer. With `layers`, N, also the keys beyond the reach R = (I ∨ M_N) … (I ∨ M_1), where M_ℓ is what
    hard attention may see in layer ℓ: those that no path of N steps leads from.
    """
    return np.asarray(_sides(blocks, doc_ids, at, causal, layers))


@partial(jax.jit, static_argnames=("causal", "layers"))
def _sides(
    blocks: Blocks, doc_ids: Int[Array, "P L"] | None, at: Int[Array, "P"], causal: bool, layers: int
) -> Bool[Array, "S P L"]:
    at_Px1 = at[:, None]
    itself = jnp.arange(blocks.ids.shape[1])[None] == at_Px1
    every = [blocks.of_layer(layer, doc_ids, causal) for layer in range(len(blocks.layers))]
    rows = [relation.rows(at_Px1) for relation in every]
    attendable = rows[0].attendable()[:, 0, 0]
    inside = jnp.stack([one.inside()[:, 0, 0] for one in rows]).any(axis=0)
    sides = [attendable & ~inside, attendable & inside & ~itself]
    if layers:
        through = every if len(every) > 1 else every * layers
        sides.append(attendable & ~reach_of_rows(through, at_Px1, TOGETHER)[:, 0])
    return jnp.stack(sides)


def resampled_texts(
    queries: Queries, corpus: Int[np.ndarray, " T"], draws: int, seed: int
) -> Int[np.ndarray, "draws S P L"]:
    """The windows of the queries with the tokens of each of their `sides` replaced, once for every draw, the
    same new tokens on all sides.
    """
    shape = queries.windows.tokens.shape
    # A token at a uniform place of the corpus has the corpus' unigram distribution.
    new = [
        corpus[np.random.default_rng([seed, 1 + draw]).integers(len(corpus), size=shape)]
        for draw in range(draws)
    ]
    return np.where(queries.resampled[None], np.stack(new)[:, None], queries.windows.tokens)

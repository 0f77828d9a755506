"""Which keys a query may attend to, and which of them count as inside."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int, Shaped

from aila_jax.types import GLOBAL_ID, PADDING_ID, Array


@dataclass(frozen=True, eq=False)
class Masks:
    """A relation written out over queries and keys, axes [example, head, query, key].

    Attributes:
      attendable: A_t.
      inside: the keys inside, whether they are in A_t or not.
      itself: the query's own position.
    """

    attendable: Bool[Array, "B 1 T L"]
    inside: Bool[Array, "B 1 T L"]
    itself: Bool[Array, "#B 1 T L"]


@flax.struct.dataclass
class Relation:
    """What attention of one layer knows of blocks and documents.

        inside[t, j] = same block, or j or t is global, or j is a sink, or (j is a pointer and 1 ≤ b_t − b_j ≤
        p)

    and for a sink t: j = t alone. Readers ask its methods, never its ids, so that other rules for what is
    inside, and attention that writes no L × L mask, need no change elsewhere.

    Attributes:
      block_ids: block of each query; PADDING_ID marks padding, GLOBAL_ID a token of every block.
      doc_ids: where given, A_t holds keys of t's document only.
      key_block_ids: blocks of the keys where they differ from those of the queries.
      sinks: keys inside for every query, and queries that have themselves alone inside; None for none.
      pointers: keys inside for the queries of later blocks; None for none.
      order: with pointers, b: running number of the block.
      causal: A_t holds no key after t.
      horizon: p, at least 1: for so many later blocks; None for all.
      at: the T positions whose queries are asked for, the rows of all that is written out; None for all L.
    """

    block_ids: Int[Array, "B L"]
    doc_ids: Int[Array, "B L"] | None = None
    key_block_ids: Int[Array, "B L"] | None = None
    causal: bool = flax.struct.field(pytree_node=False, default=True)
    sinks: Bool[Array, "B L"] | None = None
    pointers: Bool[Array, "B L"] | None = None
    order: Int[Array, "B L"] | None = None
    horizon: int | None = flax.struct.field(pytree_node=False, default=None)
    at: Int[Array, "B T"] | None = None

    def rows(self, at: Int[Array, "B T"]) -> "Relation":
        """The same relation of the queries at these positions alone: nothing of size L × L is made."""
        return replace(self, at=at)

    def _asked(self, of_BxL: Shaped[Array, "B L"]) -> Shaped[Array, "B T 1"]:
        """What is known of every position, at the queries."""
        asked = of_BxL if self.at is None else jnp.take_along_axis(of_BxL, self.at, axis=1)
        return asked[:, :, None]

    def _positions(self) -> Int[Array, "#B T 1"]:
        """The positions of the queries."""
        length = self.block_ids.shape[1]
        return jnp.arange(length)[None, :, None] if self.at is None else self.at[:, :, None]

    def itself(self) -> Bool[Array, "#B 1 T L"]:
        """The query's own position."""
        return (self._positions() == jnp.arange(self.block_ids.shape[1])[None, None, :])[:, None]

    @property
    def _key_ids(self) -> Int[Array, "B L"]:
        return self.block_ids if self.key_block_ids is None else self.key_block_ids

    def masks(self, hard: bool = False) -> Masks:
        """The masks of soft attention, or those of `hard`, whose A_t is its part inside; a query without a
        key there attends to its own position, so no row is empty.
        """
        inside, attendable, itself = self.inside(), self.attendable(), self.itself()
        if hard:
            attendable = with_fallback(attendable & inside, itself)
        return Masks(attendable, inside, itself)

    def attendable(self) -> Bool[Array, "B 1 T L"]:
        """A_t: no later key if causal, no other document if documents are given, no padding.

        A padding position may attend to itself only, so no row is empty.
        """
        block_ids, doc_ids = self.block_ids, self.doc_ids
        real_keys = (block_ids != PADDING_ID) & (self._key_ids != PADDING_ID)
        mask = real_keys[:, None, :] & (self._asked(block_ids) != PADDING_ID)
        if self.causal:
            mask &= jnp.arange(block_ids.shape[1])[None, None, :] <= self._positions()
        if doc_ids is not None:
            mask &= self._asked(doc_ids) == doc_ids[:, None, :]
        return mask[:, None] | self.itself()

    def inside(self) -> Bool[Array, "B 1 T L"]:
        """Where the key counts as inside for the query; a global token does for every query, and every key
        does for a global query.
        """
        queries, keys = self._asked(self.block_ids), self._key_ids[:, None, :]
        inside = (queries == keys) | (queries == GLOBAL_ID) | (keys == GLOBAL_ID)
        if self.pointers is not None:
            inside |= self._pointed()
        if self.sinks is not None:
            itself = self.itself()[:, 0]
            inside = jnp.where(self._asked(self.sinks), itself, inside | self.sinks[:, None, :])
        return inside[:, None]

    def own(self) -> Bool[Array, "B 1 T L"]:
        """Where the key carries the query's own block id and is neither global nor a sink; nowhere for a
        global query, or a sink.
        """
        key_ids = self._key_ids
        own = (self._asked(self.block_ids) == key_ids[:, None, :]) & (key_ids != GLOBAL_ID)[:, None, :]
        if self.sinks is not None:
            own &= ~self.sinks[:, None, :] & ~self._asked(self.sinks)
        return own[:, None]

    def pointed(self) -> Bool[Array, "B 1 T L"] | None:
        """Where the key is inside as a pointer of an earlier block, and neither in the query's own nor a
        sink; None without pointers.
        """
        if self.pointers is None:
            return None
        pointed = self._pointed() & (self._asked(self.block_ids) != self._key_ids[:, None, :])
        if self.sinks is not None:
            pointed &= ~self.sinks[:, None, :] & ~self._asked(self.sinks)
        return pointed[:, None]

    def sunk(self) -> Bool[Array, "B 1 T L"] | None:
        """Where the key is inside as a sink; None without sinks."""
        if self.sinks is None:
            return None
        return jnp.where(self._asked(self.sinks), self.itself()[:, 0], self.sinks[:, None, :])[:, None]

    def _pointed(self) -> Bool[Array, "B T L"]:
        assert self.pointers is not None and self.order is not None, "pointers come with an order"
        later = self._asked(self.order) - self.order[:, None, :]
        near = later >= 1 if self.horizon is None else (later >= 1) & (later <= self.horizon)
        return near & self.pointers[:, None, :] & (self._asked(self.block_ids) != PADDING_ID)


def with_fallback(mask: Bool[Array, "B 1 T L"], itself: Bool[Array, "#B 1 T L"]) -> Bool[Array, "B 1 T L"]:
    """The same, and a query's own position where it has no key."""
    return mask | (itself & ~jnp.any(mask, axis=-1, keepdims=True))


def reach_through(masks: Sequence[Bool[Array, "*B L L"]]) -> Bool[Array, "*B L L"]:
    """R = (I ∨ M_N) · … · (I ∨ M_1): R[t, j] says whether token j can have influenced the logits at t.

    All else in a decoder works on one position at a time, and a residual stream keeps what it had: so a layer
    adds to t what its keys had reached below it. Logits at t depend on no other token: for all weights, for
    every input with these masks, exactly.

    Args:
      masks: of each layer, the first one first: the keys whose weight is not 0, as of `hard` attention.
    """
    itself = np.eye(masks[0].shape[-1], dtype=bool)
    reach = masks[0] | itself
    for mask in masks[1:]:
        # Counts of paths, at most L, are whole numbers that float32 has.
        reach = (mask | itself).astype(np.float32) @ reach.astype(np.float32) > 0.0
    return reach

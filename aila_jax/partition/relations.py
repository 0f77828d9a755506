"""Which keys a query may attend to, and which of them count as inside."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int, Shaped

from aila_jax.types import GLOBAL_ID, PADDING_ID, Array

ROWS = 128  # rows of masks that exist at once where masks are gone through row by row


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
      count: ids of blocks are below it, where that is known when it is compiled.
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
    count: int | None = flax.struct.field(pytree_node=False, default=None)

    @property
    def block_count(self) -> int | None:
        """Ids of blocks are below it; None where that is not known when it is compiled."""
        ids = [self.block_ids] if self.key_block_ids is None else [self.block_ids, self.key_block_ids]
        if self.count is not None:
            return self.count
        if any(isinstance(one, jax.core.Tracer) for one in ids):
            return None
        return 1 + max(0, *(int(np.max(one)) for one in ids))

    def rows(self, at: Int[Array, "B T"]) -> "Relation":
        """The same relation of the queries at these positions alone: nothing of size L × L is made."""
        return replace(self, at=at)

    def queries(self) -> "Side":
        """What is known of the queries that are asked for."""
        every = Side(self.block_ids, self._index, self.doc_ids, self.sinks, None, self.order)
        return every if self.at is None else every.at(self.at)

    def keys(self) -> "Side":
        """What is known of every key."""
        ids = self.block_ids
        if self.key_block_ids is not None:  # padding stays padding
            ids = jnp.where(ids == PADDING_ID, PADDING_ID, self.key_block_ids)
        return Side(ids, self._index, self.doc_ids, self.sinks, self.pointers, self.order)

    @property
    def _index(self) -> Int[Array, "1 L"]:
        return jnp.arange(self.block_ids.shape[1])[None]

    def whole(self) -> "Tile":
        """All keys, for the queries that are asked for."""
        return Tile(self.queries(), self.keys(), self.causal, self.horizon)

    def masks(self, hard: bool = False) -> Masks:
        """`Tile.masks` of all keys."""
        return self.whole().masks(hard)

    def attendable(self) -> Bool[Array, "B 1 T L"]:
        """`Tile.attendable` of all keys."""
        return self.whole().attendable()

    def inside(self) -> Bool[Array, "B 1 T L"]:
        """`Tile.inside` of all keys."""
        return self.whole().inside()

    def own(self) -> Bool[Array, "B 1 T L"]:
        """`Tile.own` of all keys."""
        return self.whole().own()

    def pointed(self) -> Bool[Array, "B 1 T L"] | None:
        """`Tile.pointed` of all keys."""
        return self.whole().pointed()

    def sunk(self) -> Bool[Array, "B 1 T L"] | None:
        """`Tile.sunk` of all keys."""
        return self.whole().sunk()


@flax.struct.dataclass
class Side:
    """What a relation knows of N queries, or of N keys.

    Attributes:
      blocks: their blocks.
      index: where they stand in the window.
      documents: of each; None where A_t crosses documents.
      sinks: which of them are; None for none.
      pointers: of keys, which of them are; None for none.
      order: with pointers, running number of the block.
    """

    blocks: Int[Array, "B N"]
    index: Int[Array, "#B N"]
    documents: Int[Array, "B N"] | None = None
    sinks: Bool[Array, "B N"] | None = None
    pointers: Bool[Array, "B N"] | None = None
    order: Int[Array, "B N"] | None = None

    def at(self, places: Int[Array, "B T"]) -> "Side":
        """Those at these places."""
        found = jax.tree.map(
            lambda of: jnp.take_along_axis(jnp.asarray(of), places, axis=1), replace(self, index=None)
        )
        return replace(found, index=places)

    def part(self, start: Int[Array, ""], size: int) -> "Side":
        """`size` of them in a row."""
        return jax.tree.map(lambda of: jax.lax.dynamic_slice_in_dim(of, start, size, axis=1), self)

    def padded(self, more: int) -> "Side":
        """With padding behind."""
        length = self.blocks.shape[1]

        def behind(of: Array) -> Array:
            ids = jnp.issubdtype(of.dtype, np.integer)  # the last document goes on
            return jnp.pad(of, ((0, 0), (0, more)), mode="edge" if ids else "constant")

        rest = jax.tree.map(behind, replace(self, blocks=None, index=None))
        blocks = jnp.pad(self.blocks, ((0, 0), (0, more)), constant_values=PADDING_ID)
        index = jnp.arange(length + more)[None]
        return replace(rest, blocks=blocks, index=index)


@flax.struct.dataclass
class Tile:
    """A relation of some queries and some keys, written out on demand.

    Attributes:
      queries: T of them.
      keys: S of them.
      causal: A_t holds no key after t.
      horizon: as in `Relation`.
    """

    queries: Side
    keys: Side
    causal: bool = flax.struct.field(pytree_node=False, default=True)
    horizon: int | None = flax.struct.field(pytree_node=False, default=None)

    def itself(self) -> Bool[Array, "#B 1 T S"]:
        """The query's own position."""
        return (self.queries.index[:, :, None] == self.keys.index[:, None, :])[:, None]

    def masks(self, hard: bool = False) -> Masks:
        """The masks of soft attention, or those of `hard`, whose A_t is its part inside; a query without a
        key there attends to its own position, so no row is empty.
        """
        inside, attendable, itself = self.inside(), self.attendable(), self.itself()
        if hard:
            attendable = with_fallback(attendable & inside, itself)
        return Masks(attendable, inside, itself)

    def attendable(self) -> Bool[Array, "B 1 T S"]:
        """A_t: no later key if causal, no other document if documents are given, no padding.

        A padding position may attend to itself only, so no row is empty.
        """
        queries, keys = self.queries, self.keys
        mask = (queries.blocks != PADDING_ID)[:, :, None] & (keys.blocks != PADDING_ID)[:, None, :]
        if self.causal:
            mask &= keys.index[:, None, :] <= queries.index[:, :, None]
        if queries.documents is not None and keys.documents is not None:
            mask &= queries.documents[:, :, None] == keys.documents[:, None, :]
        return mask[:, None] | self.itself()

    def inside(self) -> Bool[Array, "B 1 T S"]:
        """Where the key counts as inside for the query; a global token does for every query, and every key
        does for a global query.
        """
        queries, keys = self.queries.blocks[:, :, None], self.keys.blocks[:, None, :]
        inside = (queries == keys) | (queries == GLOBAL_ID) | (keys == GLOBAL_ID)
        if self.keys.pointers is not None:
            inside |= self._pointed()
        if self.queries.sinks is not None and self.keys.sinks is not None:
            itself = self.itself()[:, 0]
            inside = jnp.where(self.queries.sinks[:, :, None], itself, inside | self.keys.sinks[:, None, :])
        return inside[:, None]

    def own(self) -> Bool[Array, "B 1 T S"]:
        """Where the key carries the query's own block id and is neither global nor a sink; nowhere for a
        global query, or a sink.
        """
        blocks = self.keys.blocks
        own = (self.queries.blocks[:, :, None] == blocks[:, None, :]) & (blocks != GLOBAL_ID)[:, None, :]
        return self._no_sink(own)[:, None]

    def pointed(self) -> Bool[Array, "B 1 T S"] | None:
        """Where the key is inside as a pointer of an earlier block, and neither in the query's own nor a
        sink; None without pointers.
        """
        if self.keys.pointers is None:
            return None
        other = self.queries.blocks[:, :, None] != self.keys.blocks[:, None, :]
        return self._no_sink(self._pointed() & other)[:, None]

    def sunk(self) -> Bool[Array, "B 1 T S"] | None:
        """Where the key is inside as a sink; None without sinks."""
        if self.queries.sinks is None or self.keys.sinks is None:
            return None
        sinks = self.keys.sinks[:, None, :]
        return jnp.where(self.queries.sinks[:, :, None], self.itself()[:, 0], sinks)[:, None]

    def _no_sink(self, mask: Bool[Array, "B T S"]) -> Bool[Array, "B T S"]:
        if self.queries.sinks is None or self.keys.sinks is None:
            return mask
        return mask & ~self.keys.sinks[:, None, :] & ~self.queries.sinks[:, :, None]

    def _pointed(self) -> Bool[Array, "B T S"]:
        queries, keys = self.queries, self.keys
        assert queries.order is not None and keys.order is not None, "pointers come with an order"
        assert keys.pointers is not None
        later = queries.order[:, :, None] - keys.order[:, None, :]
        near = later >= 1 if self.horizon is None else (later >= 1) & (later <= self.horizon)
        return near & keys.pointers[:, None, :] & (queries.blocks != PADDING_ID)[:, :, None]


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


def reach_of_rows(
    layers: Sequence[Relation], at_BxT: Int[Array, "B T"], together: int = ROWS
) -> Bool[Array, "B T L"]:
    """The rows of `reach_through` at these positions, from the last layer to the first: nothing of L × L is
    made. Pure, and meant to run inside jit.

    Args:
      layers: relation of each layer, the first one first.
      at_BxT: the queries.
      together: rows of a mask that exist at once.
    """
    length = layers[0].block_ids.shape[1]
    reached = at_BxT[:, :, None] == jnp.arange(length)[None, None]
    for relation in reversed(layers):
        reached = reached | _one_step(relation, reached, together)
    return reached


def _one_step(relation: Relation, reached: Bool[Array, "B T L"], together: int) -> Bool[Array, "B T L"]:
    """What hard attention of the tokens that are reached has read."""
    rows, _, length = reached.shape

    def more(chunk: Int[Array, ""], found: Bool[Array, "B T L"]) -> Bool[Array, "B T L"]:
        # Beyond the end the last row comes again, which adds nothing.
        at = jnp.minimum(chunk * together + jnp.arange(together), length - 1)
        masks = relation.rows(jnp.broadcast_to(at, (rows, together))).masks(hard=True)
        # Counts of tokens, at most L, are whole numbers that float32 has.
        read = jnp.einsum(
            "btc,bcl->btl", reached[:, :, at].astype(jnp.float32), masks.attendable[:, 0].astype(jnp.float32)
        )
        return found | (read > 0.0)

    return jax.lax.fori_loop(0, -(-length // together), more, jnp.zeros_like(reached))


def rows_of(
    of_some: Callable[[Int[Array, "T"]], Shaped[Array, "B T"]], length: int, together: int = ROWS
) -> Shaped[Array, "B L"]:
    """What a function gives for queries at some positions, for all L, so many at a time. Pure, and meant to
    run inside jit.
    """
    together = min(together, length)

    def of_chunk(chunk: Int[Array, ""]) -> Shaped[Array, "B T"]:
        # Beyond the end the last query comes again, and is cut off.
        return of_some(jnp.minimum(chunk * together + jnp.arange(together), length - 1))

    found = jax.lax.map(of_chunk, jnp.arange(-(-length // together)))
    return jnp.moveaxis(found, 0, 1).reshape(found.shape[1], -1)[:, :length]

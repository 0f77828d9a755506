"""Which keys a query may attend to, and which of them lie inside its block."""

from dataclasses import dataclass

import flax.struct
import jax.numpy as jnp
from jaxtyping import Bool, Int

from aila_jax.types import GLOBAL_ID, PADDING_ID, Array


@dataclass(frozen=True, eq=False)
class Masks:
    """A relation written out over every query and key, axes [example, head, query, key].

    Attributes:
      attendable: A_t.
      inside: the keys that share t's block, whether they are in A_t or not.
    """

    attendable: Bool[Array, "B 1 L L"]
    inside: Bool[Array, "B 1 L L"]


@flax.struct.dataclass
class Relation:
    """What attention knows of blocks and documents: made once for a forward pass, read by all layers.

    Readers ask its methods, never its ids, so that other rules for what is inside, and attention that writes
    no L × L mask, need no change elsewhere.

    Attributes:
      block_ids: block of each query; PADDING_ID marks padding, GLOBAL_ID a token of every block.
      doc_ids: where given, A_t holds keys of t's document only.
      key_block_ids: blocks of the keys where they differ from those of the queries.
      causal: A_t holds no key after t.
    """

    block_ids: Int[Array, "B L"]
    doc_ids: Int[Array, "B L"] | None = None
    key_block_ids: Int[Array, "B L"] | None = None
    causal: bool = flax.struct.field(pytree_node=False, default=True)

    @property
    def _key_ids(self) -> Int[Array, "B L"]:
        return self.block_ids if self.key_block_ids is None else self.key_block_ids

    def masks(self, hard: bool = False) -> Masks:
        """The masks of soft attention, or those of `hard`, whose A_t is its part inside the block; a query
        without a key there attends to its own position, so no row is empty.
        """
        inside, attendable = self.inside(), self.attendable()
        if not hard:
            return Masks(attendable, inside)
        both = attendable & inside
        itself = jnp.eye(both.shape[-1], dtype=bool)[None, None]
        return Masks(both | (itself & ~jnp.any(both, axis=-1, keepdims=True)), inside)

    def attendable(self) -> Bool[Array, "B 1 L L"]:
        """A_t: no later key if causal, no other document if documents are given, no padding.

        A padding position may attend to itself only, so no row is empty.
        """
        block_ids, doc_ids = self.block_ids, self.doc_ids
        length = block_ids.shape[1]
        index = jnp.arange(length)
        real_keys = (block_ids != PADDING_ID) & (self._key_ids != PADDING_ID)
        mask = jnp.broadcast_to(real_keys[:, None, :], (block_ids.shape[0], length, length))
        mask &= (block_ids != PADDING_ID)[:, :, None]
        if self.causal:
            mask &= (index[None, :] <= index[:, None])[None]
        if doc_ids is not None:
            mask &= doc_ids[:, :, None] == doc_ids[:, None, :]
        return (mask | jnp.eye(length, dtype=bool)[None])[:, None]

    def inside(self) -> Bool[Array, "B 1 L L"]:
        """Where query and key share a block; a global token shares every block."""
        queries, keys = self.block_ids[:, :, None], self._key_ids[:, None, :]
        return ((queries == keys) | (queries == GLOBAL_ID) | (keys == GLOBAL_ID))[:, None]

    def own(self) -> Bool[Array, "B 1 L L"]:
        """Where the key carries the query's own block id and is not global; nowhere for a global query."""
        key_ids = self._key_ids
        own = (self.block_ids[:, :, None] == key_ids[:, None, :]) & (key_ids != GLOBAL_ID)[:, None, :]
        return own[:, None]

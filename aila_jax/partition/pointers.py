"""Pointers: tokens of a block that the queries of later blocks find inside.

All need blocks that are stretches of text. Whether a token of a finished block is a pointer depends on no
later token; those of a block that is not finished may change, but only queries of later blocks ask.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, UInt32

from aila_jax.cards import Card, Shown, shape, span
from aila_jax.types import GLOBAL_ID, PADDING_ID, Array, Batch

# jnp.cumsum and its like are one operation that XLA's CPU compiler fuses into the L × L masks that read its
# result, and so runs again for every pair.
Scan = jax.lax.associative_scan


@flax.struct.dataclass
class Stretches:
    """The blocks of a row where each is one stretch of text.

    Attributes:
      order: running number of the token's block in the row, from 0; a global token begins none, but the first
        token of a context does.
      first: order of the first block of the token's context: of its row, or, under a document mask, its
        document.
      member: tokens that are neither global nor padding.
      place: place of a member in its block, from 0.
      size: members of its block that are there.
    """

    order: Int[Array, "B L"]
    first: Int[Array, "B L"]
    member: Bool[Array, "B L"]
    place: Int[Array, "B L"]
    size: Int[Array, "B L"]

    @classmethod
    def of(cls, block_ids: Int[Array, "B L"], positions: Int[Array, "B L"]) -> "Stretches":
        """Those of these ids; where a position is 0 a context begins, and with it a block."""
        ids = jnp.asarray(block_ids)
        starts = (jnp.asarray(positions) == 0).at[:, 0].set(True)
        index = jnp.broadcast_to(jnp.arange(ids.shape[1], dtype=jnp.int32), ids.shape)
        started = Scan(jnp.maximum, jnp.where(starts, index, 0), axis=1)
        latest = Scan(jnp.maximum, jnp.where(ids != GLOBAL_ID, index, -1), axis=1)
        before = jnp.roll(latest, 1, axis=1).at[:, 0].set(-1)  # the last one before t that is not global
        other = ids != jnp.take_along_axis(ids, jnp.maximum(before, 0), axis=1)
        begins = starts | ((ids != GLOBAL_ID) & other & (before >= started))
        order = Scan(jnp.add, begins.astype(jnp.int32), axis=1) - 1
        first = Scan(jnp.maximum, jnp.where(starts, order, 0), axis=1)
        member = (ids != GLOBAL_ID) & (ids != PADDING_ID)
        count = Scan(jnp.add, member.astype(jnp.int32), axis=1)  # members up to here
        earlier = Scan(jnp.maximum, jnp.where(begins, count - member, 0), axis=1)  # than the block
        ends = jnp.roll(begins, -1, axis=1).at[:, -1].set(True)
        most = ids.shape[1] + 1
        through = Scan(jnp.minimum, jnp.where(ends, count, most), axis=1, reverse=True)
        return cls(order, first, member, count - earlier - 1, through - earlier)


@flax.struct.dataclass
class Ends:
    """The last token of each block.

    Attributes:
      horizon: later blocks that find it inside, at least 1; None for all.
    """

    horizon: int | None = flax.struct.field(pytree_node=False, default=None)

    def of(self, batch: Batch, stretches: Stretches) -> Bool[Array, "B L"]:
        """Which tokens are pointers. A pure function, usable inside jit."""
        return stretches.member & (stretches.place == stretches.size - 1)


@flax.struct.dataclass(repr=False)
class LowestEntropy(Shown):
    """Anchors: the min(k, max(n − 1, 1)) tokens of lowest local entropy of each block of n; ties go to the
    earlier one.

    Attributes:
      table: local entropy of each type, by the bigrams of the training split (`corpus_entropy`).
      k: pointers of a block, at least 1.
      horizon: later blocks that find them inside, at least 1; None for all.
    """

    table: Float[Array, "V"]
    k: int = flax.struct.field(pytree_node=False, default=1)
    horizon: int | None = flax.struct.field(pytree_node=False, default=None)

    def of(self, batch: Batch, stretches: Stretches) -> Bool[Array, "B L"]:
        """Which tokens are pointers. A pure function, usable inside jit."""
        entropy = jnp.asarray(self.table)[jnp.asarray(batch.tokens)]
        last = stretches.order.shape[1]
        order = jnp.where(stretches.member, stretches.order, last)
        sorts = jnp.lexsort((entropy, order), axis=-1)  # stable: ties stay in the order of the text
        ranked = jnp.argsort(sorts, axis=-1)  # place of each token among all
        rank = ranked - _members_before(stretches)
        return stretches.member & (rank < jnp.minimum(self.k, jnp.maximum(stretches.size - 1, 1)))

    def card(self) -> Card:
        facts = {"entropy of types": span(self.table), "horizon": self.horizon or "all later blocks"}
        return Card(f"LowestEntropy: {self.k} a block, {shape(self.table)}", facts)


@flax.struct.dataclass
class RandomToken:
    """One token of each block, at a place that a hash of the seed and the block's number gives: a control.

    Attributes:
      seed: of the hash.
      horizon: later blocks that find it inside, at least 1; None for all.
    """

    seed: int = flax.struct.field(pytree_node=False, default=0)
    horizon: int | None = flax.struct.field(pytree_node=False, default=None)

    def of(self, batch: Batch, stretches: Stretches) -> Bool[Array, "B L"]:
        """Which tokens are pointers. A pure function, usable inside jit."""
        number = (stretches.order - stretches.first).astype(jnp.uint32)
        chosen = mixed(number, self.seed) % jnp.maximum(stretches.size, 1).astype(jnp.uint32)
        return stretches.member & (stretches.place.astype(jnp.uint32) == chosen)


Pointers = Ends | LowestEntropy | RandomToken


def mixed(number: UInt32[Array, "..."], seed: int) -> UInt32[Array, "..."]:
    """A hash of 32 bits: the finalizer of MurmurHash3 over the number and a multiple of the seed."""
    x = number + jnp.uint32((seed * 0x9E3779B9 + 0x85EBCA6B) % 2**32)
    for multiplier, shift in ((0x85EBCA6B, 16), (0xC2B2AE35, 13)):
        x = (x ^ (x >> shift)) * jnp.uint32(multiplier)
    return x ^ (x >> 16)


def _members_before(stretches: Stretches) -> Int[Array, "B L"]:
    """Members of all earlier blocks of the row."""
    count = Scan(jnp.add, stretches.member.astype(jnp.int32), axis=1)
    return count - stretches.place - 1

"""Pairs of query and key whose attention is measured, written out tile by tile."""

from typing import Protocol, runtime_checkable

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Int

from aila_jax.types import PADDING_ID, Array

Stretch = tuple[int | Int[Array, ""], int]  # the first of some positions, and how many they are


@runtime_checkable
class Pairs(Protocol):
    """Which keys each query is pointed at."""

    def tile(self, queries: Stretch, keys: Stretch) -> Bool[Array, "B T S"]:
        """For the queries and the keys of two stretches."""
        ...

    def padded(self, more: int) -> "Pairs":
        """With so many positions behind, which are in no pair."""
        ...

    def whole(self) -> Bool[Array, "B L L"]:
        """For all queries and keys: L² numbers, which is for the reference alone."""
        ...


@flax.struct.dataclass
class KeysOfBlock:
    """The marked keys of the query's own block.

    Attributes:
      blocks: of each position.
      marked: of the keys.
    """

    blocks: Int[Array, "B L"]
    marked: Bool[Array, "B L"]

    def tile(self, queries: Stretch, keys: Stretch) -> Bool[Array, "B T S"]:
        same = _part(self.blocks, queries)[:, :, None] == _part(self.blocks, keys)[:, None, :]
        return same & _part(self.marked, keys)[:, None, :]

    def padded(self, more: int) -> "KeysOfBlock":
        return KeysOfBlock(_behind(self.blocks, more, PADDING_ID), _behind(self.marked, more, False))

    def whole(self) -> Bool[Array, "B L L"]:
        every = (0, self.blocks.shape[1])
        return self.tile(every, every)


@flax.struct.dataclass
class KeyOfQuery:
    """One key of each query.

    Attributes:
      places: where it stands; −1 for none.
    """

    places: Int[Array, "B L"]

    def tile(self, queries: Stretch, keys: Stretch) -> Bool[Array, "B T S"]:
        first, count = keys
        return _part(self.places, queries)[:, :, None] == (first + jnp.arange(count))[None, None, :]

    def padded(self, more: int) -> "KeyOfQuery":
        return KeyOfQuery(_behind(self.places, more, -1))

    def whole(self) -> Bool[Array, "B L L"]:
        every = (0, self.places.shape[1])
        return self.tile(every, every)


@flax.struct.dataclass
class WrittenPairs:
    """Pairs that somebody has written out.

    Attributes:
      mask: [query, key].
    """

    mask: Bool[Array, "B L L"]

    def tile(self, queries: Stretch, keys: Stretch) -> Bool[Array, "B T S"]:
        rows = _part(self.mask, queries)
        return jax.lax.dynamic_slice_in_dim(rows, *keys, axis=2)

    def padded(self, more: int) -> "WrittenPairs":
        return WrittenPairs(jnp.pad(self.mask, ((0, 0), (0, more), (0, more))))

    def whole(self) -> Bool[Array, "B L L"]:
        return self.mask


def _part(of: Array, stretch: Stretch) -> Array:
    return jax.lax.dynamic_slice_in_dim(of, *stretch, axis=1)


def _behind(of: Array, more: int, value: int | bool) -> Array:
    return jnp.pad(of, ((0, 0), (0, more)), constant_values=value)

"""How a partition cuts text: keys a query finds in its block, blocks a window, their sizes. Sums that add
over batches.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from aila_jax.types import GLOBAL_ID, PADDING_ID


@dataclass(frozen=True)
class BlockStatistics:
    """What `BlockSums` say.

    Attributes:
      tokens: that were read.
      windows: that were read.
      n_in: mean number of keys in a query's block, itself and global keys included, causal.
      n_local: without global keys.
      share_two: share of queries with two or more keys in their block.
      blocks: mean number of blocks of a window.
      size_mean: tokens a block, inside one window.
      size_median: the same.
      size_largest: the same.
    """

    tokens: int
    windows: int
    n_in: float
    n_local: float
    share_two: float
    blocks: float
    size_mean: float
    size_median: float
    size_largest: int


@dataclass(frozen=True, eq=False)
class BlockSums:
    """Exact sums over windows.

    Attributes:
      queries: tokens that are no padding.
      windows: windows that hold any.
      n_in: in-block keys over all queries.
      n_local: the same without global keys.
      two: queries with n_in of 2 or more.
      sizes: how many blocks have 0, 1, … L tokens.
    """

    queries: int
    windows: int
    n_in: int
    n_local: int
    two: int
    sizes: Int[np.ndarray, "sizes"]

    def __add__(self, other: "BlockSums") -> "BlockSums":
        longest = max(len(self.sizes), len(other.sizes))
        sizes = sum(np.pad(one.sizes, (0, longest - len(one.sizes))) for one in (self, other))
        names = ("queries", "windows", "n_in", "n_local", "two")
        return BlockSums(
            **{name: getattr(self, name) + getattr(other, name) for name in names}, sizes=np.asarray(sizes)
        )

    def statistics(self) -> BlockStatistics:
        """Means and sizes.

        Raises:
          ValueError: nothing but padding was read.
        """
        if not self.queries:
            raise ValueError(
                "the windows hold 0 tokens; block statistics need at least 1. Fix: read windows that are not"
                " all padding"
            )
        blocks, size = int(self.sizes.sum()), np.arange(len(self.sizes))
        tokens = int(self.sizes @ size)
        return BlockStatistics(
            tokens=self.queries,
            windows=self.windows,
            n_in=self.n_in / self.queries,
            n_local=self.n_local / self.queries,
            share_two=self.two / self.queries,
            blocks=blocks / self.windows,
            size_mean=tokens / max(blocks, 1),
            size_median=_median(self.sizes),
            size_largest=int(size[self.sizes > 0].max(initial=0)),
        )


def block_sums(block_ids: Int[np.ndarray, "B L"], doc_ids: Int[np.ndarray, "B L"] | None = None) -> BlockSums:
    """The sums of B windows.

    Args:
      block_ids: from a partition.
      doc_ids: under a document mask, so that no key and no block lies in two documents; each document's
        tokens stand together.
    """
    real = block_ids != PADDING_ID
    local, sizes = _places(block_ids, doc_ids)
    n_in = _with_global(block_ids, local, doc_ids)
    n_local = np.where(block_ids == GLOBAL_ID, 0, local)
    return BlockSums(
        queries=int(real.sum()),
        windows=int(real.any(axis=1).sum()),
        n_in=int(n_in[real].sum()),
        n_local=int(n_local[real].sum()),
        two=int((n_in[real] >= 2).sum()),
        sizes=sizes,
    )


def total(parts: Iterable[BlockSums]) -> BlockSums:
    """The sum of sums."""
    return sum(parts, start=BlockSums(0, 0, 0, 0, 0, np.zeros(1, np.int64)))


def in_block_keys(
    block_ids: Int[np.ndarray, "B L"],
    doc_ids: Int[np.ndarray, "B L"] | None = None,
    bidirectional: bool = False,
) -> Int[np.ndarray, "B L"]:
    """n_in of every query: keys in its block, itself and global keys included; 1 at padding.

    Sorted by block, so that no L × L array is made.

    Args:
      block_ids: see `block_sums`.
      doc_ids: see `block_sums`.
      bidirectional: keys after the query count too, not only those at or before it.
    """
    before = _with_global(block_ids, _places(block_ids, doc_ids)[0], doc_ids)
    if not bidirectional:
        return before
    turned = None if doc_ids is None else doc_ids[:, ::-1]
    return before + in_block_keys(block_ids[:, ::-1], turned)[:, ::-1] - 1  # itself is in both


def _places(
    block_ids: Int[np.ndarray, "B L"], doc_ids: Int[np.ndarray, "B L"] | None
) -> tuple[Int[np.ndarray, "B L"], Int[np.ndarray, "sizes"]]:
    """Each token's place in its block, from 1, and how many blocks have 0, 1, … L tokens; padding counts 1
    and is no block.
    """
    keys = block_ids.astype(np.int64)
    if doc_ids is not None:
        keys = keys + (doc_ids.astype(np.int64) << 32)
    order = np.argsort(keys, axis=1, kind="stable")
    ranked = np.take_along_axis(keys, order, axis=1)
    first = np.ones(keys.shape, bool)
    first[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    place = np.empty(keys.shape, np.int64)
    np.put_along_axis(place, order, 1 + _since(first), axis=1)
    last = np.ones(keys.shape, bool)
    last[:, :-1] = first[:, 1:]
    closing = last & (np.take_along_axis(block_ids, order, axis=1) >= 0)
    sizes = np.bincount(np.take_along_axis(place, order, axis=1)[closing], minlength=2)
    return np.where(block_ids == PADDING_ID, 1, place), sizes


def _with_global(
    block_ids: Int[np.ndarray, "B L"], place: Int[np.ndarray, "B L"], doc_ids: Int[np.ndarray, "B L"] | None
) -> Int[np.ndarray, "B L"]:
    """n_in from places: a global token finds every key before it, the others also find the global ones."""
    everywhere, real = block_ids == GLOBAL_ID, block_ids != PADDING_ID
    starts = np.zeros(block_ids.shape, bool)
    starts[:, 0] = True
    if doc_ids is not None:
        starts[:, 1:] = doc_ids[:, 1:] != doc_ids[:, :-1]
    seen_global, seen = _count(everywhere, starts), _count(real, starts)
    return np.where(everywhere, seen, np.where(real, place + seen_global, 1))


def _since(starts: Bool[np.ndarray, "B L"]) -> Int[np.ndarray, "B L"]:
    """Positions since the last start."""
    index = np.broadcast_to(np.arange(starts.shape[1]), starts.shape)
    return index - np.maximum.accumulate(np.where(starts, index, 0), axis=1)


def _count(what: Bool[np.ndarray, "B L"], starts: Bool[np.ndarray, "B L"]) -> Int[np.ndarray, "B L"]:
    """How often `what` was true from the last start up to each position."""
    running = np.cumsum(what, axis=1)
    before = running - what
    index = np.broadcast_to(np.arange(what.shape[1]), what.shape) - _since(starts)
    return running - np.take_along_axis(before, index, axis=1)


def _median(sizes: Int[np.ndarray, "sizes"]) -> float:
    """The median of a histogram: the mean of the two middle blocks; 0 where there are none."""
    blocks = int(sizes.sum())
    if not blocks:
        return 0.0
    below = np.cumsum(sizes)
    return float(
        np.mean([np.searchsorted(below, middle, side="right") for middle in ((blocks - 1) // 2, blocks // 2)])
    )

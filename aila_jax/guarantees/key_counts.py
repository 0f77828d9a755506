"""How many keys a query has inside its block and outside it: for every text, or for one."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from aila_jax.cards import Card, Shown, count, span
from aila_jax.config import PartitionConfig, PartitionKind
from aila_jax.types import GLOBAL_ID, PADDING_ID


@dataclass(frozen=True, eq=False, repr=False)
class KeyCounts(Shown):
    """Keys of each query under the causal mask.

    Attributes:
      n_in: keys in the query's block, itself among them.
      n_out: keys outside it.
      queries: how many queries have these counts; 1 each for the positions of one window.
      worst: n_in is the least of any text and n_out the most, since the blocks depend on the tokens; else
        they are what they are.
    """

    n_in: Int[np.ndarray, "T"]
    n_out: Int[np.ndarray, "T"]
    queries: Int[np.ndarray, "T"]
    worst: bool = False

    def accompanied(self) -> "KeyCounts":
        """The queries with a key in their block besides themselves; of worst cases, the worst among those."""
        n_in, n_out = self.n_in, self.n_out
        if self.worst:
            n_keys = n_in + n_out
            n_in = np.maximum(n_in, np.minimum(2, n_keys))
            n_out = n_keys - n_in
        kept = n_in >= 2
        return KeyCounts(n_in[kept], n_out[kept], self.queries[kept], self.worst)

    def card(self) -> Card:
        worst = ", the worst of any text" if self.worst else ""
        facts = {"keys inside": span(self.n_in, 1), "keys outside": span(self.n_out, 1)}
        return Card(f"KeyCounts: {count(int(np.sum(self.queries)), 'query', 'queries')}{worst}", facts)


def counts_of_every_text(partition: PartitionConfig, length: int) -> KeyCounts:
    """The counts at positions 0 … length − 1 that no text falls below (n_in) or exceeds (n_out).

    Windows are places, so every text has these very counts. For blocks that depend on the tokens the worst
    case is a query alone in its block: n_in = 1. With `global_first` position 0 is a key of every block, and
    a query of every block. Further documents inside the window would add keys of every block, and queries of
    every block: n_in only grows, so these counts are the worst case then too. Under a document mask, read
    "position in the document".
    """
    position = np.arange(length)
    windows = partition.kind == PartitionKind.WINDOWS
    n_in = position % partition.size + 1 if windows else np.ones_like(position)
    if partition.global_first:
        n_in = n_in + (position >= partition.size if windows else position >= 1)
    return KeyCounts(
        n_in, position + 1 - n_in, np.ones_like(position), worst=not windows or partition.global_first
    )


def counts_in_order(
    block_ids: Int[np.ndarray, "B L"], doc_ids: Int[np.ndarray, "B L"] | None = None
) -> KeyCounts:
    """The counts of the real queries of these rows as causal attention has them, one by one in their order.

    Args:
      block_ids: −1 at padding, −2 for a token of every block.
      doc_ids: under a document mask.
    """
    n_in, n_keys = keys_in_block(block_ids, doc_ids)
    real = block_ids != PADDING_ID
    return KeyCounts(n_in[real], n_keys[real] - n_in[real], np.ones(int(real.sum()), np.int64))


def counts_of(block_ids: Int[np.ndarray, "B L"], doc_ids: Int[np.ndarray, "B L"] | None = None) -> KeyCounts:
    """The distinct counts among those of `counts_in_order`, and how many queries have each."""
    return merge_counts([counts_in_order(block_ids, doc_ids)])


def merge_counts(parts: list[KeyCounts]) -> KeyCounts:
    """The counts of several sets of rows as those of one."""
    n_in, n_out, queries = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("n_in", "n_out", "queries")
    )
    pairs, which = np.unique(np.stack([n_in, n_out]), axis=1, return_inverse=True)
    total = np.zeros(pairs.shape[1], np.int64)
    np.add.at(total, which.reshape(-1), queries)
    return KeyCounts(pairs[0], pairs[1], total)


def keys_in_block(
    block_ids: Int[np.ndarray, "B L"], doc_ids: Int[np.ndarray, "B L"] | None = None
) -> tuple[Int[np.ndarray, "B L"], Int[np.ndarray, "B L"]]:
    """n_in and n_in + n_out of every position under the causal mask, by running counts: no [L, L] array.
    Padding has 1 and 1.
    """
    block_ids = np.asarray(block_ids)
    documents = np.zeros_like(block_ids) if doc_ids is None else np.asarray(doc_ids)
    real = block_ids != PADDING_ID
    rows = np.broadcast_to(np.arange(len(block_ids))[:, None], block_ids.shape)
    is_global = real & (block_ids == GLOBAL_ID)
    n_keys = _running(rows, documents, np.where(real, 0, 1), where=real)
    n_global = _running(rows, documents, np.zeros_like(block_ids), where=is_global)
    own = _running(rows, documents, block_ids, where=real)
    n_in = np.where(is_global, n_keys, own + n_global)
    return np.where(real, n_in, 1), np.where(real, n_keys, 1)


def _running(
    rows: Int[np.ndarray, "B L"],
    documents: Int[np.ndarray, "B L"],
    labels: Int[np.ndarray, "B L"],
    where: Bool[np.ndarray, "B L"],
) -> Int[np.ndarray, "B L"]:
    """At each position, how many positions up to it have its row, document and label, of those in `where`."""
    shape = labels.shape
    keys = np.stack([labels.ravel(), documents.ravel(), rows.ravel()])
    order = np.lexsort(keys)  # stable: positions stay in order inside a group
    sorted_keys = keys[:, order]
    counted = np.cumsum(where.ravel()[order])
    starts = np.ones(len(order), bool)
    starts[1:] = (sorted_keys[:, 1:] != sorted_keys[:, :-1]).any(axis=0)
    before = np.where(starts, counted - where.ravel()[order], 0)
    result = np.empty(len(order), np.int64)
    result[order] = counted - np.maximum.accumulate(before)
    return result.reshape(shape)

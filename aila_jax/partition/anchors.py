"""Anchors: the tokens of a block, or the types of a class, that have the lowest local entropy, ranked by one
frozen table.
"""

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from aila_jax.cards import Card, Shown, shape, span
from aila_jax.partition.relations import rows_of
from aila_jax.types import GLOBAL_ID, PADDING_ID, Array, Batch

MIN_IMPORTANCE = 0.01  # of the mean


@flax.struct.dataclass(repr=False)
class Anchors(Shown):
    """A frozen table that ranks token types, and what was made from it at the end of warm-up.

    Attributes:
      table: local entropy of each type as a share of its largest possible value, in [0, 1]; low is an anchor.
      counts: occurrences that each entry was measured on; a type with 0 has the largest entry of the measured
        ones.
      importance: of each of G feature groups, mean 1 (`ImportanceSums.importance`).
      k: anchors of a block, at most one less than its tokens.
      estimator: `corpus` or `attention`.
      types: anchors are types, as for classes, and not single tokens.
    """

    table: Float[Array, "V"]
    counts: Int[Array, "V"]
    importance: Float[Array, "G"]
    k: int = flax.struct.field(pytree_node=False, default=3)
    estimator: str = flax.struct.field(pytree_node=False, default="corpus")
    types: bool = flax.struct.field(pytree_node=False, default=False)

    def of(self, batch: Batch, block_ids: Int[Array, "B L"], document_mask: bool) -> Bool[Array, "B L"]:
        """Which tokens of a batch are anchors; under a document mask a block ends with its document. See
        `select_anchors`.
        """
        return select_anchors(
            batch.tokens, block_ids, self.table, self.k, batch.doc_ids if document_mask else None, self.types
        )

    def card(self) -> Card:
        facts = {"entropy of types": span(self.table), "importance of groups": span(self.importance)}
        of = "types of a class" if self.types else "tokens of a block"
        return Card(f"Anchors: {self.k} {of}, {self.estimator}, {shape(self.table)}", facts)


def select_anchors(
    tokens: Int[Array, "B L"],
    block_ids: Int[Array, "B L"],
    table: Float[Array, "V"],
    k: int,
    doc_ids: Int[Array, "B L"] | None = None,
    types: bool = False,
) -> Bool[Array, "B L"]:
    """True at the min(k, n − 1) tokens of lowest table entropy of each block of n tokens; ties go to the
    earlier position.

    With `types`, for classes: at every occurrence of the min(k, n − 1) types of lowest table entropy of each
    block of n types; ties go to the type that is there earlier. Otherwise the first few places of one
    frequent type would be all the anchors of a class.

    Padding and tokens of every block (GLOBAL_ID) are in no block: they are never anchors and do not count in
    n. A block of one token, or type, has no anchor. The choice looks at the whole block, so it measures
    attention and is never fed to the model.

    Args:
      tokens: of the positions.
      block_ids: of the positions.
      table: local entropy of each type.
      k: at least 1 (static).
      doc_ids: under a document mask, so that equal ids in two documents are two blocks.
      types: see above (static).
    Source: paper (3 to 5 anchors a block, lowest local entropy); ties, n − 1, types and frozen table ours
      (docs/method.md, section 4).
    """
    tokens, block_ids = jnp.asarray(tokens), jnp.asarray(block_ids)
    entropy = jnp.asarray(table)[tokens]
    member = (block_ids != PADDING_ID) & (block_ids != GLOBAL_ID)
    labels = [block_ids] if doc_ids is None else [block_ids, jnp.asarray(doc_ids)]
    index = jnp.arange(tokens.shape[1])[None]

    def together(at: Int[Array, "T"], *more: Int[Array, "B L"]) -> Bool[Array, "B T L"]:
        """Whether a key has the same labels as the query at a position."""
        same = [of[:, at][:, :, None] == of[:, None, :] for of in (*labels, *more)]
        return jnp.stack(same).all(axis=0) & member[:, at][:, :, None]

    place, counted = jnp.broadcast_to(index, tokens.shape), member  # by which ties are broken; who is ranked
    if types:

        def first(at: Int[Array, "T"]) -> Int[Array, "B T"]:
            return jnp.min(jnp.where(together(at, tokens), index[:, None], tokens.shape[1]), axis=-1)

        place = rows_of(first, tokens.shape[1])  # the first of its type
        counted = place == index

    def anchors(at: Int[Array, "T"]) -> Bool[Array, "B T"]:
        ranked = together(at) & counted[:, None, :]
        own, others = entropy[:, at][:, :, None], entropy[:, None, :]
        earlier = place[:, None, :] < place[:, at][:, :, None]
        rank = jnp.sum(ranked & ((others < own) | ((others == own) & earlier)), axis=-1)
        return rank < jnp.minimum(k, jnp.sum(ranked, axis=-1) - 1)

    return member & rows_of(anchors, tokens.shape[1])


class ImportanceSums:
    """Adds up, over batches, how low the entropy of each block's anchors is, by feature group. Float64 on the
    host.
    """

    def __init__(self, groups: int):
        """`groups`: G, at least 1; block b belongs to group b mod G."""
        self._sums, self._blocks = np.zeros(groups), np.zeros(groups, np.int64)

    def add(
        self,
        tokens: Int[np.ndarray, "B L"],
        block_ids: Int[np.ndarray, "B L"],
        is_anchor: Bool[np.ndarray, "B L"],
        table: Float[np.ndarray, "V"],
        doc_ids: Int[np.ndarray, "B L"] | None = None,
    ) -> None:
        """Counts the blocks of one batch. `doc_ids` as in `select_anchors`."""
        rows, places = np.nonzero(is_anchor)
        if not len(rows):
            return
        documents = np.zeros_like(rows) if doc_ids is None else doc_ids[rows, places]
        ids = block_ids[rows, places]
        lowness = 1.0 - np.asarray(table, np.float64)[tokens[rows, places]]
        blocks, which = np.unique(np.stack([rows, documents, ids]), axis=1, return_inverse=True)
        which = which.reshape(-1)
        means = np.bincount(which, lowness) / np.bincount(which)
        groups = blocks[2] % len(self._sums)
        self._sums += np.bincount(groups, means, len(self._sums))
        self._blocks += np.bincount(groups, minlength=len(self._sums))

    def importance(self) -> Float[np.ndarray, "G"]:
        """Mean over a group's blocks of the mean over their anchors of (1 − entropy), divided by the groups'
        mean.

        A group without a block that has anchors gets 1, the mean; so do all where every anchor's entropy is
        the largest. A group of less than a hundredth of the mean counts as a hundredth, so that weights may
        divide by it.
        Source: ours (docs/method.md, section 4).
        """
        seen = self._blocks > 0
        means = self._sums[seen] / self._blocks[seen]
        importance = np.ones(len(self._sums))
        if seen.any() and means.mean() > 0:
            importance[seen] = np.maximum(means / means.mean(), MIN_IMPORTANCE)
        return (importance / importance.mean()).astype(np.float32)

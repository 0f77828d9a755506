"""What a relation makes of text: keys inside by layer and by kind, and how far back information can come
from.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from aila_jax import formats
from aila_jax.columns import Column
from aila_jax.partition.relations import ROWS, Relation, reach_of_rows
from aila_jax.partition.rules import Blocks, Rules
from aila_jax.types import PADDING_ID, Array, Batch


@dataclass(frozen=True)
class LayerKeys:
    """Mean keys inside of a query in one layer, causal.

    Attributes:
      layer: counted from 0.
      n_in: all of them, itself included.
      own: of its own block, and global ones.
      pointers: of earlier blocks.
      sinks: first tokens; of a sink, itself.
    """

    layer: int
    n_in: Annotated[float, Column("keys inside", formats.fixed)]
    own: Annotated[float, Column("own block", formats.fixed)]
    pointers: Annotated[float, Column("pointers", formats.fixed)]
    sinks: Annotated[float, Column("sink", formats.fixed)]


@dataclass(frozen=True)
class RelationStatistics:
    """What a relation makes of text.

    Attributes:
      layers: keys inside, layer by layer.
      n_in: mean over layers.
      reach: mean number of tokens that can have influenced a query through all layers of hard attention,
        itself
        included: |R[t]|, R = (I ∨ M_N) … (I ∨ M_1).
      reach_largest: of one query.
    """

    layers: tuple[LayerKeys, ...]
    n_in: float
    reach: float
    reach_largest: int


def relation_statistics(
    rules: Rules, partition: Any, batches: Iterable[Batch], document_mask: bool
) -> RelationStatistics:
    """The statistics over all tokens of the batches.

    Args:
      rules: of the relation.
      partition: of its blocks.
      batches: windows.
      document_mask: whether a query sees its own document alone.

    Raises:
      ValueError: nothing but padding was read.
    """
    sums, queries, reach, largest = np.zeros((4, rules.layers)), 0, 0, 0
    for batch in batches:
        counts, far, real = _counts(rules, partition, batch, document_mask)
        sums += np.asarray(counts, np.float64)
        queries += int(real)
        reach += int(np.asarray(far, np.int64).sum())
        largest = max(largest, int(np.max(far)))
    if not queries:
        raise ValueError("the windows hold 0 tokens; statistics need at least 1. Fix: read other windows")
    means = sums / queries
    layers = tuple(LayerKeys(layer, *map(float, means[:, layer])) for layer in range(rules.layers))
    return RelationStatistics(layers, float(means[0].mean()), reach / queries, largest)


@partial(jax.jit, static_argnames="document_mask")
def _counts(rules: Rules, partition: Any, batch: Batch, document_mask: bool) -> tuple[Array, Array, Array]:
    """Keys [kind, layer] over all queries, the reach of each query, and how many queries there are."""
    blocks = rules(batch, partition)
    doc_ids = jnp.asarray(batch.doc_ids)

    def row(given: tuple[Blocks, Array]) -> tuple[Array, Array]:
        own, docs = jax.tree.map(lambda array: array[None], given)
        every = [own.of_layer(layer, docs if document_mask else None) for layer in range(rules.layers)]
        return _of_row(every, docs)

    # One window after another, and so many queries: the masks of all of them need not exist at once.
    counts, far = jax.lax.map(row, (blocks, doc_ids))
    return jnp.sum(counts, axis=0), far, jnp.sum(doc_ids != PADDING_ID)


def _of_row(every: list[Relation], docs: Int[Array, "1 L"]) -> tuple[Array, Array]:
    """Keys [kind, layer] of one window, and the reach of each query."""
    length = docs.shape[1]
    chunks = -(-length // ROWS)

    def of_chunk(chunk: Int[Array, ""]) -> tuple[Array, Array]:
        index = chunk * ROWS + jnp.arange(ROWS)
        at = jnp.minimum(index, length - 1)[None]
        real = (index < length) & (docs[0, at[0]] != PADDING_ID)
        counts = jnp.stack([_keys(one.rows(at), real) for one in every], axis=1)
        far = jnp.sum(reach_of_rows(every, at)[0], axis=-1).astype(jnp.int32)
        return counts, far * real

    counts, far = jax.lax.map(of_chunk, jnp.arange(chunks))
    return jnp.sum(counts, axis=0), far.reshape(-1)[:length]


def _keys(relation: Relation, real: Array) -> Array:
    """Keys inside over the real ones of the queries that are asked for: all, own, pointers, sinks."""
    seen = relation.attendable()[0, 0] & real[:, None]

    def count(mask: Array | None) -> Array:
        return jnp.zeros((), jnp.int32) if mask is None else jnp.sum(mask[0, 0] & seen)

    inside, pointed, sunk = map(count, (relation.inside(), relation.pointed(), relation.sunk()))
    return jnp.stack([inside, inside - pointed - sunk, pointed, sunk])

"""Rules for what is inside beyond "same block", layer by layer: sinks, shifted blocks, pointers, a partition
for each layer.
"""

from dataclasses import replace
from typing import Any

import flax.struct
import jax.numpy as jnp
from jaxtyping import Bool, Int

from aila_jax.partition.kinds import Classes, Given, Segments, Windows, document_starts, finish
from aila_jax.partition.pointers import Pointers, Stretches
from aila_jax.partition.relations import Relation
from aila_jax.types import PADDING_ID, Array, Batch


@flax.struct.dataclass
class Blocks:
    """What a forward pass reads of blocks.

    Attributes:
      ids: of the partition, by which blocks are counted and shown.
      layers: the relation of each layer, causal and without documents; a single one is that of all layers.
    """

    ids: Int[Array, "B L"]
    layers: tuple[Relation, ...]

    @classmethod
    def same(cls, ids: Int[Array, "B L"]) -> "Blocks":
        """Equal blocks in all layers, and nothing else."""
        return cls(ids, (Relation(ids),))

    def rows(self, at: Int[Array, "B T"]) -> "Blocks":
        """What the queries at these positions read of the blocks of the whole window."""
        own = jnp.take_along_axis(self.ids, at, axis=1)
        return Blocks(own, tuple(relation.rows(at) for relation in self.layers))

    def of_layer(self, layer: int, doc_ids: Int[Array, "B L"] | None = None, causal: bool = True) -> Relation:
        """The relation of a layer, counted from 0; under a document mask, with documents."""
        found = self.layers[layer if len(self.layers) > 1 else 0]
        return replace(found, doc_ids=doc_ids, causal=causal)


@flax.struct.dataclass
class Everything:
    """One block that holds all tokens: a global layer.

    Attributes:
      global_first: give the first token of each document `GLOBAL_ID`, as the partition does in other layers.
    """

    global_first: bool = flax.struct.field(pytree_node=False, default=False)

    def __call__(self, batch: Batch) -> Int[Array, "B L"]:
        """Block ids of every position; PADDING_ID at padding. A pure function, usable inside jit."""
        return finish(jnp.zeros_like(jnp.asarray(batch.doc_ids)), batch, self.global_first)


@flax.struct.dataclass
class Rules:
    """A pure function from a batch and a partition to the `Blocks` of a forward pass; usable inside jit.

    Attributes:
      sink: the first token of each document, and of each window, is inside for every query; its own query has
        itself alone.
      shift: 0 for none; with windows tokens by which they move from one layer to the next, with segments and
        given ids 1: two make a block, in every second layer with the other neighbour.
      pointers: the tokens that later blocks find inside; None for none.
      partitions: of each layer; None in it is the partition that the rules are applied to. Empty where all
        layers have that one.
      layers: N, of the model.
      length: positions that the model has; 0 where that is not known. It bounds the number of windows.
    """

    sink: bool = flax.struct.field(pytree_node=False, default=False)
    shift: int = flax.struct.field(pytree_node=False, default=0)
    pointers: Pointers | None = None
    partitions: tuple[Any, ...] = ()
    layers: int = flax.struct.field(pytree_node=False, default=1)
    length: int = flax.struct.field(pytree_node=False, default=0)

    @property
    def plain(self) -> bool:
        """Whether inside is what shares a block, the same in all layers."""
        return not (self.sink or self.shift or self.pointers is not None or self.partitions)

    @property
    def by_layer(self) -> bool:
        """Whether layers differ."""
        return bool(self.shift or self.partitions)

    def __call__(self, batch: Batch, partition: Any) -> Blocks:
        """The blocks of `batch`, whose ids are those of `partition`."""
        ids = partition(batch)
        sinks = None
        if self.sink:
            doc_ids = jnp.asarray(batch.doc_ids)
            sinks = document_starts(doc_ids) & (doc_ids != PADDING_ID)
        found = []
        for layer in range(self.layers if self.by_layer else 1):
            own = self.partitions[layer] if self.partitions else None
            layer_ids = ids if own is None else own(batch)
            if self.shift:
                layer_ids = shifted(layer_ids, partition, batch, self.shift, layer)
            found.append(self._relation(layer_ids, batch, sinks, isinstance(own, Everything)))
        count = self._count(partition)
        return Blocks(ids, tuple(replace(relation, count=count) for relation in found))

    def _count(self, partition: Any) -> int | None:
        """What ids of all layers are below, one number, so that layers can run as a loop; None where it is
        not known when the model is compiled.
        """
        counts = [self._count_of(partition if own is None else own) for own in self.partitions or (None,)]
        known = [count for count in counts if count is not None]
        return max(known) if len(known) == len(counts) else None

    def _count_of(self, partition: Any) -> int | None:
        if isinstance(partition, Windows) and self.length:
            return -(-self.length // partition.size) + bool(self.shift)
        if isinstance(partition, Everything):
            return 1
        classes = partition.names if isinstance(partition, Classes) else ()
        return len(classes) or None

    def _relation(
        self, ids: Int[Array, "B L"], batch: Batch, sinks: Bool[Array, "B L"] | None, whole: bool
    ) -> Relation:
        if self.pointers is None:
            return Relation(ids, sinks=sinks)
        stretches = Stretches.of(ids, batch.positions)
        pointers = jnp.zeros_like(stretches.member) if whole else self.pointers.of(batch, stretches)
        horizon = self.pointers.horizon
        return Relation(ids, sinks=sinks, pointers=pointers, order=stretches.order, horizon=horizon)


def shifted(
    ids: Int[Array, "B L"], partition: Any, batch: Batch, shift: int, layer: int
) -> Int[Array, "B L"]:
    """Block ids in a layer: windows moved by shift · ℓ tokens, (position − shift · ℓ) // size and none
    negative; segments and given ids in pairs, (segment + ℓ mod 2) // 2.
    """
    if isinstance(partition, Windows):
        moved = shift * layer
        up = -(-moved // partition.size)
        new = (jnp.asarray(batch.positions) - moved) // partition.size + up
    else:
        number = ids
        if isinstance(partition, Given):
            stretches = Stretches.of(ids, batch.positions)
            number = stretches.order - stretches.first
        new = (number + layer % 2) // 2
    return jnp.where(ids >= 0, new, ids).astype(jnp.int32)


PLAIN = Rules()
SHIFTED_KINDS = (Windows, Segments, Given)

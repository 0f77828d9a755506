"""Segments: stretches of text that end with a boundary token."""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Int

from aila_jax.partition.rules import finish
from aila_jax.types import Array, Batch


@flax.struct.dataclass
class Segments:
    """Block id = number of boundary tokens before t, so the boundary token closes its segment (ours).

    Counted from position 0: from the window's start, or, under a document mask, from the document's. A later
    token changes nothing.

    Attributes:
      boundary: whether a token of each type closes a segment.
      global_first: give the first token of each document `GLOBAL_ID`, so that it belongs to every block.
      vocabulary: fingerprint of the tokenizer whose types these are; empty where it is not known.
    """

    boundary: Bool[Array, "V"]
    global_first: bool = flax.struct.field(pytree_node=False, default=False)
    vocabulary: str = flax.struct.field(pytree_node=False, default="")

    def __call__(self, batch: Batch) -> Int[Array, "B L"]:
        """Block ids of every position; PADDING_ID at padding. A pure function, usable inside jit."""
        closes = jnp.asarray(self.boundary)[jnp.asarray(batch.tokens)].astype(jnp.int32)
        # jnp.cumsum is one operation that XLA's CPU compiler fuses into the L × L masks that read the ids,
        # and so does again for every pair.
        before = jax.lax.associative_scan(jnp.add, closes, axis=1) - closes
        index = jnp.arange(before.shape[1])[None, :]
        starts = index - jnp.asarray(batch.positions)
        return finish(before - jnp.take_along_axis(before, starts, axis=1), batch, self.global_first)

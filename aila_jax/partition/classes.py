"""Classes: tokens of one class share a block, wherever they stand."""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Int

from aila_jax.partition.rules import finish
from aila_jax.types import Array, Batch


@flax.struct.dataclass
class Classes:
    """Block id = class of the token's type (paper: part-of-speech classes).

    Attributes:
      table: class of each type, from 0.
      global_first: give the first token of each document `GLOBAL_ID`, so that it belongs to every block.
      names: of the classes, for people; may be empty.
      vocabulary: fingerprint of the tokenizer whose types these are; empty where it is not known.
      note: a line for people on where the classes come from; may be empty.
    """

    table: Int[Array, "V"]
    global_first: bool = flax.struct.field(pytree_node=False, default=False)
    names: tuple[str, ...] = flax.struct.field(pytree_node=False, default=())
    vocabulary: str = flax.struct.field(pytree_node=False, default="")
    note: str = flax.struct.field(pytree_node=False, default="")

    def __call__(self, batch: Batch) -> Int[Array, "B L"]:
        """Block ids of every position; PADDING_ID at padding. A pure function, usable inside jit."""
        ids = jnp.asarray(self.table)[jnp.asarray(batch.tokens)]
        return finish(ids, batch, self.global_first)

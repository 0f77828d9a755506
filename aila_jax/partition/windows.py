"""Windows: blocks of a fixed number of positions."""

import flax.struct
import jax.numpy as jnp
from jaxtyping import Int

from aila_jax.partition.rules import finish
from aila_jax.types import Array, Batch


@flax.struct.dataclass
class Windows:
    """Block id = position // size (paper: size 5).

    Attributes:
      size: positions a block, at least 1.
      global_first: give the first token of each document `GLOBAL_ID`, so that it belongs to every block.
    """

    size: int = flax.struct.field(pytree_node=False, default=5)
    global_first: bool = flax.struct.field(pytree_node=False, default=False)

    def __call__(self, batch: Batch) -> Int[Array, "B L"]:
        """Block ids of every position; PADDING_ID at padding. A pure function, usable inside jit."""
        return finish(jnp.asarray(batch.positions) // self.size, batch, self.global_first)

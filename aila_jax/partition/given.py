"""Given: block ids that come with the data."""

from collections.abc import Sequence

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from aila_jax.config import Config, require
from aila_jax.partition.rules import finish
from aila_jax.types import Array, Batch


@flax.struct.dataclass
class Given:
    """Block id = the id that packing carried beside the token: its line, field, record part, annotated block,
    or the caller's own number.

    Attributes:
      global_first: give the first token of each document `GLOBAL_ID`, so that it belongs to every block.
    """

    global_first: bool = flax.struct.field(pytree_node=False, default=False)

    def __call__(self, batch: Batch) -> Int[Array, "B L"]:
        """Block ids of every position; PADDING_ID at padding. A pure function, usable inside jit."""
        return finish(jnp.asarray(batch.given_ids), batch, self.global_first)


def line_blocks(tokens: Sequence[int], eos_id: int) -> Int[np.ndarray, "L"]:
    """Block ids of a text that no corpus packed: a line end closes a block."""
    ends = np.asarray(tokens[:-1], np.int32) == eos_id
    return np.concatenate([[0], np.cumsum(ends)]).astype(np.int32)


def text_blocks(config: Config, tokens: Sequence[int], eos_id: int) -> list[int] | None:
    """Block ids of a text that came without: lines for the partition `given`, None for the others, which need
    none.

    Raises:
      ValueError: the model's blocks are an annotation that no text by itself has.
    """
    if config.partition.kind != "given":
        return None
    require(
        not config.annotated,
        "block_ids",
        None,
        f"given for a text where blocks are the annotation's {config.data.conllu_blocks}, which a text by"
        " itself does not have",
        "pass block_ids in Python, one for each token",
    )
    return line_blocks(tokens, eos_id).tolist()

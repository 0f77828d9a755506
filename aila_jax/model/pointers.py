"""What pointer fidelity looks at, as [query, key] masks: the anchors of the query's block, or known
answers.
"""

import jax.numpy as jnp
from jaxtyping import Bool, Int

from aila_jax.types import Array


def anchor_pointers(is_anchor: Bool[Array, "B L"], block_ids: Int[Array, "B L"]) -> Bool[Array, "B L L"]:
    """True where the key is an anchor of the query's own block. A query of every block (GLOBAL_ID) has none.

    Attention keeps what lies in A_t, so documents need no mention here.
    """
    return (block_ids[:, :, None] == block_ids[:, None, :]) & is_anchor[:, None, :]


def answer_pointers(pointers: Int[Array, "B L"]) -> Bool[Array, "B L L"]:
    """True where the key is the query's known answer position (`Batch.pointers`, −1 for none)."""
    return jnp.asarray(pointers)[:, :, None] == jnp.arange(pointers.shape[1])[None, None, :]

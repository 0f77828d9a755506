"""What every partition does in the same way: padding and global tokens."""

import jax.numpy as jnp
from jaxtyping import Bool, Int

from aila_jax.types import GLOBAL_ID, PADDING_ID, Array, Batch


def document_starts(doc_ids: Int[Array, "B L"]) -> Bool[Array, "B L"]:
    """True at the first token of each document inside its window (position 0 included)."""
    previous = jnp.concatenate([jnp.full_like(doc_ids[:, :1], PADDING_ID), doc_ids[:, :-1]], axis=1)
    return (doc_ids != previous).at[:, 0].set(True)


def finish(ids: Int[Array, "B L"], batch: Batch, global_first: bool) -> Int[Array, "B L"]:
    """Puts GLOBAL_ID at document starts where asked, and PADDING_ID at padding."""
    doc_ids = jnp.asarray(batch.doc_ids)
    if global_first:
        ids = jnp.where(document_starts(doc_ids), GLOBAL_ID, ids)
    return jnp.where(doc_ids == PADDING_ID, PADDING_ID, ids).astype(jnp.int32)

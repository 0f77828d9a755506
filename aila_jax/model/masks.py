"""Which keys a query may attend to, and which of them lie in its block."""

import jax.numpy as jnp
from jaxtyping import Bool, Int

from aila_jax.types import GLOBAL_ID, PADDING_ID, Array


def attendable(
    block_ids: Int[Array, "B L"], key_ids: Int[Array, "B L"], doc_ids: Int[Array, "B L"] | None, causal: bool
) -> Bool[Array, "B 1 L L"]:
    """A_t as a mask [query, key]: no later key if causal, no other document if `doc_ids` are given, no
    padding.

    A padding position may attend to itself only, so no row is empty.
    """
    length = block_ids.shape[1]
    index = jnp.arange(length)
    real_keys = (block_ids != PADDING_ID) & (key_ids != PADDING_ID)
    mask = jnp.broadcast_to(real_keys[:, None, :], (block_ids.shape[0], length, length))
    mask &= (block_ids != PADDING_ID)[:, :, None]
    if causal:
        mask &= (index[None, :] <= index[:, None])[None]
    if doc_ids is not None:
        mask &= doc_ids[:, :, None] == doc_ids[:, None, :]
    return (mask | jnp.eye(length, dtype=bool)[None])[:, None]


def inside_block(mask: Bool[Array, "B 1 L L"], same: Bool[Array, "B 1 L L"]) -> Bool[Array, "B 1 L L"]:
    """The part of A_t in the query's block; a query without a key there attends to its own position, so no
    row is empty.
    """
    inside = mask & same
    return inside | (
        jnp.eye(mask.shape[-1], dtype=bool)[None, None] & ~jnp.any(inside, axis=-1, keepdims=True)
    )


def same_block(query_ids: Int[Array, "B L"], key_ids: Int[Array, "B L"]) -> Bool[Array, "B 1 L L"]:
    """True where query and key share a block; a global token shares every block."""
    queries, keys = query_ids[:, :, None], key_ids[:, None, :]
    return ((queries == keys) | (queries == GLOBAL_ID) | (keys == GLOBAL_ID))[:, None]


def anchor_pointers(is_anchor: Bool[Array, "B L"], block_ids: Int[Array, "B L"]) -> Bool[Array, "B L L"]:
    """True where the key is an anchor of the query's own block. A query of every block (GLOBAL_ID) has none.

    Attention keeps what lies in A_t, so documents need no mention here.
    """
    return (block_ids[:, :, None] == block_ids[:, None, :]) & is_anchor[:, None, :]


def answer_pointers(pointers: Int[Array, "B L"]) -> Bool[Array, "B L L"]:
    """True where the key is the query's known answer position (`Batch.pointers`, −1 for none)."""
    return jnp.asarray(pointers)[:, :, None] == jnp.arange(pointers.shape[1])[None, None, :]

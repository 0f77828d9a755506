"""Shape glossary and the dataclasses that the stages exchange.

Shape letters, used as suffixes of array names (``scores_BxHxLxL``) and in jaxtyping annotations:

    B batch      L length (a query or a key position)    D model width    H heads    K = D / H head width
    F feed-forward width    N layers    V vocabulary            G feature groups of the D input coordinates

Reserved ids:

    PADDING_ID = -1   document id and block id of a padding position; it attends to itself only and has weight
    0 GLOBAL_ID  = -2   block id of a token that belongs to every block
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

PADDING_ID = -1
GLOBAL_ID = -2

Array = Any  # a jax.Array inside a jitted function, a numpy.ndarray on the host


@flax.struct.dataclass
class Batch:
    """B windows of L tokens, as packing makes them and the model reads them.

    Attributes:
      tokens: input token ids, 0 at padding.
      targets: the next token of each input token, 0 where there is none to score.
      weights: 1.0 where the target is scored, 0.0 elsewhere.
      positions: position of the token in its window, or, under a document mask, in its document's part of the
        window.
      doc_ids: number of the token's document inside its split; PADDING_ID at padding.
      given_ids: number of the token's piece (line, field, record part) inside its split, or of its annotated
        block, for the partition `Given`; PADDING_ID at padding.
      pointers: on rule corpora, position in the window of what determines the target, −1 where the rule does
        not determine it or that position is not in the window; None for other data.
    """

    tokens: Int[Array, "B L"]
    targets: Int[Array, "B L"]
    weights: Float[Array, "B L"]
    positions: Int[Array, "B L"]
    doc_ids: Int[Array, "B L"]
    given_ids: Int[Array, "B L"]
    pointers: Int[Array, "B L"] | None = None

    @classmethod
    def from_tokens(
        cls,
        tokens: Int[Array, "B L"],
        given_ids: Int[Array, "B L"] | None = None,
        doc_ids: Int[Array, "B L"] | None = None,
    ) -> "Batch":
        """A batch for token ids that do not come from a packed corpus: one document a row, targets are the
        next tokens. Its arrays are NumPy's, and JAX's inside a caller's `jit`.
        """
        given = [ids for ids in (tokens, given_ids, doc_ids) if ids is not None]
        xp = jnp if any(isinstance(ids, jax.core.Tracer) for ids in given) else np
        tokens = xp.asarray(tokens, np.int32)
        if tokens.ndim != 2:
            raise ValueError(
                f"tokens has shape {tokens.shape}; it must be [batch, length]. Fix: pass [tokens] for one"
                " text"
            )
        rows, length = tokens.shape
        for name, ids in (("block_ids", given_ids), ("doc_ids", doc_ids)):
            if ids is not None and np.shape(ids) != tokens.shape:
                raise ValueError(
                    f"{name} has shape {np.shape(ids)}; it must be that of tokens, {tokens.shape}. Fix: one"
                    " id per token"
                )
        doc_ids = (
            np.repeat(np.arange(rows, dtype=np.int32)[:, None], length, axis=1)
            if doc_ids is None
            else xp.asarray(doc_ids, np.int32)
        )
        given_ids = xp.where(doc_ids == PADDING_ID, PADDING_ID, 0) if given_ids is None else given_ids
        targets = xp.concatenate([tokens[:, 1:], np.zeros((rows, 1), np.int32)], axis=1)
        scored = (doc_ids[:, 1:] == doc_ids[:, :-1]) & (doc_ids[:, 1:] != PADDING_ID)
        weights = xp.concatenate([scored, np.zeros((rows, 1), bool)], axis=1).astype(np.float32)
        positions = restarting_positions(doc_ids)
        return cls(tokens, targets, weights, positions, doc_ids, xp.asarray(given_ids, np.int32))


def restarting_positions(doc_ids: Int[Array, "B L"]) -> Int[Array, "B L"]:
    """Positions that start again at 0 wherever the document id changes inside a row."""
    traced = isinstance(doc_ids, jax.core.Tracer)
    xp = jnp if traced else np
    index = np.broadcast_to(np.arange(doc_ids.shape[1], dtype=np.int32), doc_ids.shape)
    first = np.ones((doc_ids.shape[0], min(doc_ids.shape[1], 1)), bool)
    starts = xp.concatenate([first, doc_ids[:, 1:] != doc_ids[:, :-1]], axis=1)
    latest = xp.where(starts, index, 0)
    latest = jax.lax.cummax(latest, axis=1) if traced else np.maximum.accumulate(latest, axis=1)
    return (index - latest).astype(np.int32)

"""What a loaded model is given: token ids with their blocks and documents, and a factor of λ for each
layer.
"""

import reprlib
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int

from aila_jax.config import Config, PartitionKind
from aila_jax.types import GLOBAL_ID, PADDING_ID, Batch, restarting_positions


def read_batch(
    config: Config, vocab_size: int, tokens: Any, block_ids: Any = None, doc_ids: Any = None
) -> Batch:
    """Token ids as the model reads them; raises ValueError for what it cannot read. Arguments as in
    `LanguageModel.apply`.
    """
    most = np.iinfo(np.int32).max
    tokens = _ids(
        "tokens",
        tokens,
        0,
        vocab_size - 1,
        "encode with model.tokenizer; [model.tokenizer.encode(text)] for one text",
    )
    block_ids = (
        None
        if block_ids is None
        else _ids("block_ids", block_ids, GLOBAL_ID, most, "number the blocks from 0")
    )
    doc_ids = (
        None if doc_ids is None else _ids("doc_ids", doc_ids, PADDING_ID, most, "number the documents from 0")
    )
    batch = Batch.from_tokens(tokens, block_ids, doc_ids)
    rows, length = batch.tokens.shape
    if length > config.model.length:
        raise ValueError(
            f"tokens has length {length}; the model reads at most {config.model.length}. Fix: split the text"
            " into windows"
        )
    if config.partition.kind == PartitionKind.GIVEN and block_ids is None:
        raise ValueError(
            "block_ids is None; this model's partition is `given`. Fix: pass block_ids, one id per token"
        )
    if config.partition.kind != PartitionKind.GIVEN and block_ids is not None:
        raise ValueError(
            f"block_ids is given, but this model's partition is {config.partition.kind!r}. Fix: leave it out,"
            " or train with partition.kind=given"
        )
    if block_ids is not None and doc_ids is None:
        padding = np.asarray(block_ids) == PADDING_ID
        batch = replace(batch, doc_ids=np.where(padding, PADDING_ID, batch.doc_ids).astype(np.int32))
    _check_documents(np.asarray(batch.doc_ids), config.model.document_mask)
    if config.model.document_mask:
        return batch
    return replace(batch, positions=np.broadcast_to(np.arange(length, dtype=np.int32), (rows, length)))


def _ids(name: str, values: Any, least: int, most: int, fix: str) -> Int[np.ndarray, "..."]:
    """As an array; raises ValueError for a text, rows of several lengths, whatever else is no whole numbers,
    and ids outside the limits.
    """
    try:
        array = np.asarray(values)
    except ValueError:  # rows of several lengths
        array = np.asarray(values, object)
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"{name} is {reprlib.repr(values)}; it must be whole numbers, [batch, length], rows of one"
            f" length. Fix: {fix}"
        )
    outside = array[(array < least) | (array > most)]  # before int32 would wrap them into the limits
    if outside.size:
        raise ValueError(f"{name} holds the id {outside.flat[0]}; ids run from {least} to {most}. Fix: {fix}")
    return array


def _check_documents(doc_ids: Int[np.ndarray, "B L"], document_mask: bool) -> None:
    """Raises ValueError where padding stands before a token, or a document comes back: certificates count
    keys by their places.
    """
    padding = doc_ids == PADDING_ID
    if (padding[:, :-1] & ~padding[:, 1:]).any():
        raise ValueError(
            f"doc_ids (or block_ids) has padding ({PADDING_ID}) before a token; padding must be at the end of"
            " a row. Fix: move it there"
        )
    starts = restarting_positions(doc_ids) == 0
    for row in range(len(doc_ids)) if document_mask else ():
        found, times = np.unique(doc_ids[row][starts[row]], return_counts=True)
        if (times > 1).any():
            again = found[times > 1][0]
            raise ValueError(
                f"doc_ids has the document {again} in two places of row {row}; a document must be in one"
                " piece. Fix: give each piece an id"
            )


def example_batch(config: Config) -> Batch:
    """A batch of zeros of one window, for shapes."""
    return Batch.from_tokens(np.zeros((1, config.model.length), np.int32))

"""What a loaded model is given: token ids with their blocks and documents, and a factor of λ for each layer."""

import reprlib
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from aila_jax.config import Config
from aila_jax.types import PADDING_ID, Array, Batch, restarting_positions


def read_batch(config: Config, vocab_size: int, tokens: Any, block_ids: Any = None, doc_ids: Any = None) -> Batch:
    """Token ids as the model reads them; raises ValueError for what it cannot read. Arguments as in `LanguageModel.apply`."""
    ids = (("tokens", tokens), ("block_ids", block_ids), ("doc_ids", doc_ids))
    batch = Batch.from_tokens(*(None if values is None else _whole_numbers(name, values) for name, values in ids))
    rows, length = batch.tokens.shape
    if length > config.model.length:
        raise ValueError(f"tokens has length {length}; the model reads at most {config.model.length}. Fix: split the text into windows")
    if batch.tokens.size and not 0 <= batch.tokens.min() <= batch.tokens.max() < vocab_size:
        worst = batch.tokens.max() if batch.tokens.min() >= 0 else batch.tokens.min()
        raise ValueError(f"tokens holds the id {worst}; ids run from 0 to {vocab_size - 1}. Fix: encode with model.tokenizer")
    if config.partition.kind == "given" and block_ids is None:
        raise ValueError("block_ids is None; this model's partition is `given`. Fix: pass block_ids, one id per token")
    if config.partition.kind != "given" and block_ids is not None:
        raise ValueError(
            f"block_ids is given, but this model's partition is {config.partition.kind!r}. Fix: leave it out, or train with partition.kind=given"
        )
    if block_ids is not None and doc_ids is None:
        padding = np.asarray(block_ids) == PADDING_ID
        batch = replace(batch, doc_ids=np.where(padding, PADDING_ID, batch.doc_ids).astype(np.int32))
    _check_documents(np.asarray(batch.doc_ids), config.model.document_mask)
    if config.model.document_mask:
        return batch
    return replace(batch, positions=np.broadcast_to(np.arange(length, dtype=np.int32), (rows, length)))


def _whole_numbers(name: str, values: Any) -> Int[np.ndarray, "..."]:
    """As an array; raises ValueError for a text, rows of several lengths, and whatever else is no array of whole numbers."""
    try:
        array = np.asarray(values)
    except ValueError:  # rows of several lengths
        array = np.asarray(values, object)
    if not np.issubdtype(array.dtype, np.integer):
        fix = "[model.tokenizer.encode(text)] for a text" if name == "tokens" else "one id per token"
        raise ValueError(f"{name} is {reprlib.repr(values)}; it must be whole numbers, [batch, length], rows of one length. Fix: {fix}")
    return array


def _check_documents(doc_ids: Int[np.ndarray, "B L"], document_mask: bool) -> None:
    """Raises ValueError where padding stands before a token, or a document comes back: certificates count keys by their places."""
    padding = doc_ids == PADDING_ID
    if (padding[:, :-1] & ~padding[:, 1:]).any():
        raise ValueError(
            f"doc_ids (or block_ids) has padding ({PADDING_ID}) before a token; padding must be at the end of a row. Fix: move it there"
        )
    starts = restarting_positions(doc_ids) == 0
    for row in range(len(doc_ids)) if document_mask else ():
        found, times = np.unique(doc_ids[row][starts[row]], return_counts=True)
        if (times > 1).any():
            again = found[times > 1][0]
            raise ValueError(
                f"doc_ids has the document {again} in two places of row {row}; a document must be in one piece. Fix: give each piece an id"
            )


def check_layer_scale(scale: Any, n_layers: int) -> Float[Array, "N"]:
    """layer_scale as float32 [N]; raises ValueError for another shape or, where the values are known, one outside [0, 1]."""
    array = jnp.asarray(scale, jnp.float32)
    known = not isinstance(array, jax.core.Tracer)
    if array.shape != (n_layers,) or (known and not bool(jnp.all((array >= 0) & (array <= 1)))):
        raise ValueError(
            f"layer_scale is {scale!r}; it must be {n_layers} numbers in [0, 1], one a layer. Fix: leave it out for the configuration's"
        )
    return array


def example_batch(config: Config) -> Batch:
    """A batch of zeros of one window, for shapes."""
    return Batch.from_tokens(np.zeros((1, config.model.length), np.int32))

"""What a loaded model is given: token ids with their blocks and documents, and a factor of λ for each
layer.
"""

import json
import reprlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from aila_jax.config import Config, PartitionKind, require
from aila_jax.config.checks import plain, whole
from aila_jax.data.text_files import read_record
from aila_jax.data.tokenizer import Tokenizer
from aila_jax.model.arguments import any_array, is_traced
from aila_jax.partition.kinds import text_blocks
from aila_jax.partition.returning import refuse_returning
from aila_jax.types import GLOBAL_ID, PADDING_ID, Array, Batch, restarting_positions

if TYPE_CHECKING:
    from aila_jax.inference.language_model import LanguageModel


def read_text(
    model: "LanguageModel", text: str | Sequence[int], block_ids: Sequence[int] | None = None
) -> tuple[list[int], list[int] | None]:
    """The token ids of a text and, for the partition `given`, the block of each: those that are given, or
    those that the text would have had in training. A text has the begin token before it where the model wants
    one (`data.begin`), and block ids that are given count it; token ids are taken as they are.

    Where blocks are fields with line ends of their own, the text may be a record, as in training:
    {"blocks": ["…", "…"]}.

    Raises:
      ValueError: no text or token ids, no token, or blocks that the text by itself does not show.
    """
    given = model.given if model.config.partition.kind == PartitionKind.GIVEN and block_ids is None else None
    tokenizer = model.tokenizer
    if isinstance(text, str) and given in ("fields", "unknown") and (fields := _record_fields(text)):
        encoded = tokenizer.encode_pieces(fields)
        encoded[0] = [*begin_ids(model), *encoded[0]]
        ids = [number for number, tokens in enumerate(encoded) for _ in tokens]
        return [token for tokens in encoded for token in tokens][:-1], ids[:-1]  # no line end follows a text
    tokens = _token_ids(tokenizer, text)
    if isinstance(text, str):
        tokens = [*begin_ids(model), *tokens]
    if block_ids is not None:
        row = _block_row(block_ids, tokens)
        refuse_returning(model.config, row[None], None)
        return tokens, row.tolist()
    return tokens, None if given is None else text_blocks(given, tokens, tokenizer.eos_id)


def begin_ids(model: "LanguageModel") -> list[int]:
    """The begin token that a text of this model has before it (`data.begin`); none where there is none."""
    begin = model.config.data.begin
    return [model.tokenizer.type_id(begin)] if begin else []


def check_sink(config: Config, tokenizer: Tokenizer) -> None:
    """ValueError where the sink of a pretrained model has no begin token to be: it leans on one that carries
    nothing, and a token of the text would carry that to every block.
    """
    some = ", ".join(tokenizer.special_ids) or "which this tokenizer has none of"
    limit = "False for a pretrained model whose texts have no begin token"
    fix = f"begin= (--config.data.begin=) one of its special tokens ({some}), or a relation without a sink"
    require(not config.relation.sink or bool(config.data.begin), "relation.sink", True, limit, fix)


def several(text: Any) -> bool:
    """Whether these are several texts, in a list or tuple, and not one text or its token ids."""
    return isinstance(text, list | tuple) and len(text) > 0 and not all(whole(plain(one)) for one in text)


def read_texts(
    model: "LanguageModel", texts: Any, block_ids: Any = None, empty: bool = False
) -> tuple[tuple[Any, ...], tuple[list[int], ...], tuple[list[int], ...] | None]:
    """`read_text` of one text or a list of them: what was given, the token ids of each and their blocks.

    Args:
      model: whose tokenizer and partition.
      texts: a text or its token ids, or a list of them.
      block_ids: of one text one id per token, of a list a list of them, in which None stands for those that
        the text would have had in training.
      empty: a text of no token is read as such, not refused.

    Raises:
      ValueError: as `read_text`, for the first text that is wrong; or another number of block ids than texts.
    """
    many = several(texts)
    given = tuple(texts) if many else (texts,)
    rows: Sequence[Any] = [None] * len(given)
    if block_ids is not None:
        fix = "one id per token, in a list for each text of a list"
        fits = not many or (isinstance(block_ids, list | tuple) and len(block_ids) == len(given))
        require(fits, "block_ids", block_ids, f"{len(given)} rows, one for each text", fix)
        rows = block_ids if many else [block_ids]
    read = [_read_one(model, text, row, empty) for text, row in zip(given, rows, strict=True)]
    check_unneeded_blocks(model.config, block_ids)
    ids, blocks = tuple(tokens for tokens, _ in read), [found for _, found in read if found is not None]
    return given, ids, tuple(blocks) if blocks else None


def _read_one(
    model: "LanguageModel", text: Any, block_ids: Any, empty: bool
) -> tuple[list[int], list[int] | None]:
    sized = isinstance(text, str | list | tuple) or (isinstance(text, np.ndarray) and text.ndim > 0)
    if empty and sized and len(text) == 0:
        return [], [] if model.config.partition.kind == PartitionKind.GIVEN else None
    return read_text(model, text, block_ids)


def _record_fields(text: str) -> tuple[str, ...]:
    """The fields of a text that is a record with "blocks"; none where it is no record."""
    if not text.lstrip().startswith("{"):
        return ()
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    return read_record(text, "the text")[0] if isinstance(record, dict) and "blocks" in record else ()


def read_batch(
    config: Config, vocab_size: int, tokens: Any, block_ids: Any = None, doc_ids: Any = None
) -> Batch:
    """Token ids as the model reads them; raises ValueError for what it cannot read. Arguments as in
    `LanguageModel.apply`.

    Ids that are traced are taken as they are: their types and shapes are checked, their values cannot be.
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
    require(
        rows > 0 and length > 0,
        "tokens.shape",
        (rows, length),
        "at least one row of one token",
        "write some text",
    )
    if length > config.model.length:
        raise ValueError(
            f"tokens has length {length}; the model reads at most {config.model.length}. Fix: split the text"
            " into windows"
        )
    if config.partition.kind == PartitionKind.GIVEN and block_ids is None:
        raise ValueError(
            "block_ids is None; this model's partition is `given`. Fix: pass block_ids, one id per token"
        )
    check_unneeded_blocks(config, block_ids)
    if block_ids is not None and doc_ids is None:
        where = jnp.where if is_traced(block_ids) else np.where
        doc_ids = where(block_ids == PADDING_ID, PADDING_ID, batch.doc_ids).astype(np.int32)
        batch = replace(batch, doc_ids=doc_ids)
    if not is_traced(batch.doc_ids):
        _check_documents(np.asarray(batch.doc_ids), config.model.document_mask)
        if block_ids is not None and not is_traced(block_ids):
            refuse_returning(config, np.asarray(block_ids), np.asarray(batch.doc_ids))
    if config.model.document_mask:
        return batch
    return replace(batch, positions=np.broadcast_to(np.arange(length, dtype=np.int32), (rows, length)))


def check_unneeded_blocks(config: Config, block_ids: Any) -> None:
    """Raises ValueError where blocks are given that the partition does not read."""
    if config.partition.kind != PartitionKind.GIVEN and block_ids is not None:
        raise ValueError(
            f"block_ids is given, but this model's partition is {config.partition.kind!r}. Fix: leave it out,"
            " or train with partition.kind=given"
        )


def _ids(name: str, values: Any, least: int, most: int, fix: str) -> Int[Array, "..."]:
    """As an array; raises ValueError for a text, rows of several lengths, whatever else is no whole numbers,
    and known ids outside the limits.
    """
    array = any_array(values)
    if array is None or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"{name} is {reprlib.repr(values)}; it must be whole numbers, [batch, length], rows of one"
            f" length. Fix: {fix}"
        )
    if is_traced(array):
        return array
    array = np.asarray(array)
    outside = array[(array < least) | (array > most)]  # before int32 would wrap them into the limits
    if outside.size:
        raise ValueError(f"{name} holds the id {outside.flat[0]}; ids run from {least} to {most}. Fix: {fix}")
    return array


def _token_ids(tokenizer: Tokenizer, text: str | Sequence[int]) -> list[int]:
    """The ids of a text, or those that are given in its place.

    Raises:
      ValueError: neither a text nor whole numbers, ids outside the vocabulary, or no token.
    """
    fix = "pass a text, or the tokens of model.tokenizer.encode(text)"
    if isinstance(text, str):
        ids = tokenizer.encode(text)
    else:
        limit, found = "a text, or whole numbers: its token ids", any_array(text)
        empty = found is not None and found.size == 0
        whole = found is not None and np.issubdtype(found.dtype, np.integer) and not is_traced(found)
        require(whole or empty, "text", text, limit, fix)
        assert found is not None  # for mypy, which does not know `require`
        require(found.ndim == 1, "text", text, f"{limit}, of one text", fix)
        ids = [] if empty else _ids("tokens", found, 0, tokenizer.vocab_size - 1, fix).tolist()
    require(
        len(ids) > 0,
        "text",
        text,
        "at least one token",
        "write some text, or pass model.tokenizer.encode(text)",
    )
    return ids


def _block_row(block_ids: Sequence[int], tokens: list[int]) -> Int[np.ndarray, "L"]:
    """The block ids of a text; ValueError unless there is one whole number per token."""
    row, fix = any_array(block_ids), "one id per token"
    require(row is not None and not is_traced(row), "block_ids", block_ids, "known whole numbers", fix)
    found = _ids("block_ids", row, GLOBAL_ID, np.iinfo(np.int32).max, fix)
    require(found.shape == (len(tokens),), "block_ids.shape", found.shape, f"({len(tokens)},)", fix)
    return found


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

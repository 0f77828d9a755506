"""Documents that are prompts as token streams: laid out, with positions and with what is scored."""

from collections.abc import Sequence

import numpy as np

from aila_jax.config import QuestionConfig, require
from aila_jax.data.documents import Document
from aila_jax.data.packing import PromptTokens, TokenStream
from aila_jax.data.prompts import lay_out
from aila_jax.data.tokenizer import Tokenizer

_CHUNK = 8192  # pieces encoded at a time, as in `dataset`


def prompt_streams(
    tokenizer: Tokenizer, splits: dict[str, tuple[Document, ...]], config: QuestionConfig
) -> dict[str, TokenStream]:
    """The splits as streams. Each piece is encoded by itself, and each answer is followed by a line end.

    Args:
      tokenizer: of the pieces.
      splits: documents with a `prompt`.
      config: says how many positions equal passages take, and what is scored.

    Raises:
      ValueError: a piece without a token, or a passage longer than `capacity`.
    """
    capacity = config.capacity
    encoded = {split: _encoded(tokenizer, documents) for split, documents in splits.items()}
    longest = max(
        len(piece)
        for split, documents in splits.items()
        for document, pieces in zip(documents, encoded[split], strict=True)
        for piece in pieces[1 : 1 + _passages(document)]
    )
    fix = f"set --config.data.questions.capacity={longest}, or 0"
    require(
        capacity == 0 or longest <= capacity,
        "data.questions.capacity",
        capacity,
        f"at least {longest}, the tokens of the longest passage",
        fix,
    )
    return {
        split: _stream(
            documents, encoded[split], capacity or longest, tokenizer.eos_id, config.scored == "questions"
        )
        for split, documents in splits.items()
    }


def _passages(document: Document) -> int:
    assert document.prompt is not None, "corpora of questions have prompts alone"
    return document.prompt.passages


def _encoded(tokenizer: Tokenizer, documents: Sequence[Document]) -> list[list[list[int]]]:
    """For each document, the token ids of each piece."""
    pieces = [piece for document in documents for piece in document.pieces]
    ids: list[list[int]] = []
    for start in range(0, len(pieces), _CHUNK):
        ids += [found[:-1] for found in tokenizer.encode_pieces(pieces[start : start + _CHUNK])]
    found, start = [], 0
    for document in documents:
        stop = start + len(document.pieces)
        own = ids[start:stop]
        for number in range(1 + _passages(document)):
            # A passage of no token would be a block of nobody.
            limit, fix = "text with at least one token", "leave it out, or give it text"
            what = f"prompt {document.title!r}: {'passage ' + str(number - 1) if number else 'the header'}"
            require(len(own[number]) > 0, what, document.pieces[number], limit, fix)
        found.append(own)
        start = stop
    return found


def _stream(
    documents: Sequence[Document],
    encoded: list[list[list[int]]],
    capacity: int,
    eos_id: int,
    with_questions: bool,
) -> TokenStream:
    tokens, positions, blocks, scored = [], [], [], []
    words = size = 0
    for document, pieces in zip(documents, encoded, strict=True):
        count = _passages(document)
        rest = pieces[1 + count :]
        parts = [ids if number % 2 == 0 else [*ids, eos_id] for number, ids in enumerate(rest)]
        assert document.prompt is not None  # for mypy; `_passages` has asked
        laid = lay_out(
            pieces[0],
            pieces[1 : 1 + count],
            [one for part in parts for one in part],
            capacity if document.prompt.equal else None,
        )
        asked = [np.full(len(part), with_questions or number % 2 == 1) for number, part in enumerate(parts)]
        lead = len(laid.tokens) - sum(map(len, parts))
        tokens.append(laid.tokens)
        positions.append(laid.positions)
        blocks.append(laid.block_ids)
        scored.append(np.concatenate([np.zeros(lead, bool), *asked]))
        for number, piece in enumerate(document.pieces[1 + count :]):
            answer = number % 2  # which has a line end
            if answer or with_questions:
                words += len(piece.split()) + answer
                size += len(piece.encode()) + answer
    numbers = np.arange(len(documents), dtype=np.int32)
    return TokenStream(
        tokens=np.concatenate(tokens),
        doc_ids=np.repeat(numbers, [len(ids) for ids in tokens]),
        given_ids=np.concatenate(blocks),
        words=words,
        bytes=size,
        prompts=PromptTokens(np.concatenate(positions), np.concatenate(scored)),
    )

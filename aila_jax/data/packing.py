"""A split as one stream of tokens, and that stream cut into windows, each target exactly once."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Shaped

from aila_jax.cards import Card, Shown
from aila_jax.types import GLOBAL_ID, PADDING_ID, Batch, restarting_positions


@dataclass(frozen=True, eq=False)
class PromptTokens:
    """Of T tokens of prompts, one prompt a document.

    Attributes:
      positions: what the model takes their positions to be (see `prompts.lay_out`), without a begin token.
      scored: whether the token is a target that counts: those of answers, their line ends among them.
    """

    positions: Int[np.ndarray, " T"]
    scored: Bool[np.ndarray, " T"]


@dataclass(frozen=True, eq=False, repr=False)
class TokenStream(Shown):
    """T tokens of one split, in the order of its documents.

    Attributes:
      tokens: token ids.
      doc_ids: number of the token's document inside the split, from 0.
      given_ids: number of the token's piece inside the split, or of its annotated block, from 0.
      words: whitespace-separated words plus line ends: the count that perplexity per word divides by.
      bytes: UTF-8 bytes, one of them for each line end.
      pointers: on rule corpora, the position in the stream that determines the token after each one, −1 for
        none; never a later one.
      prompts: where documents are prompts, what packing must know of them.
    """

    tokens: Int[np.ndarray, " T"]
    doc_ids: Int[np.ndarray, " T"]
    given_ids: Int[np.ndarray, " T"]
    words: int
    bytes: int
    pointers: Int[np.ndarray, " T"] | None = None
    prompts: "PromptTokens | None" = None

    def __post_init__(self) -> None:
        for name in ("tokens", "doc_ids", "given_ids", "pointers"):
            array = getattr(self, name)
            if array is None:
                continue
            if array.dtype != np.int32 or array.shape != self.tokens.shape or array.ndim != 1:
                raise ValueError(
                    f"{name} is {array.dtype}{list(array.shape)}; it must be int32[T] like tokens. Fix:"
                    " np.asarray(…, np.int32)"
                )

    def card(self) -> Card:
        documents = len(np.unique(self.doc_ids))
        facts = {
            "documents": f"{documents:,}, in {len(np.unique(self.given_ids)):,} pieces",
            "words, bytes": f"{self.words:,}, {self.bytes:,}",
        }
        return Card(f"TokenStream: {len(self.tokens):,} tokens", facts)


@dataclass(frozen=True, eq=False, repr=False)
class Windows(Shown):
    """A stream cut into W windows of L tokens.

    Attributes:
      batch: all windows, arrays [W, L].
      n_targets: targets that are scored, over all windows.
      document_mask: whether positions restart with each document and no target crosses into another one.
      tokenizer: fingerprint of the tokenizer that made the tokens, empty where there is none.
    """

    batch: Batch
    n_targets: int
    document_mask: bool
    tokenizer: str = ""

    def __len__(self) -> int:
        return self.batch.tokens.shape[0]

    @property
    def length(self) -> int:
        """L, tokens a window."""
        return self.batch.tokens.shape[1]

    def card(self) -> Card:
        rows, length = self.batch.tokens.shape
        facts = {"targets": f"{self.n_targets:,}", "document mask": self.document_mask}
        return Card(f"Windows: {rows:,} of {length} tokens", facts)


def pack(
    stream: TokenStream, length: int, document_mask: bool, tokenizer: str = "", begin: int | None = None
) -> Windows:
    """Cuts a stream into non-overlapping windows; position p of the stream is scored on token p + 1, once.

    The last window is filled up with padding (tokens 0, ids PADDING_ID, weights 0), so no target is lost:
    n_targets = T − 1. With a document mask the first token of a document is no target, since nothing of its
    own document comes before it: n_targets = T − number of documents.

    With a begin token every window and every document has it first, in the block and the document of the
    token after it. The targets are the same ones, each scored once: a begin token is none, and the token
    after one is scored there only where a document begins and documents are not kept apart; else it was
    scored at the end of the window before, after more tokens.

    Prompts get a window each, and their answers alone are scored; a begin token belongs to the header.

    Args:
      stream: T tokens.
      length: L, tokens a window, a begin token among them.
      document_mask: keep documents apart.
      tokenizer: fingerprint to carry along.
      begin: id of the begin token; None for none.

    Raises:
      ValueError: fewer than 2 tokens, or a length below 1; with a begin token, below 2. A prompt that does
        not fit.
    """
    total = len(stream.tokens)
    if total < 2:
        raise ValueError(
            f"the stream has {total} tokens; it must have at least 2, one to read and one to predict. Fix:"
            " give it more text"
        )
    least = 1 if begin is None else 2
    if length < least:
        raise ValueError(f"length is {length}; it must be at least {least}. Fix: raise --config.model.length")
    if stream.prompts is not None:
        return _pack_prompts(stream, stream.prompts, length, document_mask, tokenizer, begin)
    if begin is not None:
        return _pack_begun(stream, length, document_mask, tokenizer, begin)

    def rows(values: Shaped[np.ndarray, " S"], fill: int) -> Shaped[np.ndarray, "W L"]:
        padding = -len(values) % length
        return np.concatenate([values, np.full(padding, fill, values.dtype)]).reshape(-1, length)

    doc_ids = rows(stream.doc_ids[:-1], PADDING_ID)
    positions = (
        restarting_positions(doc_ids)
        if document_mask
        else np.tile(np.arange(length, dtype=np.int32), (len(doc_ids), 1))
    )
    scored = stream.doc_ids[1:] == stream.doc_ids[:-1] if document_mask else np.ones(total - 1, bool)
    batch = Batch(
        tokens=rows(stream.tokens[:-1], 0),
        targets=rows(stream.tokens[1:], 0),
        weights=rows(scored.astype(np.float32), 0),
        positions=positions,
        doc_ids=doc_ids,
        given_ids=rows(stream.given_ids[:-1], PADDING_ID),
        pointers=None if stream.pointers is None else _in_window(rows(stream.pointers[:-1], -1)),
    )
    return Windows(batch, int(np.count_nonzero(scored)), document_mask, tokenizer)


def _pack_prompts(
    stream: TokenStream,
    prompts: PromptTokens,
    length: int,
    document_mask: bool,
    tokenizer: str,
    begin: int | None,
) -> Windows:
    """`pack` of prompts: row w is document w, without its last token, which is a target alone."""
    lead = int(begin is not None)
    starts = np.flatnonzero(np.diff(stream.doc_ids, prepend=-1))
    inputs = np.diff(starts, append=len(stream.tokens)) - 1
    needed = lead + np.maximum(inputs, np.maximum.reduceat(prompts.positions, starts))
    worst = int(np.argmax(needed))
    if needed[worst] > length:
        raise ValueError(
            f"prompt {worst} of the split takes {needed[worst]} tokens or positions, and {np.sum(needed > length)}"
            f" prompts take more than model.length ({length}), {needed[worst] - length} more at most; each must"
            f" fit. Fix: set --config.model.length={needed[worst]}, or give fewer or shorter passages"
        )
    at = np.arange(length, dtype=np.int32) - lead
    inside = at[None, :] < inputs[:, None]
    led = np.broadcast_to(at[None, :] < 0, inside.shape)
    real = inside & ~led
    place = np.where(real, starts[:, None] + at[None, :], 0)
    following = np.where(inside, starts[:, None] + at[None, :] + 1, 0)

    def rows(values: Int[np.ndarray, " T"], first: int, fill: int) -> Int[np.ndarray, "W L"]:
        return np.where(real, values[place], np.where(led, first, fill)).astype(np.int32)

    doc_ids = np.where(inside, stream.doc_ids[starts][:, None], PADDING_ID).astype(np.int32)
    index = np.broadcast_to(np.arange(length, dtype=np.int32), inside.shape)
    weights = (real & prompts.scored[following]).astype(np.float32)
    batch = Batch(
        tokens=rows(stream.tokens, begin or 0, 0),
        targets=np.where(inside, stream.tokens[following], 0).astype(np.int32),
        weights=weights,
        positions=np.where(real, prompts.positions[place] + lead, index).astype(np.int32),
        doc_ids=doc_ids,
        given_ids=rows(stream.given_ids, GLOBAL_ID, PADDING_ID),
    )
    return Windows(batch, int(np.count_nonzero(weights)), document_mask, tokenizer)


def _pack_begun(stream: TokenStream, length: int, document_mask: bool, tokenizer: str, begin: int) -> Windows:
    """`pack` with a begin token."""
    starts = np.flatnonzero(np.diff(stream.doc_ids, prepend=-1))
    # The stream with a begin token before each document: E places, whose own place in the stream is −1 there.
    own = np.insert(np.arange(len(stream.tokens)), starts, -1)
    tokens, doc_ids, given_ids = (
        np.insert(values, starts, put)
        for values, put in (
            (stream.tokens, begin),
            (stream.doc_ids, stream.doc_ids[starts]),
            (stream.given_ids, stream.given_ids[starts]),
        )
    )
    scored = (own[1:] >= 0) & (own[:-1] >= 0) if document_mask else own[1:] >= 0
    scored[0] = False  # the first token of all, which is no target without a begin token either
    place_WxL = _begun_windows(own, length)
    used, led = place_WxL != _UNUSED, place_WxL == _LED
    # Beside a begin token that a window alone asks for stands what comes next.
    next_WxL = np.where(led, np.roll(place_WxL, -1, axis=1), place_WxL)
    real = np.where(used, next_WxL, 0)
    docs = np.where(used, doc_ids[real], PADDING_ID)
    positions = np.broadcast_to(np.arange(length, dtype=np.int32), docs.shape)
    weights = (used & ~led & scored[real]).astype(np.float32)
    batch = Batch(
        tokens=np.where(led, begin, np.where(used, tokens[real], 0)).astype(np.int32),
        targets=np.where(used, np.where(led, tokens[real], tokens[real + 1]), 0).astype(np.int32),
        weights=weights,
        positions=restarting_positions(docs) if document_mask else positions.copy(),
        doc_ids=docs,
        given_ids=np.where(used, given_ids[real], PADDING_ID),
        pointers=None if stream.pointers is None else _begun_pointers(stream.pointers, own, place_WxL),
    )
    return Windows(batch, int(np.count_nonzero(weights)), document_mask, tokenizer)


_UNUSED, _LED = -1, -2  # places of padding, and of a begin token that a window's beginning asks for


def _begun_windows(own: Int[np.ndarray, " E"], length: int) -> Int[np.ndarray, "W L"]:
    """The places that each window reads, of a stream with begin tokens, all but its last."""
    rows, start, inputs = [], 0, len(own) - 1
    while start < inputs:
        lead = int(own[start] >= 0)
        end = min(start + length - lead, inputs)
        row = np.full(length, _UNUSED)
        row[:lead] = _LED
        row[lead : lead + end - start] = np.arange(start, end)
        rows.append(row)
        start = end
    return np.stack(rows)


def _begun_pointers(
    pointers: Int[np.ndarray, " T"], own: Int[np.ndarray, " E"], place_WxL: Int[np.ndarray, "W L"]
) -> Int[np.ndarray, "W L"]:
    """Stream positions as positions in their window; −1 where they are not in it, and of begin tokens."""
    row, column = np.full((2, len(pointers)), -1)
    rows, columns = np.nonzero(place_WxL >= 0)
    stream_at = own[place_WxL[rows, columns]]
    rows, columns, stream_at = (values[stream_at >= 0] for values in (rows, columns, stream_at))
    row[stream_at], column[stream_at] = rows, columns
    asked = pointers[stream_at]
    found = np.full(place_WxL.shape, -1, np.int32)
    found[rows, columns] = np.where((asked >= 0) & (row[asked] == rows), column[asked], -1)
    return found


def _in_window(pointers: Int[np.ndarray, "W L"]) -> Int[np.ndarray, "W L"]:
    """Stream positions as positions in their window; −1 where they lie before it."""
    within = pointers - np.arange(len(pointers), dtype=np.int32)[:, None] * pointers.shape[1]
    return np.where((pointers >= 0) & (within >= 0), within, -1).astype(np.int32)


def unpack(windows: Windows) -> tuple[Int[np.ndarray, " S"], Int[np.ndarray, " S"]]:
    """The T − 1 inputs and targets of the stream again, scored or not, without padding; of windows without
    begin tokens.
    """
    real = windows.batch.doc_ids != PADDING_ID
    return windows.batch.tokens[real], windows.batch.targets[real]

"""A split as one stream of tokens, and that stream cut into windows, each target exactly once."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Shaped

from aila_jax.cards import Card, Shown
from aila_jax.types import PADDING_ID, Batch, restarting_positions


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
    """

    tokens: Int[np.ndarray, " T"]
    doc_ids: Int[np.ndarray, " T"]
    given_ids: Int[np.ndarray, " T"]
    words: int
    bytes: int
    pointers: Int[np.ndarray, " T"] | None = None

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


def pack(stream: TokenStream, length: int, document_mask: bool, tokenizer: str = "") -> Windows:
    """Cuts a stream into non-overlapping windows; position p of the stream is scored on token p + 1, once.

    The last window is filled up with padding (tokens 0, ids PADDING_ID, weights 0), so no target is lost:
    n_targets = T − 1. With a document mask the first token of a document is no target, since nothing of its
    own document comes before it: n_targets = T − number of documents.

    Args:
      stream: T tokens.
      length: L, tokens a window.
      document_mask: keep documents apart.
      tokenizer: fingerprint to carry along.

    Raises:
      ValueError: fewer than 2 tokens, or a length below 1.
    """
    total = len(stream.tokens)
    if total < 2:
        raise ValueError(
            f"the stream has {total} tokens; it must have at least 2, one to read and one to predict. Fix:"
            " give it more text"
        )
    if length < 1:
        raise ValueError(f"length is {length}; it must be at least 1. Fix: raise --config.model.length")

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


def _in_window(pointers: Int[np.ndarray, "W L"]) -> Int[np.ndarray, "W L"]:
    """Stream positions as positions in their window; −1 where they lie before it."""
    within = pointers - np.arange(len(pointers), dtype=np.int32)[:, None] * pointers.shape[1]
    return np.where((pointers >= 0) & (within >= 0), within, -1).astype(np.int32)


def unpack(windows: Windows) -> tuple[Int[np.ndarray, " S"], Int[np.ndarray, " S"]]:
    """The T − 1 inputs and targets of the stream again, scored or not, without padding."""
    real = windows.batch.doc_ids != PADDING_ID
    return windows.batch.tokens[real], windows.batch.targets[real]

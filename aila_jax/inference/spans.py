"""Where the tokens of a text stand in it, and which of them make one word."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from aila_jax.data.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class TextTokens:
    """A text and its T tokens.

    Attributes:
      text: the text.
      ids: token ids.
      pieces: the text of each token alone; a line end is a line break.
      words: number of the word that each token belongs to, from 0 (`word_numbers`).
      spans: first character of each token and the one after its last; None where the ids are not those that
        the tokenizer gives the text, as ids of the caller's own may be.
      byte_spans: the same in bytes of UTF-8; exact where several byte-level tokens make one character.
    """

    text: str
    ids: Int[np.ndarray, "T"]
    pieces: tuple[str, ...]
    words: Int[np.ndarray, "T"]
    spans: Int[np.ndarray, "T 2"] | None
    byte_spans: Int[np.ndarray, "T 2"] | None

    def __len__(self) -> int:
        return len(self.ids)

    def word(self, first: int, end: int) -> str:
        """The text of the tokens `first` to `end` − 1, which are one word, with the space before it."""
        found = "" if self.spans is None else self.text[self.spans[first, 0] : self.spans[end - 1, 1]]
        return found or "".join(self.pieces[first:end])  # a begin token is nowhere in the text

    def word_ranges(self) -> list[tuple[int, int]]:
        """Of each word its first token, and the one after its last."""
        starts = np.flatnonzero(np.diff(self.words, prepend=-1)).tolist()
        return list(itertools.pairwise([*starts, len(self)]))


def text_tokens(tokenizer: Tokenizer, text: str | None, ids: Sequence[int]) -> TextTokens:
    """The tokens of a text.

    Args:
      tokenizer: what made them.
      text: what they were made of; None where only ids were given.
      ids: token ids.
    """
    given = text
    if text is None or tokenizer.encode(text) != list(ids):
        text = tokenizer.decode(ids)
    spans = byte_spans = None
    if tokenizer.encode(text) == list(ids):
        spans = np.array(tokenizer.spans(text), np.int64).reshape(-1, 2)
        byte_spans = _byte_spans(tokenizer, text, ids, spans)
    elif given is not None and tokenizer.encode(given) == list(ids[1:]):  # a begin token stands before it
        rest, nowhere = text_tokens(tokenizer, given, ids[1:]), np.zeros((1, 2), np.int64)
        assert rest.spans is not None and rest.byte_spans is not None
        text, spans = given, np.concatenate([nowhere, rest.spans])
        byte_spans = np.concatenate([nowhere, rest.byte_spans])
    pieces = tuple(tokenizer.token_text(token) for token in ids)
    return TextTokens(
        text, np.asarray(ids, np.int64), pieces, word_numbers(tokenizer, pieces), spans, byte_spans
    )


def _byte_spans(
    tokenizer: Tokenizer, text: str, ids: Sequence[int], spans: Int[np.ndarray, "T 2"]
) -> Int[np.ndarray, "T 2"]:
    if tokenizer.byte_level:
        parts = tokenizer.token_bytes(ids)
        if b"".join(parts) == text.encode():
            ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
            return np.stack([np.concatenate([[0], ends])[: len(ends)], ends], axis=1).reshape(-1, 2)
    before = np.cumsum([0, *(len(character.encode()) for character in text)])
    return before[spans]


def word_numbers(tokenizer: Tokenizer, pieces: Sequence[str]) -> Int[np.ndarray, "T"]:
    """The word that each token belongs to, numbered from 0.

    Words are what white space separates, with the space before them; a line end is a word by itself, and so
    is a special token. So is each token of a vocabulary of words, whose tokens hold no space.
    """
    if not tokenizer.spaces_inside:
        return np.arange(len(pieces))
    words: list[int] = []
    group, special = "", frozenset(tokenizer.special_ids)
    for number, piece in enumerate(pieces):
        blank = bool(group) and not group.strip() and "\n" not in group
        glued = bool(group) and not group[-1].isspace() and not piece[:1].isspace()
        goes_on = piece != "\n" and (blank or glued) and special.isdisjoint((piece, group))
        words.append(words[-1] + int(not goes_on) if number else 0)
        group = group + piece if goes_on else piece
    return np.asarray(words, np.int64)

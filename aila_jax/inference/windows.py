"""Which tokens a model reads of a text that grows: of a full window the older half is dropped."""

from dataclasses import dataclass, replace

import numpy as np

from aila_jax.types import PADDING_ID, Batch


def tokens_read(prompt_tokens: int, length: int) -> int:
    """How many tokens of a prompt the first new one is drawn after: all, or the newer half of a window that
    they fill.
    """
    return prompt_tokens if prompt_tokens < length else max(length // 2, 1)


@dataclass(frozen=True)
class WindowRead:
    """One window of a continuation, whose tokens are counted from the prompt's first.

    Attributes:
      start: the first token in it.
      first: the first whose next token was drawn in it.
      end: the token after the last such one, up to which it was read.
    """

    start: int
    first: int
    end: int


def windows_read(prompt_tokens: int, total: int, length: int) -> list[WindowRead]:
    """The windows in which the tokens after the prompt were drawn, of `total` with those of the prompt; as
    `Row` makes them.
    """
    found, start, begun = [], prompt_tokens - tokens_read(prompt_tokens, length), prompt_tokens
    for drawn in range(prompt_tokens, total):
        if drawn - start >= length:
            if drawn > begun:
                found.append(WindowRead(start, begun - 1, drawn - 1))
            start, begun = drawn - tokens_read(drawn - start, length), drawn
    return [*found, WindowRead(start, begun - 1, total - 1)]


def padded_window(ids: list[int], blocks: list[int], length: int) -> tuple[Batch, int]:
    """The ids and their blocks as one padded window; and the last position."""
    used = len(ids)
    tokens = np.zeros((1, length), np.int32)
    tokens[0, :used] = ids
    doc_ids = np.full((1, length), PADDING_ID, np.int32)
    doc_ids[0, :used] = 0
    given = np.full((1, length), PADDING_ID, np.int32)
    given[0, :used] = blocks
    batch = Batch.from_tokens(tokens, given, doc_ids)
    return replace(batch, positions=np.arange(length, dtype=np.int32)[None]), used - 1

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
      lead: 1 where the begin token stands before `start`, else 0.
    """

    start: int
    first: int
    end: int
    lead: int = 0


def begin_before(begun: bool, start: int, length: int) -> int:
    """1 where a window that begins in mid-text has the text's begin token put before it, else 0; `begun` says
    whether the text has one first.
    """
    return int(begun and start > 0 and length > 1)


def windows_read(prompt_tokens: int, total: int, length: int, begun: bool = False) -> list[WindowRead]:
    """The windows in which the tokens after the prompt were drawn, of `total` with those of the prompt; as
    `Row` makes them.
    """
    found, start, first = [], prompt_tokens - tokens_read(prompt_tokens, length), prompt_tokens
    lead = begin_before(begun, start, length)
    for drawn in range(prompt_tokens, total):
        used = lead + drawn - start
        if used >= length:
            if drawn > first:
                found.append(WindowRead(start, first - 1, drawn - 1, lead))
            start, first = drawn - tokens_read(used, length), drawn
            lead = begin_before(begun, start, length)
    return [*found, WindowRead(start, first - 1, total - 1, lead)]


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

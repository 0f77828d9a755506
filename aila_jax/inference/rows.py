"""Continuations in the making, side by side: each row's window, and the keys and values that are kept of
it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from aila_jax.config.options import GenerateOptions
from aila_jax.inference.growing_text import text_before
from aila_jax.inference.inputs import begin_ids
from aila_jax.inference.sampling import Drawn, Sampling, draw
from aila_jax.inference.windows import begin_before, padded_window, tokens_read
from aila_jax.model.decoding import in_parts, keys_and_values, next_logits
from aila_jax.model.interface import Dial, Request
from aila_jax.model.kept import Kept, nothing_kept, put_rows
from aila_jax.model.network import Network
from aila_jax.types import PADDING_ID, Array, Batch

if TYPE_CHECKING:
    from aila_jax.inference.language_model import LanguageModel

SHORTEST = 32  # tokens: lengths are powers of two from here, so that few programs are compiled


@dataclass(frozen=True)
class Prompt:
    """What is continued.

    Attributes:
      text: as it came.
      ids: its token ids, at least one.
      blocks: block of each.
    """

    text: str
    ids: tuple[int, ...]
    blocks: tuple[int, ...]


@dataclass(frozen=True)
class Wanted:
    """One continuation that is asked for.

    Attributes:
      prompt: what is continued.
      seed: of the draws.
      lam: λ.
      tau: τ.
    """

    prompt: Prompt
    seed: int
    lam: float
    tau: float


@dataclass(frozen=True)
class Likely:
    """A token that could come, or came.

    Attributes:
      token: its id.
      text: what is shown of it by itself (`Tokenizer.token_text`).
      logprob: its log-probability by the model, nats: among all tokens, whatever the sampling is.
    """

    token: int
    text: str
    logprob: float


class Row:
    """One continuation.

    When the window is full its older half is dropped, so the rest takes new positions and, for windows, new
    blocks: it is read again, after the begin token where the prompt has one first.
    """

    def __init__(self, model: "LanguageModel", wanted: Wanted):
        """`wanted`: what is continued, and how."""
        prompt = wanted.prompt
        self.model, self.wanted = model, wanted
        self.ids, self.blocks = list(prompt.ids), list(prompt.blocks)
        self.length, self.end_id = model.config.model.length, model.tokenizer.eos_id
        self.closes = model.config.partition.kind == "given" and model.given == "lines"
        self.begun = self.ids[:1] == begin_ids(model)
        self.start = len(self.ids) - tokens_read(len(self.ids), self.length)
        self.dropped, self.ended, self.stop, self.text = 0, False, "", ""
        self.drawn: list[Likely] = []
        self.others: list[tuple[Likely, ...]] = []

    @property
    def new(self) -> list[int]:
        """The tokens that were drawn."""
        return self.ids[len(self.wanted.prompt.ids) :]

    @property
    def window(self) -> tuple[list[int], list[int]]:
        """The tokens that are read, and their blocks."""
        lead, start = self.lead, self.start
        blocks = self.blocks[start:]
        return [*self.ids[:lead], *self.ids[start:]], [*blocks[:lead], *blocks]

    @property
    def lead(self) -> int:
        """1 where the begin token stands before a window that begins in mid-text, else 0."""
        return begin_before(self.begun, self.start, self.length)

    @property
    def last(self) -> int:
        """The place in the window of the last token."""
        return self.lead + len(self.ids) - self.start - 1

    def make_room(self) -> bool:
        """Drops the older half of a full window; whether it was full."""
        used = self.last + 1
        if used < self.length:
            return False
        self.start = len(self.ids) - tokens_read(used, self.length)
        self.dropped += 1
        return True

    def add(self, token: int, stops: Sequence[str]) -> None:
        """Takes one more token, and ends at the first stop string."""
        self.blocks.append(self.blocks[-1] + int(self.closes and self.ids[-1] == self.end_id))
        self.ids.append(token)
        if stops:
            self.text, self.stop = text_before(self.model.tokenizer, self.new, stops)
            self.ended = bool(self.stop)


@partial(jax.jit, static_argnames="request")
def _read(network: Network, params: Any, batch: Batch, dial: Dial, request: Request) -> Kept:
    return keys_and_values(network, params, batch, dial, request)


@partial(jax.jit, donate_argnums=0)
def _put(kept: Kept, fresh: Kept, row: Int[Array, ""]) -> Kept:
    return put_rows(kept, fresh, row)


_draw = jax.jit(draw)


def _tokens_after(
    network: Network,
    params: Any,
    batch: Batch,
    dial: Dial,
    request: Request,
    last_B: Int[Array, "B"],
    sampling: Sampling,
    kept: Kept,
) -> tuple[Drawn, Kept]:
    """Draws the token after position `last_B` of each row."""
    logits_BxV, kept = next_logits(network, params, batch, dial, request, last_B, kept)
    return _draw(logits_BxV, sampling), kept


_next_tokens = jax.jit(_tokens_after, static_argnames="request", donate_argnames="kept")


class _Windows:
    """The windows of all rows as the model reads them, with what is kept of them.

    A row's window is read whole when it begins, and again when its older half was dropped; else a new token
    costs one position.
    """

    def __init__(self, model: "LanguageModel", rows: Sequence[Row], more: int):
        """`more`: tokens that are to be drawn."""
        self.model, self.rows = model, rows
        length = model.config.model.length
        self.size = _length_of(max(row.last for row in rows) + more, length)
        self.request = Request(hard=model.config.model.hard)
        lams, taus = [row.wanted.lam for row in rows], [row.wanted.tau for row in rows]
        self.dial = Dial(np.array(lams, np.float32), np.array(taus, np.float32))
        shape = (len(rows), self.size)
        self.tokens, self.blocks = np.zeros(shape, np.int32), np.full(shape, PADDING_ID, np.int32)
        self.doc_ids = np.full(shape, PADDING_ID, np.int32)
        self.last_B = np.zeros(len(rows), np.int32)  # where each is read; that of a row that ended stays
        self.kept = nothing_kept(model.config.model, *shape)
        self._begin()

    def _begin(self) -> None:
        """Reads every row's window; once where several are the same, as samples of one prompt are."""
        read: dict[tuple[Any, ...], Kept] = {}
        for index, row in enumerate(self.rows):
            same = (row.wanted.lam, row.wanted.tau, *map(tuple, row.window))
            if same not in read:
                read = {same: self._read(index)}  # the others would stay in memory; samples stand together
            self._write(index, read[same])

    def _read(self, index: int) -> Kept:
        """Keys and values of a row's window, one row by itself: they do not depend on its companions."""
        row, dial = self.rows[index], self.dial
        batch, _ = padded_window(*row.window, _length_of(row.last + 1, self.size))
        own = Dial(dial.lam[index : index + 1], dial.tau[index : index + 1])
        return _read(self.model.network, self.model.params, batch, own, self.request)

    def _write(self, index: int, fresh: Kept) -> None:
        """Puts a row's window, and what is kept of it, in its place."""
        row = self.rows[index]
        used = row.last + 1
        self.tokens[index], self.blocks[index], self.doc_ids[index] = 0, PADDING_ID, PADDING_ID
        self.tokens[index, :used], self.blocks[index, :used] = row.window
        self.doc_ids[index, :used], self.last_B[index] = 0, row.last
        self.kept = _put(self.kept, fresh, np.int32(index))

    def batch(self) -> Batch:
        """The windows as they are now. What a forward pass does not read of a batch is empty."""
        positions = np.broadcast_to(np.arange(self.size, dtype=np.int32), self.tokens.shape)
        none, no = np.zeros_like(self.tokens), np.zeros(self.tokens.shape, np.float32)
        return Batch(self.tokens, none, no, positions, self.doc_ids, self.blocks)

    def draw(self, sampling: Sampling) -> Drawn:
        """The next token of each row."""
        step = _tokens_after if in_parts(self.model.network.module) else _next_tokens
        drawn, self.kept = step(
            self.model.network,
            self.model.params,
            self.batch(),
            self.dial,
            self.request,
            self.last_B,
            sampling,
            self.kept,
        )
        return jax.tree.map(np.asarray, drawn)

    def grow(self, index: int) -> None:
        """Takes in the token that a row has got; drops the older half of a full window."""
        row = self.rows[index]
        if row.make_room():
            self._write(index, self._read(index))
            return
        self.tokens[index, row.last], self.blocks[index, row.last] = row.ids[-1], row.blocks[-1]
        self.doc_ids[index, row.last], self.last_B[index] = 0, row.last


def _length_of(used: int, most: int) -> int:
    """The length of what is compiled for so many tokens."""
    size = SHORTEST
    while size < used:
        size *= 2
    return min(size, most)


def grown(model: "LanguageModel", wanted: Sequence[Wanted], options: GenerateOptions) -> Iterator[list[Row]]:
    """The continuations, after each token that was drawn of every one that has not ended."""
    rows = [Row(model, one) for one in wanted]
    windows = _Windows(model, rows, options.max_tokens)
    vocabulary = model.tokenizer.vocab_size
    among = min(options.top_k or vocabulary, vocabulary)
    named = None if options.logprobs is None else min(options.logprobs, vocabulary)
    keys = jnp.stack([jax.random.key(one.seed) for one in wanted])
    temperature, top_p = np.float32(options.sample_temperature), np.float32(options.top_p)
    for drawn in range(options.max_tokens):
        sampling = Sampling(_fold_in(keys, drawn), temperature, top_p, among, named)
        found = windows.draw(sampling)
        going = [index for index, row in enumerate(rows) if not row.ended]
        for index in going:
            row = rows[index]
            row.add(int(found.tokens[index]), options.stop or ())
            _note(row, found, index)
            if not row.ended and drawn < options.max_tokens - 1:
                windows.grow(index)
        yield rows
        if all(row.ended for row in rows):
            return


def _note(row: Row, found: Drawn, index: int) -> None:
    """Keeps what is said of a draw."""
    if found.logprobs is None or found.others is None or found.others_logprobs is None:
        return
    shown = row.model.tokenizer.token_text
    token = row.ids[-1]
    row.drawn.append(Likely(token, shown(token), float(found.logprobs[index])))
    pairs = zip(found.others[index].tolist(), found.others_logprobs[index].tolist(), strict=True)
    row.others.append(tuple(Likely(other, shown(other), logprob) for other, logprob in pairs))


_fold_in = jax.jit(jax.vmap(jax.random.fold_in, in_axes=(0, None)))

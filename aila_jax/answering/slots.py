"""Header, passages and question in slots: what is kept of the first two, and what a question reads of it.

A slot is a place in the arrays that a program reads, and says nothing of a token's position. There are few
sizes, so that few programs are compiled. A passage is left out by making its slots padding: all shapes stay,
and so do the positions of all others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from aila_jax.inference.language_model import LanguageModel
from aila_jax.model.decoding import Queried, in_parts, keys_and_values, next_logits, query_in_parts
from aila_jax.model.interface import Dial, Request
from aila_jax.model.kept import Kept, KeysValues
from aila_jax.model.network import Network
from aila_jax.model.scanned import stacked
from aila_jax.types import GLOBAL_ID, PADDING_ID, Array, Batch

SHORTEST = 16  # slots
ROWS = 8  # questions, with one passage or another left out, that are read at once at most
HEADER, NO_TOKEN = -1, -2  # numbers of pieces; passages are counted from 0


@dataclass(frozen=True)
class Setting:
    """At which setting a model reads.

    Attributes:
      model: which model.
      lam: λ.
      tau: τ.
      hard: passages see themselves and the header alone.
    """

    model: LanguageModel
    lam: float
    tau: float
    hard: bool

    @property
    def dial(self) -> Dial:
        return Dial(np.float32(self.lam), np.float32(self.tau))

    @property
    def request(self) -> Request:
        return Request(hard=self.hard)

    def given(self, batch: Batch) -> tuple[Network, Any, Batch, Dial, Request]:
        """What every program is given first."""
        return self.model.network, self.model.params, batch, self.dial, self.request


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokens in slots.

    Attributes:
      ids: token ids.
      positions: what the model takes their positions to be.
      pieces: HEADER, the number of a passage, or NO_TOKEN.
    """

    ids: Int[np.ndarray, "S"]
    positions: Int[np.ndarray, "S"]
    pieces: Int[np.ndarray, "S"]

    @classmethod
    def of(
        cls,
        header: Sequence[int],
        bodies: Sequence[Sequence[int]],
        consecutive: bool,
        numbers: Sequence[int] | None = None,
    ) -> "Tokens":
        """A header and passages, which follow each other, or all begin right after the header. `numbers`: of
        the passages, where they stand in another order.
        """
        pieces = [(HEADER, 0, header)]
        start = len(header)
        for number, body in zip(range(len(bodies)) if numbers is None else numbers, bodies, strict=True):
            pieces.append((number, start, body))
            start += len(body) if consecutive else 0
        size = size_of(sum(len(one) for _, _, one in pieces))
        made = cls(np.zeros(size, np.int32), np.zeros(size, np.int32), np.full(size, NO_TOKEN, np.int32))
        slot = 0
        for number, start, body in pieces:
            here = slice(slot, slot + len(body))
            made.ids[here], made.pieces[here] = body, number
            made.positions[here] = start + np.arange(len(body))
            slot += len(body)
        return made

    def blocks(self, kept: Bool[np.ndarray, "P"]) -> Int[np.ndarray, "S"]:
        """Block ids: the header's is every block, those of passages that are left out padding."""
        there = np.append(kept, [False, True])  # of NO_TOKEN, and of HEADER
        blocks = np.where(self.pieces == HEADER, GLOBAL_ID, self.pieces)
        return np.where(there[self.pieces], blocks, PADDING_ID).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Prefix:
    """What a question reads: tokens, and their keys and values.

    Attributes:
      tokens: header and passages.
      kept: keys and values, with a leading layer axis, of one example.
      question_at: position of the question's first token.
    """

    tokens: Tokens
    kept: KeysValues
    question_at: int


def size_of(tokens: int) -> int:
    """So many slots are compiled for so many tokens: a power of two, or half as many more."""
    size = SHORTEST
    while size < tokens:
        size = size * 3 // 2 if size & (size - 1) == 0 else size // 3 * 4
    return size


def rows_of(questions: int) -> int:
    """How many of them are read at once: as evenly as they can be."""
    return -(-questions // -(-questions // ROWS))


def encode_alone(setting: Setting, tokens: Tokens, blocks: Int[np.ndarray, "S"]) -> KeysValues:
    """Keys and values of one pass over all slots."""
    batch = _batch(tokens.ids[None], tokens.positions[None], blocks[None])
    found: KeysValues = _encoded(*setting.given(batch))
    return found


def prefix_batch(tokens: Tokens, kept: Bool[np.ndarray, "P"]) -> Batch:
    """All slots as one example, with the passages that are kept."""
    return _batch(tokens.ids[None], tokens.positions[None], tokens.blocks(kept)[None])


def encode_after(
    setting: Setting, header: Sequence[int], kept: KeysValues, body: Sequence[int]
) -> KeysValues:
    """Keys and values of a passage right after a header, whose own are kept in as many slots as it has
    tokens, filled up to `size_of` them.
    """
    before, size = kept.keys.shape[2], size_of(len(body))
    ids, positions = np.zeros((2, 1, before + size), np.int32)
    blocks = np.full((1, before + size), PADDING_ID, np.int32)
    ids[0, : len(header)], positions[0, : len(header)] = header, np.arange(len(header))
    blocks[0, : len(header)] = GLOBAL_ID
    own = slice(before, before + len(body))
    ids[0, own], positions[0, own], blocks[0, own] = body, len(header) + np.arange(len(body)), 0
    at = before + np.arange(size, dtype=np.int32)[None]
    found: KeysValues = _encoded_after(*setting.given(_batch(ids, positions, blocks)), at, kept)
    return found


def joined(parts: Sequence[KeysValues], lengths: Sequence[int]) -> KeysValues:
    """The first slots of each, one after another, in `size_of` them."""
    used = sum(lengths)

    def join(arrays: Sequence[Array]) -> np.ndarray:
        first = np.asarray(arrays[0])
        made = np.zeros((*first.shape[:2], size_of(used), *first.shape[3:]), first.dtype)
        slot = 0
        for array, length in zip(arrays, lengths, strict=True):
            made[:, :, slot : slot + length] = np.asarray(array)[:, :, :length]
            slot += length
        return made

    return KeysValues(join([one.keys for one in parts]), join([one.values for one in parts]))


class Question:
    """A question after a prefix: its greedy answer, and what is said of an answer that is fixed."""

    def __init__(self, setting: Setting, prefix: Prefix, ask: Sequence[int]):
        """`ask`: the question's tokens."""
        self.setting, self.prefix, self.ask = setting, prefix, tuple(ask)
        self.start = len(prefix.tokens.ids)

    def logprobs(self, answer: Sequence[int], kept: Bool[np.ndarray, "R P"]) -> Float[np.ndarray, "R A"]:
        """Log-probability of each of the answer's tokens after those before it, nats, with some passages left
        out of what the question reads.

        Args:
          answer: its tokens.
          kept: in each row, whether a passage is there.
        """
        found, most = [], rows_of(len(kept))
        for first in range(0, len(kept), most):
            rows = kept[first : first + most]
            filled = np.concatenate([rows, np.repeat(rows[-1:], most - len(rows), axis=0)])
            batch, at, used = self.read(answer, filled)
            targets = np.zeros(at.shape, np.int32)
            targets[:, used] = answer
            logprobs = _logprobs(*self.setting.given(batch), at, self.prefix.kept, targets)
            found.append(np.asarray(logprobs, np.float64)[: len(rows), used])
        return np.concatenate(found)

    def logits(self, answer: Sequence[int], passages: int) -> Float[np.ndarray, "A V"]:
        """Logits of every token of the vocabulary where each of the answer's tokens is predicted, with all
        passages.
        """
        batch, at, used = self.read(answer, np.ones((1, passages), bool))
        found = _logits(*self.setting.given(batch), at, self.prefix.kept)
        return np.asarray(found, np.float32)[0, used]

    def mass(self, answer: Sequence[int], passages: int) -> Float[np.ndarray, "A pieces"]:
        """Attention of the queries that predict the answer's tokens, the mean of layers and heads: on each
        passage, on the header, and on question and answer.
        """
        batch, at, used = self.read(answer, np.ones((1, passages), bool))
        places = np.concatenate([self.prefix.tokens.pieces, np.full(at.shape[1], passages + 1)])
        places = np.where(places == HEADER, passages, places)
        pieces = places[:, None] == np.arange(size_of(passages + 2))
        mass = _mass(*self.setting.given(batch), at, self.prefix.kept, pieces.astype(np.float32))
        return np.asarray(mass, np.float64)[0, used, : passages + 2]

    def read(
        self, answer: Sequence[int], kept: Bool[np.ndarray, "R P"]
    ) -> tuple[Batch, Int[np.ndarray, "R T"], slice]:
        """Prefix, question and answer but for its last token; the question's slots, and those among them that
        predict the answer's tokens.
        """
        read = [*self.ask, *answer[:-1]]
        size = size_of(len(read))
        batch = self.batch(read, size, kept)
        at = np.repeat(self.start + np.arange(size, dtype=np.int32)[None], len(kept), axis=0)
        first = len(self.ask) - 1
        return batch, at, slice(first, first + len(answer))

    def batch(self, read: Sequence[int], size: int, kept: Bool[np.ndarray, "R P"]) -> Batch:
        """The prefix, and tokens after it in `size` slots."""
        tokens, used = self.prefix.tokens, len(read)
        ids, positions = np.zeros((2, size), np.int32)
        ids[:used], positions[:used] = read, self.prefix.question_at + np.arange(used)
        own = np.where(np.arange(size) < used, GLOBAL_ID, PADDING_ID).astype(np.int32)
        rows = [np.concatenate([tokens.blocks(row), own]) for row in kept]
        every = (np.concatenate(pair) for pair in ((tokens.ids, ids), (tokens.positions, positions)))
        ids, positions = (np.repeat(one[None], len(kept), axis=0) for one in every)
        return _batch(ids, positions, np.stack(rows))


class Drawing:
    """Answers in the making: the likeliest token after what is there, one at a time for each question."""

    def __init__(self, questions: Sequence[Question], most: int):
        """Begins.

        Args:
          questions: one at least, as many tokens each, with prefixes of one size and as many passages.
          most: tokens that may be drawn.
        """
        self.questions, self.ids = tuple(questions), [list(one.ask) for one in questions]
        first = self.questions[0]
        self.start, self.room = first.start, size_of(len(first.ask) + most)
        self.every = np.ones((1, 1 + max(first.prefix.tokens.pieces.max(), 0)), bool)
        self.kept: Kept | None = None

    def next(self) -> tuple[int, ...]:
        """The likeliest next token of each."""
        first, last = self.questions[0], len(self.ids[0]) - 1
        batches = [
            question.batch(ids, self.room, self.every)
            for question, ids in zip(self.questions, self.ids, strict=True)
        ]
        given = first.setting.given(jax.tree.map(lambda *rows: np.concatenate(rows), *batches))
        if self.kept is None:
            at = self.start + np.arange(size_of(last + 1), dtype=np.int32)
            at = np.repeat(at[None], len(batches), axis=0)
            prefixes = [one.prefix.kept for one in self.questions]
            kept = jax.tree.map(lambda *rows: np.concatenate(rows, axis=1), *prefixes)
            found, self.kept = _begin(*given, at, kept, np.int32(last))
        else:
            at = np.full(len(batches), self.start + last, np.int32)
            found, self.kept = _step(*given, at, self.kept)
        tokens = tuple(np.asarray(found).tolist())
        for ids, token in zip(self.ids, tokens, strict=True):
            ids.append(token)
        return tokens


def _batch(
    ids: Int[np.ndarray, "R L"], positions: Int[np.ndarray, "R L"], blocks: Int[np.ndarray, "R L"]
) -> Batch:
    """What a forward pass reads; what it does not read is empty."""
    none, no = np.zeros_like(ids), np.zeros(ids.shape, np.float32)
    doc_ids = np.where(blocks == PADDING_ID, PADDING_ID, 0).astype(np.int32)
    return Batch(ids, none, no, positions, doc_ids, blocks)


def _program(donated: str | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Makes one compiled program of a function; of a deep model (`in_parts`) it calls small ones. `donated`:
    the argument whose memory may be used again.
    """

    def made(function: Callable[..., Any]) -> Callable[..., Any]:
        compiled = jax.jit(function, static_argnames="request", donate_argnames=donated)

        @wraps(function)
        def call(network: Network, *rest: Any) -> Any:
            return (function if in_parts(network.module) else compiled)(network, *rest)

        return call

    return made


@partial(jax.jit, static_argnames="request")
def _encoded(network: Network, params: Any, batch: Batch, dial: Dial, request: Request) -> KeysValues:
    kept = keys_and_values(network.on_blocks(batch.given_ids), params, batch, dial, request)
    found: KeysValues = stacked(list(kept))
    return found


def _queried(
    network: Network,
    params: Any,
    batch: Batch,
    dial: Dial,
    request: Request,
    at: Array,
    kept: KeysValues,
    pieces: Array | None = None,
) -> Queried:
    """What the slots `at` give, where those of `batch` after the kept ones have room."""
    room = with_room(kept, batch.tokens.shape[1] - kept.keys.shape[2])
    given = network.on_blocks(batch.given_ids)
    return query_in_parts(given, params, batch, dial, request, at, room, pieces)


@_program()
def _encoded_after(
    network: Network, params: Any, batch: Batch, dial: Dial, request: Request, at: Array, kept: KeysValues
) -> KeysValues:
    return _queried(network, params, batch, dial, request, at, kept).fresh


@_program()
def _logprobs(
    network: Network,
    params: Any,
    batch: Batch,
    dial: Dial,
    request: Request,
    at: Array,
    kept: KeysValues,
    targets: Array,
) -> Float[Array, "R T"]:
    logits = _queried(network, params, batch, dial, request, at, kept).logits
    logprobs = jax.nn.log_softmax(logits, axis=-1)
    return jnp.take_along_axis(logprobs, targets[:, :, None], axis=2)[:, :, 0]


@_program()
def _logits(
    network: Network, params: Any, batch: Batch, dial: Dial, request: Request, at: Array, kept: KeysValues
) -> Float[Array, "R T V"]:
    return _queried(network, params, batch, dial, request, at, kept).logits


@_program()
def _mass(
    network: Network,
    params: Any,
    batch: Batch,
    dial: Dial,
    request: Request,
    at: Array,
    kept: KeysValues,
    pieces: Array,
) -> Float[Array, "R T S"]:
    mass = _queried(network, params, batch, dial, request, at, kept, pieces).mass
    assert mass is not None, "pieces are given"
    return mass


@_program()
def _begin(
    network: Network,
    params: Any,
    batch: Batch,
    dial: Dial,
    request: Request,
    at: Array,
    kept: KeysValues,
    last: Array,
) -> tuple[Int[Array, "R"], Kept]:
    """The first token of each answer; and keys and values of all that was read, layer by layer."""
    given, start = network.on_blocks(batch.given_ids), kept.keys.shape[2]
    kept = with_room(kept, batch.tokens.shape[1] - start)
    found = query_in_parts(given, params, batch, dial, request, at, kept)
    kept = jax.tree.map(
        lambda old, new: jax.lax.dynamic_update_slice(old, new, (0, 0, start, 0, 0)), kept, found.fresh
    )
    layers = tuple(jax.tree.map(lambda one, n=n: one[n], kept) for n in range(network.module.config.n_layers))
    return jnp.argmax(found.logits[:, last], axis=-1), layers


@_program(donated="kept")
def _step(
    network: Network, params: Any, batch: Batch, dial: Dial, request: Request, at: Array, kept: Kept
) -> tuple[Int[Array, "R"], Kept]:
    logits, kept = next_logits(network.on_blocks(batch.given_ids), params, batch, dial, request, at, kept)
    return jnp.argmax(logits, axis=-1), kept


def with_room(kept: KeysValues, slots: int) -> KeysValues:
    """With so many more slots, which nobody reads before they are filled."""
    more = ((0, 0), (0, 0), (0, slots), (0, 0), (0, 0))
    found: KeysValues = jax.tree.map(lambda one: jnp.pad(jnp.asarray(one), more), kept)
    return found

"""Sampling text at a setting of the dial."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from aila_jax.cards import count
from aila_jax.config import require
from aila_jax.config.checks import check_text
from aila_jax.config.options import GenerateOptions
from aila_jax.data.tokenizer import Tokenizer, text_of
from aila_jax.inference.dial import dial_values
from aila_jax.inference.inputs import read_text
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.partition.kinds import text_blocks
from aila_jax.partition.returning import refuse_returning
from aila_jax.types import PADDING_ID, Array, Batch

if TYPE_CHECKING:
    from aila_jax.inference.language_model import LanguageModel

ROWS = 32  # continuations that are made side by side; bounds memory


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


@flax.struct.dataclass
class _Sampling:
    """How a token is drawn.

    Attributes:
      keys: of this draw, one for each row.
      temperature: 0 takes the most likely token.
      top_k: tokens that may be drawn, the most likely ones.
    """

    keys: Array
    temperature: Array
    top_k: int = flax.struct.field(pytree_node=False)


@partial(jax.jit, static_argnames="request")
def _next_tokens(
    network: Network,
    params: Any,
    batch: Batch,
    dial: Dial,
    request: Request,
    last_B: Int[Array, "B"],
    sampling: _Sampling,
) -> Int[Array, "B"]:
    """Samples the token after position `last_B` of each row."""
    logits_BxLxV = network(params, batch, dial, request).logits
    assert logits_BxLxV is not None, "request asks for logits"
    logits_BxV = jnp.take_along_axis(logits_BxLxV, last_B[:, None, None], axis=1)[:, 0]
    kept, ids = jax.lax.top_k(logits_BxV, sampling.top_k)
    drawn_B = jax.vmap(jax.random.categorical)(sampling.keys, kept / jnp.maximum(sampling.temperature, 1e-6))
    chosen_B = jnp.where(sampling.temperature > 0, drawn_B, 0)
    return jnp.take_along_axis(ids, chosen_B[:, None], axis=1)[:, 0]


@dataclass(frozen=True)
class Continuation:
    """What a prompt was continued with.

    Attributes:
      text: the continuation, without the prompt and the stop string.
      prompt_tokens: how long the prompt is.
      read_tokens: how many of its tokens, the last ones, the first new token was drawn after.
      length: tokens that the model reads at once.
      prompt: the text that was continued.
      seed: of its draws; alone, with this seed, it is the same.
      new_tokens: how many were drawn.
      ended: `stop` (a stop string came) or `length` (all of max_tokens were drawn).
      stop: the stop string that ended it; empty where none did.
      dropped: how often the older half of a full window was dropped after the first new token.
      ids: token ids of the prompt and of what was drawn, a stop string and what came with it included.
      blocks: block of each, for the partition `given`.
      lam: λ that they were drawn at.
      tau: τ.
    """

    text: str
    prompt_tokens: int
    read_tokens: int
    length: int
    prompt: str = ""
    seed: int = 0
    new_tokens: int = 0
    ended: str = "length"
    stop: str = ""
    dropped: int = 0
    ids: tuple[int, ...] = ()
    blocks: tuple[int, ...] = ()
    lam: float = 0.0
    tau: float = 1.0

    @property
    def cut(self) -> str:
        """What is to be said of a prompt that was cut; empty where it was read whole."""
        if self.read_tokens == self.prompt_tokens:
            return ""
        return (
            f"the prompt has {self.prompt_tokens} tokens; its last {self.read_tokens} are read: the model"
            f" reads {self.length} at once, and of a full window the newer half stays"
        )

    @property
    def end(self) -> str:
        """Why it ended, in words."""
        times = (
            f"; the older half of a full window was dropped {count(self.dropped, 'time')}"
            if self.dropped
            else ""
        )
        drawn = count(self.new_tokens, "token")
        if self.ended == "stop":
            return f"ended at the stop string {self.stop!r} after {drawn}{times}"
        return f"ended at max_tokens, after {drawn}{times}"


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
    `_Row` makes them.
    """
    found, start, begun = [], prompt_tokens - tokens_read(prompt_tokens, length), prompt_tokens
    for drawn in range(prompt_tokens, total):
        if drawn - start >= length:
            if drawn > begun:
                found.append(WindowRead(start, begun - 1, drawn - 1))
            start, begun = drawn - tokens_read(drawn - start, length), drawn
    return [*found, WindowRead(start, begun - 1, total - 1)]


class _Row:
    """One continuation in the making.

    When the window is full its older half is dropped, so the rest takes new positions and, for windows, new
    blocks.
    """

    def __init__(self, model: "LanguageModel", prompt: Prompt, seed: int):
        """`prompt`: what is continued; `seed`: of the draws."""
        self.model, self.prompt, self.seed = model, prompt, seed
        self.ids, self.blocks = list(prompt.ids), list(prompt.blocks)
        self.length, self.end_id = model.config.model.length, model.tokenizer.eos_id
        self.closes = model.config.partition.kind == "given" and model.given == "lines"
        self.start = len(self.ids) - tokens_read(len(self.ids), self.length)
        self.dropped, self.ended, self.stop, self.text = 0, False, "", ""
        self._read: tuple[Batch, int] | None = None

    @property
    def new(self) -> list[int]:
        """The tokens that were drawn."""
        return self.ids[len(self.prompt.ids) :]

    def window(self) -> tuple[Batch, int]:
        """What the model reads next, and the last position of it; once it has ended what it read last, since
        all rows stay in one batch of one shape.
        """
        if self.ended and self._read is not None:
            return self._read
        if len(self.ids) - self.start >= self.length:
            self.start = len(self.ids) - tokens_read(len(self.ids) - self.start, self.length)
            self.dropped += 1
        self._read = padded_window(self.ids[self.start :], self.blocks[self.start :], self.length)
        return self._read

    def add(self, token: int, stops: Sequence[str]) -> None:
        """Takes one more token, and ends at the first stop string."""
        self.blocks.append(self.blocks[-1] + int(self.closes and self.ids[-1] == self.end_id))
        self.ids.append(token)
        if stops:
            self.text, self.stop = text_before(self.model.tokenizer, self.new, stops)
            self.ended = bool(self.stop)

    def continuation(self, options: GenerateOptions) -> Continuation:
        text = self.text if self.ended else self.model.tokenizer.decode(self.new)
        prompt_tokens = len(self.prompt.ids)
        return Continuation(
            text=text,
            prompt_tokens=prompt_tokens,
            read_tokens=tokens_read(prompt_tokens, self.length),
            length=self.length,
            prompt=self.prompt.text,
            seed=self.seed,
            new_tokens=len(self.new),
            ended="stop" if self.ended else "length",
            stop=self.stop,
            dropped=self.dropped,
            ids=tuple(self.ids),
            blocks=tuple(self.blocks),
            lam=options.lam,
            tau=options.tau,
        )


def text_before(tokenizer: Tokenizer, ids: Sequence[int], stops: Sequence[str]) -> tuple[str, str]:
    """The text of tokens up to the first of the stop strings in it, and which it is; all of it, and an empty
    text, where there is none.

    Byte-level tokens are searched as bytes: a stop string may begin and end inside tokens, and half a
    character is not yet one.
    """
    if not tokenizer.byte_level:
        text = tokenizer.decode(ids)
        place, stop = min(((text.find(one), one) for one in stops if one in text), default=(len(text), ""))
        return text[:place], stop
    data = b"".join(tokenizer.token_bytes(ids))
    found = ((data.find(one.encode()), one) for one in stops if one.encode() in data)
    place, stop = min(found, default=(len(data), ""))
    return text_of(data[:place]), stop


def generate_ids(
    model: "LanguageModel",
    prompt: list[int],
    options: GenerateOptions,
    block_ids: Sequence[int] | None = None,
) -> list[int]:
    """Continues `prompt`, token ids, as `options` say: the first sample alone. For the rest see
    `continue_prompts`.
    """
    require(len(prompt) > 0, "prompt", "", "at least one token", "write some text")
    made = Prompt("", tuple(prompt), tuple(_prompt_blocks(model, prompt, block_ids)))
    return _continued(model, [(made, options.seed)], options)[0].new


def continue_prompts(
    model: "LanguageModel", prompts: Sequence[Prompt], options: GenerateOptions
) -> tuple[tuple[Continuation, ...], ...]:
    """Continues each prompt `options.samples` times; one compiled step serves all tokens, and up to `ROWS`
    continuations at once.

    Sample i of every prompt has the seed `options.seed` + i: it is what that seed alone gives.

    For the partition `given`, a line-end token closes a block where it does so in training (`model.given` is
    `lines`); elsewhere the continuation belongs to the block of the prompt's last token, since nothing says
    where a field or an annotated block ends.

    Raises:
      ValueError: a model that cannot be asked for this.
    """
    wanted = [(prompt, options.seed + sample) for prompt in prompts for sample in range(options.samples)]
    found = [
        row.continuation(options)
        for start in range(0, len(wanted), ROWS)
        for row in _continued(model, wanted[start : start + ROWS], options)
    ]
    return tuple(
        tuple(found[start : start + options.samples]) for start in range(0, len(found), options.samples)
    )


def _continued(
    model: "LanguageModel", wanted: Sequence[tuple[Prompt, int]], options: GenerateOptions
) -> list[_Row]:
    """The continuation of each prompt with its seed, side by side."""
    config, lam, vocabulary = model.config, options.lam, model.tokenizer.vocab_size
    require(
        not config.model.bidirectional,
        "model.bidirectional",
        True,
        "False to generate",
        "train a causal model; a bidirectional one sees its targets",
    )
    if config.model.hard:
        require(lam == 1.0, "lam", lam, "1, since the model was trained with hard blocks", "set lam=1")
    rows = [_Row(model, prompt, seed) for prompt, seed in wanted]
    dial = Dial(dial_values(lam, "lam", len(rows)), dial_values(options.tau, "tau", len(rows)))
    among = min(options.top_k or vocabulary, vocabulary)
    keys = jnp.stack([jax.random.key(row.seed) for row in rows])
    for drawn in range(options.max_tokens):
        windows = [row.window() for row in rows]
        tokens = _next_tokens(
            model.network,
            model.params,
            jax.tree.map(lambda *parts: np.concatenate(parts), *(batch for batch, _ in windows)),
            dial,
            Request(hard=config.model.hard),
            np.array([last for _, last in windows], np.int32),
            _Sampling(_fold_in(keys, drawn), jnp.float32(options.sample_temperature), among),
        )
        for row, token in zip(rows, np.asarray(tokens).tolist(), strict=True):
            if not row.ended:
                row.add(token, options.stop or ())
        if all(row.ended for row in rows):
            break
    return rows


_fold_in = jax.jit(jax.vmap(jax.random.fold_in, in_axes=(0, None)))


def read_prompts(model: "LanguageModel", prompts: Any, block_ids: Any = None) -> tuple[Prompt, ...]:
    """A prompt, or a list of them, with tokens and blocks.

    Raises:
      ValueError: no prompt, one without a token, or blocks that a prompt by itself does not show.
    """
    many = isinstance(prompts, list | tuple)
    given = tuple(prompts) if many else (prompts,)
    fix = 'prompt="Return a new list", say, or a list of such'
    require(len(given) > 0, "prompt", prompts, "a text, or a list of at least one", fix)
    for one in given:
        check_text("prompt", one, "a text, or a list of texts", fix)
        require(len(one) > 0, "prompt", one, "at least one token", "write some text")
    fix = "one id per token, in a list for each prompt of a list"
    fits = (
        not many
        or block_ids is None
        or (isinstance(block_ids, list | tuple) and len(block_ids) == len(given))
    )
    require(fits, "block_ids", block_ids, f"{len(given)} rows, one for each prompt", fix)
    rows = [None] * len(given) if block_ids is None else block_ids if many else [block_ids]
    found = []
    for one, row in zip(given, rows, strict=True):
        ids, blocks = read_text(model, one, row)
        found.append(Prompt(one, tuple(ids), tuple(_prompt_blocks(model, ids, blocks))))
    return tuple(found)


def _prompt_blocks(model: "LanguageModel", prompt: list[int], block_ids: Sequence[int] | None) -> list[int]:
    """The block of each token of the prompt; zeros where the partition reads none."""
    if model.config.partition.kind != "given":
        require(
            block_ids is None,
            "block_ids",
            block_ids,
            f"left out where the partition is {model.config.partition.kind!r}",
            "leave it out",
        )
        return [0] * len(prompt)
    if block_ids is None:
        return text_blocks(model.given, prompt, model.tokenizer.eos_id)
    fits = len(block_ids) == len(prompt)
    require(fits, "block_ids", len(block_ids), f"{len(prompt)} ids, one per token", "pass one per token")
    refuse_returning(model.config, np.asarray(block_ids)[None], None)
    return [int(block) for block in block_ids]


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

"""Sampling text at a setting of the dial."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aila_jax.cards import count
from aila_jax.config import require
from aila_jax.config.checks import check_text
from aila_jax.config.options import GenerateOptions
from aila_jax.inference.chat import chat_ids, chat_text
from aila_jax.inference.growing_text import settled
from aila_jax.inference.inputs import read_text
from aila_jax.inference.rows import Likely, Prompt, Row, Wanted, grown
from aila_jax.inference.windows import tokens_read
from aila_jax.partition.kinds import text_blocks
from aila_jax.partition.returning import refuse_returning

if TYPE_CHECKING:
    from aila_jax.inference.language_model import LanguageModel

ROWS = 32  # continuations that are made side by side; bounds memory


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
      drawn: where `logprobs` was asked for, each new token with its log-probability.
      others: likewise, the likeliest tokens in each one's place, in order, whether drawn or not.
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
    drawn: tuple[Likely, ...] = ()
    others: tuple[tuple[Likely, ...], ...] = ()

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
    return _continued(model, _wanted(model, [made], options)[:1], options)[0].new


def continue_prompts(
    model: "LanguageModel", prompts: Sequence[Prompt], options: GenerateOptions
) -> tuple[tuple[Continuation, ...], ...]:
    """Continues each prompt `options.samples` times, up to `ROWS` continuations at once.

    Sample i of every prompt has the seed `options.seed` + i: it is what that seed alone gives.

    A new token's block: for windows that of its position; for segments and classes what the tokens up to it
    say, as in any text. For the partition `given`, a line-end token closes a block where it does so in
    training (`model.given` is `lines`); elsewhere the continuation belongs to the block of the prompt's last
    token, since nothing says where a field or an annotated block ends.

    Raises:
      ValueError: a model that cannot be asked for this, or λ or τ of another number of prompts.
    """
    wanted = _wanted(model, prompts, options)
    found = [
        _continuation(row)
        for start in range(0, len(wanted), ROWS)
        for row in _continued(model, wanted[start : start + ROWS], options)
    ]
    return tuple(
        tuple(found[start : start + options.samples]) for start in range(0, len(found), options.samples)
    )


def stream_prompt(model: "LanguageModel", prompt: Prompt, options: GenerateOptions) -> Iterator[str]:
    """The text of the first sample in pieces, as its tokens are drawn: whole characters, and nothing that a
    stop string may still take back. Together they are the text of `continue_prompts`.

    Raises:
      ValueError: as `continue_prompts`, or several samples.
    """
    fix = "samples=1, or ask continuations for them"
    require(options.samples == 1, "samples", options.samples, "1 to stream", fix)
    return _pieces(model, _wanted(model, [prompt], options), options)


def _pieces(model: "LanguageModel", wanted: Sequence[Wanted], options: GenerateOptions) -> Iterator[str]:
    said, row = "", Row(model, wanted[0])
    for [row] in grown(model, wanted, options):
        if not row.ended:
            text = settled(model.tokenizer, row.new, options.stop or ())
            assert text.startswith(said), "a text only grows"
            if len(text) > len(said):
                yield text[len(said) :]
                said = text
    rest = _continuation(row).text.removeprefix(said)
    if rest:
        yield rest


def _continuation(row: Row) -> Continuation:
    """What a row that is done says."""
    wanted, prompt_tokens = row.wanted, len(row.wanted.prompt.ids)
    return Continuation(
        text=row.text if row.ended else row.model.tokenizer.decode(row.new),
        prompt_tokens=prompt_tokens,
        read_tokens=tokens_read(prompt_tokens, row.length),
        length=row.length,
        prompt=wanted.prompt.text,
        seed=wanted.seed,
        new_tokens=len(row.new),
        ended="stop" if row.ended else "length",
        stop=row.stop,
        dropped=row.dropped,
        ids=tuple(row.ids),
        blocks=tuple(row.blocks),
        lam=wanted.lam,
        tau=wanted.tau,
        drawn=tuple(row.drawn),
        others=tuple(row.others),
    )


def _wanted(model: "LanguageModel", prompts: Sequence[Prompt], options: GenerateOptions) -> list[Wanted]:
    """Every sample of every prompt, at the λ and τ of its prompt; ValueError for a model that cannot be asked
    for it.
    """
    require(
        not model.config.model.bidirectional,
        "model.bidirectional",
        True,
        "False to generate",
        "train a causal model; a bidirectional one sees its targets",
    )
    lams, taus = (_of_each(name, getattr(options, name), len(prompts)) for name in ("lam", "tau"))
    for lam in lams if model.config.model.hard else ():
        require(lam == 1.0, "lam", lam, "1, since the model was trained with hard blocks", "set lam=1")
    return [
        Wanted(prompt, options.seed + sample, lam, tau)
        for prompt, lam, tau in zip(prompts, lams, taus, strict=True)
        for sample in range(options.samples)
    ]


def _of_each(name: str, value: float | Sequence[float], prompts: int) -> Sequence[float]:
    """λ or τ of each prompt."""
    if not isinstance(value, Sequence):
        return [value] * prompts
    limit = f"one number, or {prompts}, one for each prompt"
    require(
        len(value) == prompts, name, tuple(value), limit, f"{name}=0.5, say" if name == "lam" else "tau=1"
    )
    return value


def _continued(model: "LanguageModel", wanted: Sequence[Wanted], options: GenerateOptions) -> list[Row]:
    """The continuation of each prompt with its seed, side by side."""
    return deque(grown(model, wanted, options), maxlen=1).pop()


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


def read_chat(model: "LanguageModel", chat: Any) -> Prompt:
    """A conversation as the model's chat template writes it. Errors: see `chat_text`."""
    text = chat_text(model, chat)
    ids = chat_ids(model.tokenizer, text)
    require(len(ids) > 0, "chat", chat, "at least one token", "write a message")
    return Prompt(text, tuple(ids), tuple(_prompt_blocks(model, ids, None)))


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

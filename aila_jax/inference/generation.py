"""Sampling text at a setting of the dial."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from aila_jax.config import require
from aila_jax.config.options import GenerateOptions
from aila_jax.inference.dial import dial_values
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.partition.kinds import text_blocks
from aila_jax.types import PADDING_ID, Array, Batch

if TYPE_CHECKING:
    from aila_jax.inference.language_model import LanguageModel


@flax.struct.dataclass
class _Sampling:
    """How a token is drawn.

    Attributes:
      key: of this draw.
      temperature: 0 takes the most likely token.
      top_k: tokens that may be drawn, the most likely ones.
    """

    key: Array
    temperature: Array
    top_k: int = flax.struct.field(pytree_node=False)


@partial(jax.jit, static_argnames="request")
def _next_token(
    network: Network,
    params: Any,
    batch: Batch,
    dial: Dial,
    request: Request,
    last: Array,
    sampling: _Sampling,
) -> Array:
    """Samples the token after position `last` of a batch of one row."""
    logits = network(params, batch, dial, request).logits
    assert logits is not None, "request asks for logits"
    kept, ids = jax.lax.top_k(logits[0, last], sampling.top_k)
    sampled = jax.random.categorical(sampling.key, kept / jnp.maximum(sampling.temperature, 1e-6))
    return ids[jnp.where(sampling.temperature > 0, sampled, 0)]


@dataclass(frozen=True)
class Continuation:
    """What a prompt was continued with.

    Attributes:
      text: the continuation, without the prompt.
      prompt_tokens: how long the prompt is.
      read_tokens: how many of its tokens, the last ones, the first new token was drawn after.
      length: tokens that the model reads at once.
    """

    text: str
    prompt_tokens: int
    read_tokens: int
    length: int

    @property
    def cut(self) -> str:
        """What is to be said of a prompt that was cut; empty where it was read whole."""
        if self.read_tokens == self.prompt_tokens:
            return ""
        return (
            f"the prompt has {self.prompt_tokens} tokens; its last {self.read_tokens} are read: the model"
            f" reads {self.length} at once, and of a full window the newer half stays"
        )


def tokens_read(prompt_tokens: int, length: int) -> int:
    """How many tokens of a prompt the first new one is drawn after: all, or the newer half of a window that
    they fill.
    """
    return prompt_tokens if prompt_tokens < length else max(length // 2, 1)


def generate_ids(
    model: "LanguageModel",
    prompt: list[int],
    options: GenerateOptions,
    block_ids: Sequence[int] | None = None,
) -> list[int]:
    """Continues `prompt`, token ids, as `options` say; one compiled step serves all tokens.

    When the window is full its older half is dropped, so the rest takes new positions and, for windows, new
    blocks. For the partition `given`, a line-end token closes a block where it does so in training
    (`model.given` is `lines`); elsewhere the continuation belongs to the block of the prompt's last token,
    since nothing says where a field or an annotated block ends.

    Args:
      block_ids: block of each token of the prompt, for the partition `given`; by default those that it would
        have had in training.

    Raises:
      ValueError: an empty prompt, blocks that the prompt does not show, or a model that cannot be asked for
        this.
    """
    config, length = model.config, model.config.model.length
    require(len(prompt) > 0, "prompt", "", "at least one token", "write some text")
    require(
        not config.model.bidirectional,
        "model.bidirectional",
        True,
        "False to generate",
        "train a causal model; a bidirectional one sees its targets",
    )
    lam, vocabulary = options.lam, model.tokenizer.vocab_size
    if config.model.hard:
        require(lam == 1.0, "lam", lam, "1, since the model was trained with hard blocks", "set lam=1")
    dial = Dial(dial_values(lam, "lam", 1), dial_values(options.tau, "tau", 1))
    temperature = jnp.float32(options.sample_temperature)
    among = min(options.top_k or vocabulary, vocabulary)
    ids, key = list(prompt), jax.random.key(options.seed)
    eos_id = model.tokenizer.eos_id
    blocks = _prompt_blocks(model, ids, block_ids)
    closes = config.partition.kind == "given" and model.given == "lines"
    start = len(ids) - tokens_read(len(ids), length)
    for count in range(options.max_tokens):
        if len(ids) - start >= length:
            start = len(ids) - tokens_read(len(ids) - start, length)
        batch, last = _window(ids[start:], blocks[start:], length)
        token = _next_token(
            model.network,
            model.params,
            batch,
            dial,
            Request(hard=config.model.hard),
            jnp.int32(last),
            _Sampling(jax.random.fold_in(key, count), temperature, among),
        )
        blocks.append(blocks[-1] + int(closes and ids[-1] == eos_id))
        ids.append(int(token))
    return ids[len(prompt) :]


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
    return [int(block) for block in block_ids]


def _window(ids: list[int], blocks: list[int], length: int) -> tuple[Batch, int]:
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

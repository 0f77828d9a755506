"""Gradient × input: how far each passage's embeddings push the log-probability of an answer, to first order.

    passage i:  Σ over its tokens t of ⟨x_t, ∂ log p(answer) / ∂x_t⟩,  x_t the embedding of token t

It is the derivative of log p(answer) by a factor on the embeddings of the passage, at 1: local, and no
leave-one-out. Positions are not part of x_t. Source: Shrikumar et al. (2016), "Not just a black box".
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from aila_jax.answering.modes import Asked
from aila_jax.answering.slots import Question, prefix_batch, with_room
from aila_jax.model.decoding import keys_and_values, query_logits
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.output import output_weights
from aila_jax.model.scanned import stacked
from aila_jax.types import Array, Batch


def gradient_times_input(asked: Asked, answer: Sequence[int]) -> Float[np.ndarray, "P"]:
    """Gradient × input of each passage for an answer whose tokens are fixed, nats.

    In branches log p is that of the mean of the branches, so a branch counts by its share of the probability.

    Args:
      asked: the question with its passages, in any mode.
      answer: the answer's tokens, at least one.
    """
    read = [_of_question(question, answer) for question in asked.questions]
    logprobs = np.array([logprob for logprob, _ in read])
    shares = np.exp(logprobs - np.logaddexp.reduce(logprobs))
    return np.concatenate([share * own for share, (_, own) in zip(shares, read, strict=True)])


def _of_question(question: Question, answer: Sequence[int]) -> tuple[float, Float[np.ndarray, "P"]]:
    """log p(answer), and gradient × input of each passage that one text has."""
    tokens, model = question.prefix.tokens, question.setting.model
    passages = 1 + max(int(tokens.pieces.max()), -1)
    batch, at, used = question.read(answer, np.ones((1, passages), bool))
    targets, counted = np.zeros(at.shape, np.int32), np.zeros(at.shape, np.float32)
    targets[:, used], counted[:, used] = answer, 1.0
    pieces = tokens.pieces[:, None] == np.arange(max(passages, 1))
    text = _Text(
        before=prefix_batch(tokens, np.ones(passages, bool)),
        batch=batch,
        at=at,
        targets=targets,
        counted=counted,
        pieces=pieces.astype(np.float32),
    )
    factors = np.ones(pieces.shape[1], np.float32)
    rest = (question.setting.dial, question.setting.request)
    logprob, found = _pushed(factors, model.network, model.params, text, *rest)
    return float(logprob), np.asarray(found, np.float64)[:passages]


@flax.struct.dataclass
class _Text:
    """A text with its answer, as arrays.

    Attributes:
      before: header and passages.
      batch: these, question and answer.
      at: slots of question and answer.
      targets: what follows each of them.
      counted: 1 where that is of the answer.
      pieces: 1 where a slot of `before` is of a passage.
    """

    before: Batch
    batch: Batch
    at: Int[Array, "1 T"]
    targets: Int[Array, "1 T"]
    counted: Float[Array, "1 T"]
    pieces: Float[Array, "S P"]


def _logprob(
    factors: Float[Array, "P"], network: Network, params: Any, text: _Text, dial: Dial, request: Request
) -> Float[Array, ""]:
    """log p(answer) where each passage's embeddings are multiplied by a factor."""
    # A row of the table for each token that is read, so that a factor is that of one passage alone; a table
    # that is the output's too stays there as it is.
    rows, size = params["embedding"][text.batch.tokens[0]], text.pieces.shape[0]
    rows = rows.at[:size].multiply(1.0 + (text.pieces @ (factors - 1.0))[:, None])
    scaled = {**params, "embedding": rows, "output": output_weights(params)}
    every = jnp.arange(rows.shape[0], dtype=jnp.int32)[None]
    before, batch = replace(text.before, tokens=every[:, :size]), replace(text.batch, tokens=every)
    encoded = keys_and_values(network.on_blocks(before.given_ids), scaled, before, dial, request)
    kept = with_room(stacked(list(encoded)), text.at.shape[1])
    found = query_logits(network.on_blocks(batch.given_ids), scaled, batch, dial, request, text.at, kept)
    logprobs = jax.nn.log_softmax(found.logits, axis=-1)
    chosen = jnp.take_along_axis(logprobs, text.targets[:, :, None], axis=2)[:, :, 0]
    return jnp.sum(chosen * text.counted)


_pushed = partial(jax.jit, static_argnames="request")(jax.value_and_grad(_logprob))

"""Answers of prompts, scored by plain forward passes: whether every token is ranked first, and how likely the
whole is.

An answer whose tokens are each ranked first after the right ones before it is what greedy generation gives.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from aila_jax.data.packing import Windows
from aila_jax.data.pipeline import eval_batches
from aila_jax.inference.language_model import LanguageModel
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.types import Array, Batch


@dataclass(frozen=True, eq=False)
class ScoredAnswers:
    """n answers, in the order of their windows, and in a window as they are asked for.

    Attributes:
      right: every token, the line end among them, is ranked first.
      log_prob: of the whole, nats.
      window: number of its window.
    """

    right: Bool[np.ndarray, " n"]
    log_prob: Float[np.ndarray, " n"]
    window: Int[np.ndarray, " n"]


@partial(jax.jit, static_argnames="hard")
def _scores(
    network: Network, params: Any, batch: Batch, lam: Array, tau: Array, hard: bool
) -> tuple[Bool[Array, "B L"], Float[Array, "B L"]]:
    """Whether each target is ranked first, and its log-probability."""
    logits = network(params, batch, Dial(lam, tau), Request(hard=hard)).logits
    assert logits is not None, "they are asked for"
    log_probs = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    chosen = jnp.take_along_axis(log_probs, batch.targets[..., None], axis=-1)[..., 0]
    return jnp.argmax(log_probs, axis=-1) == batch.targets, chosen


def score_answers(
    model: LanguageModel,
    windows: Windows,
    lam: float,
    tau: float = 1.0,
    hard: bool = False,
    batch_size: int = 32,
) -> ScoredAnswers:
    """Every answer of the windows at one setting of the dial.

    Args:
      model: what answers.
      windows: prompts (`Dataset.windows` of a corpus of questions).
      lam: λ.
      tau: τ.
      hard: nothing outside the blocks is seen.
      batch_size: windows at once.
    """
    right, log_prob = [], []
    for batch in eval_batches(windows, batch_size):
        given = (batch, np.float32(lam), np.float32(tau), hard)
        one, other = jax.device_get(_scores(model.network, model.params, *given))
        right.append(one)
        log_prob.append(other)
    count = len(windows)
    return by_answer(windows.batch.weights, np.concatenate(right)[:count], np.concatenate(log_prob)[:count])


def by_answer(
    weights: Float[np.ndarray, "W L"], right: Bool[np.ndarray, "W L"], log_prob: Float[np.ndarray, "W L"]
) -> ScoredAnswers:
    """Tokens put together to answers, which are the runs of targets that are scored."""
    scored = np.asarray(weights) > 0
    begins = scored & ~np.pad(scored, ((0, 0), (1, 0)))[:, :-1]
    number = np.cumsum(begins.ravel()).reshape(scored.shape) - 1  # of the answer, over all windows
    count = int(begins.sum())
    wrong = np.bincount(number[scored & ~right], minlength=count)
    total = np.bincount(number[scored], weights=np.asarray(log_prob, np.float64)[scored], minlength=count)
    return ScoredAnswers(wrong == 0, total, np.nonzero(begins)[0])

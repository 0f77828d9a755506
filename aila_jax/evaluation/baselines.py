"""What a model must beat: unigram and smoothed-bigram language models on the same tokens."""

import math

import numpy as np
from jaxtyping import Int

from aila_jax.evaluation.origin import Baseline

CONCENTRATIONS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


def unigram_loss(train: Int[np.ndarray, "T"], targets: Int[np.ndarray, "S"], vocab_size: int) -> float:
    """Mean cross-entropy, nats, of `targets` under add-one smoothed frequencies of `train`."""
    return float(-np.mean(np.log(_unigram(train, vocab_size)[targets])))


def bigram_loss(
    train: Int[np.ndarray, "T"], before: Int[np.ndarray, "S"], targets: Int[np.ndarray, "S"], vocab_size: int
) -> tuple[float, float]:
    """Mean cross-entropy, nats, of `targets`, each after its token of `before`, under a bigram model smoothed
    towards the unigram model.

    p(b | a) = (count(a, b) + κ p(b)) / (count(a) + κ), a Dirichlet prior; κ is the best of `CONCENTRATIONS`
    on the targets themselves, which favours the baseline.

    Returns:
      The loss and κ.
    """
    unigram = _unigram(train, vocab_size)
    first_counts = np.bincount(train[:-1], minlength=vocab_size)
    pairs, counts = np.unique(_pairs(train[:-1], train[1:], vocab_size), return_counts=True)
    wanted = _pairs(before, targets, vocab_size)
    at = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    seen = np.where(pairs[at] == wanted, counts[at], 0)
    losses = []
    for kappa in CONCENTRATIONS:
        probability = (seen + kappa * unigram[targets]) / (first_counts[before] + kappa)
        losses.append((float(-np.mean(np.log(probability))), kappa))
    return min(losses)


def baselines(
    train: Int[np.ndarray, "T"], before: Int[np.ndarray, "S"], targets: Int[np.ndarray, "S"], vocab_size: int
) -> dict[str, Baseline]:
    """Token perplexities of both on `targets`, each after its token of `before`, as they stand in a sweep's
    meta.
    """
    bigram, kappa = bigram_loss(train, before, targets, vocab_size)
    return {
        "unigram": Baseline(perplexity_token=math.exp(unigram_loss(train, targets, vocab_size))),
        "bigram": Baseline(perplexity_token=math.exp(bigram), concentration=kappa),
    }


def _unigram(train: Int[np.ndarray, "T"], vocab_size: int) -> np.ndarray:
    counts = np.bincount(train, minlength=vocab_size).astype(np.float64) + 1.0
    return counts / counts.sum()


def _pairs(before: Int[np.ndarray, "T"], after: Int[np.ndarray, "T"], vocab_size: int) -> np.ndarray:
    return before.astype(np.int64) * vocab_size + after

"""Tests of the baselines against dictionaries and loops."""

import collections
import math

import numpy as np
import pytest

from aila_jax.evaluation.baselines import CONCENTRATIONS, baselines, bigram_loss, unigram_loss
from aila_jax.evaluation.origin import Baseline

V = 12


def streams(seed):
    draw = np.random.default_rng(seed)
    return draw.integers(0, V - 2, 200).astype(np.int32), draw.integers(0, V, 60).astype(
        np.int32
    )  # two types are new in the second


def slow_unigram(train, vocab_size):
    counts = collections.Counter(train.tolist())
    return {token: (counts[token] + 1) / (len(train) + vocab_size) for token in range(vocab_size)}


def slow_bigram(train, scored, vocab_size, kappa):
    unigram = slow_unigram(train, vocab_size)
    pairs = collections.Counter(zip(train[:-1].tolist(), train[1:].tolist(), strict=True))
    first = collections.Counter(train[:-1].tolist())
    total = 0.0
    for before, after in zip(scored[:-1].tolist(), scored[1:].tolist(), strict=True):
        total -= math.log((pairs[before, after] + kappa * unigram[after]) / (first[before] + kappa))
    return total / (len(scored) - 1)


@pytest.mark.parametrize("seed", range(3))
def test_both_losses_are_those_of_a_loop_over_dictionaries(seed):
    train, scored = streams(seed)
    unigram = slow_unigram(train, V)
    assert unigram_loss(train, scored[1:], V) == pytest.approx(
        -sum(math.log(unigram[t]) for t in scored[1:].tolist()) / 59, rel=1e-12
    )
    slow = {kappa: slow_bigram(train, scored, V, kappa) for kappa in CONCENTRATIONS}
    loss, kappa = bigram_loss(train, scored[:-1], scored[1:], V)
    assert loss == pytest.approx(min(slow.values()), rel=1e-12)
    assert kappa == min(slow, key=slow.get)


def test_a_case_by_hand():
    # train 0 1 0 1: p = 3/6, 3/6 with V = 2. Scored 0 1: unigram ln 2. Bigram: 0 was followed by 1 twice out
    # of twice, so (2 + κ/2) / (2 + κ), largest at κ = 1: 2.5 / 3.
    train, scored = np.array([0, 1, 0, 1], np.int32), np.array([0, 1], np.int32)
    assert unigram_loss(train, scored[1:], 2) == pytest.approx(math.log(2))
    assert bigram_loss(train, scored[:-1], scored[1:], 2) == (pytest.approx(math.log(3 / 2.5)), 1.0)


def test_the_bigram_probabilities_add_up_to_one():
    train, _ = streams(0)
    for before in (0, V - 1):  # seen and never seen
        total = sum(math.exp(-slow_bigram(train, np.array([before, after]), V, 3.0)) for after in range(V))
        assert total == pytest.approx(1.0)


def test_a_large_vocabulary_does_not_overflow_the_pair_number():
    train = np.array([70_000, 69_999, 70_000, 69_999], np.int32)  # 70,000² is above 2³¹
    loss, _ = bigram_loss(train, train[:-1], train[1:], 70_001)
    assert loss == pytest.approx(min(slow_bigram(train, train, 70_001, kappa) for kappa in CONCENTRATIONS))


def test_perplexities_are_named_as_a_sweep_holds_them():
    train, scored = streams(1)
    loss, kappa = bigram_loss(train, scored[:-1], scored[1:], V)
    assert baselines(train, scored[:-1], scored[1:], V) == {
        "unigram": Baseline(perplexity_token=math.exp(unigram_loss(train, scored[1:], V))),
        "bigram": Baseline(perplexity_token=math.exp(loss), concentration=kappa),
    }


def test_targets_that_are_left_out_count_in_neither():
    """Two texts of one token each in the middle: the pairs into and out of them are those of no document."""
    train, scored = streams(2)
    keep = np.ones(59, bool)
    keep[[19, 20]] = False
    parts = scored[:20], scored[21:]
    unigram = slow_unigram(train, V)
    kept = [token for part in parts for token in part[1:].tolist()]
    found = baselines(train, scored[:-1][keep], scored[1:][keep], V)
    assert math.log(found["unigram"].perplexity_token) == pytest.approx(
        -np.mean([math.log(unigram[token]) for token in kept]), rel=1e-12
    )
    slow = [
        sum(slow_bigram(train, part, V, kappa) * (len(part) - 1) for part in parts) / len(kept)
        for kappa in CONCENTRATIONS
    ]
    assert math.log(found["bigram"].perplexity_token) == pytest.approx(min(slow), rel=1e-12)

"""Bits of a class-bigram model: against log-likelihood token by token, by hand, and at both ends."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aila_jax.partition.classes.bigrams import count_bigrams
from aila_jax.partition.classes.description_length import (
    description_length,
    model_bits,
    most_classes,
    pair_bits,
    rounding,
)
from tests.oracles import class_bigrams as oracle


def text(seed: int, vocab: int, length: int) -> np.ndarray:
    """Random tokens, not independent of each other, of at least two types."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, rng.integers(2, vocab + 1), length)
    tokens[1::2] = (tokens[:-1:2] + rng.integers(0, 2, len(tokens[1::2]))) % vocab
    tokens[:2] = 0, 1
    return tokens.astype(np.int32)


@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.integers(2, 80))
@settings(max_examples=60)
def test_bits_are_those_of_the_log_likelihood(seed: int, vocab: int, length: int) -> None:
    tokens = text(seed, vocab, length)
    table = np.random.default_rng(seed + 1).integers(0, vocab, vocab)
    found = description_length(count_bigrams(tokens, vocab), table)
    classes = len({int(table[token]) for token in tokens})
    assert found.data_bits == pytest.approx(oracle.data_bits(tokens, table), rel=1e-10, abs=1e-8)
    assert found.model_bits == pytest.approx(oracle.model_bits(vocab, classes, length - 1), rel=1e-12)
    assert found.total_bits == found.data_bits + found.model_bits


@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.integers(2, 80))
@settings(max_examples=40)
def test_one_class_and_a_class_for_each_type(seed: int, vocab: int, length: int) -> None:
    """One class knows nothing of the next; a class for each type knows all that a bigram model does."""
    tokens = text(seed, vocab, length)
    bigrams, count = count_bigrams(tokens, vocab), length - 1
    following = np.bincount(tokens[1:])
    entropy = sum(-n / count * math.log2(n / count) for n in following if n)
    known = oracle.mutual_information([(int(a), int(b)) for a, b in pairwise(tokens)])
    alone, all_types = (
        description_length(bigrams, np.zeros(vocab, int)),
        description_length(bigrams, np.arange(vocab)),
    )
    assert alone.data_bits == pytest.approx(count * entropy, abs=1e-8)
    assert all_types.data_bits == pytest.approx(count * (entropy - known), abs=1e-8)
    assert pair_bits(bigrams) == pytest.approx(count * known, abs=1e-8)


def test_bits_by_hand() -> None:
    """0 and 1 take turns with 2 and 3, each half of the time: classes {0, 1} and {2, 3} leave one bit a
    token.
    """
    tokens = np.array([0, 2, 1, 3, 0, 3, 1, 2, 0], np.int32)
    found = description_length(count_bigrams(tokens, 4), np.array([0, 0, 1, 1]))
    assert found.data_bits == pytest.approx(8.0)
    assert found.model_bits == pytest.approx(4 * 1 + 0.5 * 2 * 3 + 0.5 * 2 * 3)
    one = description_length(count_bigrams(tokens, 4), np.zeros(4, int))
    assert (one.data_bits, one.model_bits) == (pytest.approx(16.0), pytest.approx(0.5 * 3 * 3))


@given(st.integers(0, 2**32 - 1), st.integers(20, 200))
@settings(max_examples=15)
def test_no_larger_number_of_classes_can_pay(seed: int, length: int) -> None:
    tokens = text(seed, 5, length)
    bigrams = count_bigrams(tokens, 5)
    seen = bigrams.seen.tolist()
    every = [np.array([classes.get(token, 0) for token in range(5)]) for classes in oracle.partitions(seen)]
    bits = {int(table.max()) + 1: math.inf for table in every}
    for table in every:
        size = int(table.max()) + 1
        bits[size] = min(bits[size], description_length(bigrams, table).total_bits)
    for below in bits.values():
        bound = most_classes(bigrams, below)
        assert all(best >= below - rounding(bigrams.pairs) for size, best in bits.items() if size > bound)


def test_model_bits_grow_with_the_square_of_the_classes() -> None:
    bits = model_bits(100, np.array([1, 10, 50]), 1024)
    np.testing.assert_allclose(
        bits, [99 * 5, 100 * math.log2(10) + 90 * 5 + 90 * 5, 100 * math.log2(50) + 50 * 49 * 5 + 50 * 5]
    )


def test_counts_of_pairs_by_hand() -> None:
    bigrams = count_bigrams(np.array([3, 0, 0, 3, 0]), 5)
    np.testing.assert_array_equal(bigrams.following.toarray()[[0, 3]], [[1, 0, 0, 1, 0], [2, 0, 0, 0, 0]])
    np.testing.assert_array_equal(bigrams.preceding.toarray(), bigrams.following.toarray().T)
    assert (bigrams.first.tolist(), bigrams.second.tolist()) == ([2, 0, 0, 2, 0], [3, 0, 0, 1, 0])
    assert (bigrams.pairs, bigrams.seen.tolist()) == (4, [0, 3])


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([0, 1, 7], r"token id .* is 7; it must be in \[0, 5\)"),
        ([0, -1, 1], r"token id .* is -1; it must be in \[0, 5\)"),
        ([2, 2, 2], "types seen in the training split is 1; it must be at least 2"),
        ([], "types seen in the training split is 0; it must be at least 2"),
    ],
)
def test_texts_without_pairs_of_types_are_refused(tokens: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        count_bigrams(np.array(tokens, np.int32), 5)

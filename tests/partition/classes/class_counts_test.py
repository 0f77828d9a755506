"""Every incremental change of the bits is that of counting everything afresh."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aila_jax.partition.classes.bigrams import Bigrams, count_bigrams
from aila_jax.partition.classes.class_counts import ClassCounts
from aila_jax.partition.classes.description_length import description_length

SEEDS = st.integers(0, 2**32 - 1)


def a_state(seed: int) -> tuple[np.random.Generator, Bigrams, ClassCounts]:
    """A random text, in part of runs of one type, with random classes; some types of the vocabulary do not
    occur.
    """
    rng = np.random.default_rng(seed)
    vocab = int(rng.integers(4, 12))
    tokens = np.repeat(rng.integers(0, vocab - 1, 40), rng.integers(1, 3, 40))
    tokens[:3] = 0, 1, 2
    bigrams = count_bigrams(tokens, vocab)
    of = np.full(vocab, 99)
    of[bigrams.seen] = np.unique(rng.integers(0, rng.integers(2, 5), len(bigrams.seen)), return_inverse=True)[
        1
    ]
    return rng, bigrams, ClassCounts(bigrams, of)


def bits(state: ClassCounts, of: np.ndarray) -> float:
    return description_length(state.bigrams, of).data_bits


def same(left: float, right: float) -> bool:
    return left == pytest.approx(right, rel=1e-6, abs=1e-8)


@given(SEEDS)
@settings(max_examples=50)
def test_moves(seed: int) -> None:
    rng, bigrams, state = a_state(seed)
    for word in rng.permutation(bigrams.seen):
        before, gains = bits(state, state.of), state.move_gains(word)
        for target in range(state.size):
            of = state.of.copy()
            of[word] = target
            assert same(before - bits(state, of), gains[target])
        if np.sum(state.of == state.of[word]) > 1:
            state.move(word, int(rng.integers(state.size)))
        assert same(state.data_bits(), bits(state, state.of))
    fresh = ClassCounts(bigrams, state.of)
    np.testing.assert_array_equal(state.counts, fresh.counts)
    np.testing.assert_array_equal(state.token_shares(), fresh.token_shares())


@given(SEEDS)
@settings(max_examples=50)
def test_splits(seed: int) -> None:
    rng, bigrams, state = a_state(seed)
    which = int(np.argmax(np.bincount(state.of[bigrams.seen])))
    members = state.members(which)
    upper = np.zeros(bigrams.vocab_size, bool)
    upper[members[: rng.integers(1, len(members))] if len(members) > 1 else []] = True
    if not upper.any():
        return
    of = np.where(upper, state.size, state.of)
    gain = state.split_gain(which, upper)
    assert same(bits(state, state.of) - bits(state, of), gain)
    assert gain >= -1e-8
    state.split(which, upper)
    np.testing.assert_array_equal(state.of, of)
    assert same(state.data_bits(), bits(state, of))


@given(SEEDS)
@settings(max_examples=50)
def test_merges(seed: int) -> None:
    rng, _, state = a_state(seed)
    if state.size < 2:
        return
    gains = state.merge_gains()
    pairs = [(a, b) for a in range(state.size) for b in range(a + 1, state.size)]
    for a, b in pairs:
        assert same(bits(state, state.of) - bits(state, np.where(state.of == b, a, state.of)), gains[a, b])
    assert np.isneginf(gains[np.tril_indices(state.size)]).all()
    a, b = pairs[int(rng.integers(len(pairs)))]
    of = np.where(state.of == b, a, state.of)
    state.merge(a, b)
    np.testing.assert_array_equal(state.of, of - (of > b))
    assert same(state.data_bits(), bits(state, of))

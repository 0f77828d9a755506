"""Induced classes: those of languages that have some, at a number of classes that is given."""

from itertools import pairwise

import numpy as np
import pytest

from aila_jax.partition.classes.bigrams import count_bigrams
from aila_jax.partition.classes.description_length import description_length
from aila_jax.partition.classes.induced import induced_classes
from tests.support.languages import cyclic, noisy, same_classes

THREE = [[0, 1, 5], [2, 6, 7, 8], [3, 4]]


def test_finds_the_classes_of_a_cyclic_language() -> None:
    found = induced_classes(cyclic(THREE, 3001), 11, 3)
    assert same_classes(found.table[:9], THREE)
    np.testing.assert_array_equal(
        found.table[9:], np.full(2, found.table[2])
    )  # never seen: the class of most types
    assert found.names == ("c0", "c1", "c2")


def test_each_sweep_raises_the_mutual_information_until_none_moves() -> None:
    tokens = noisy(60, 6, 6000)
    bigrams = count_bigrams(tokens, 60)
    sweeps: list[tuple[int, int]] = []
    final = induced_classes(
        tokens, 60, 8, max_sweeps=50, on_sweep=lambda number, moved: sweeps.append((number, moved))
    )
    assert [number for number, _ in sweeps] == list(range(1, len(sweeps) + 1))
    assert sweeps[-1][1] == 0
    assert all(moved for _, moved in sweeps[:-1])
    bits = [
        description_length(bigrams, induced_classes(tokens, 60, 8, max_sweeps=most).table).data_bits
        for most in range(1, len(sweeps))
    ]
    assert all(after < before for before, after in pairwise(bits))
    best = description_length(bigrams, final.table)
    assert best.data_bits == pytest.approx(bits[-1])
    for word in bigrams.seen:
        for target in range(8):
            moved = np.where(np.arange(60) == word, target, final.table)
            if len(np.unique(moved)) == 8:
                assert description_length(bigrams, moved).data_bits >= best.data_bits - 1e-6


def test_every_class_holds_a_type_and_equal_texts_give_equal_tables() -> None:
    tokens = noisy(40, 5, 2000)
    types = len(np.unique(tokens))
    for n_classes in (2, 7, types):
        tables = [induced_classes(tokens, 40, n_classes).table for _ in range(2)]
        np.testing.assert_array_equal(tables[0], tables[1])
        assert len(np.unique(tables[0])) == n_classes


@pytest.mark.parametrize(
    ("n_classes", "max_sweeps", "message"),
    [
        (1, 20, "number of classes to induce is 1; it must be from 2 to the 9 types that occur"),
        (10, 20, "number of classes to induce is 10; it must be from 2 to the 9 types that occur"),
        (3, 0, "max_sweeps is 0; it must be at least 1"),
    ],
)
def test_numbers_outside_their_limits_are_refused(n_classes: int, max_sweeps: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        induced_classes(cyclic(THREE, 300), 12, n_classes, max_sweeps=max_sweeps)

"""Recruitment finds the classes of languages that have some, pays for each, and stops."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aila_jax.partition.classes.bigrams import count_bigrams
from aila_jax.partition.classes.description_length import description_length
from aila_jax.partition.classes.recruitment import Recruitment, RecruitmentStep, recruit
from tests.support.languages import cyclic, noisy, same_classes

TWO = [[0, 2, 4, 6, 8], [1, 3, 5, 7]]
THREE = [[0, 1, 5], [2, 6, 7, 8], [3, 4]]


@pytest.fixture(scope="module")
def noisy_text() -> np.ndarray:
    return noisy(40, 6, 9000, seed=6)


@pytest.fixture(scope="module")
def noisy_result(noisy_text: np.ndarray) -> Recruitment:
    return recruit(noisy_text, 44)


@pytest.mark.parametrize("start", [1, 2, 5])
@pytest.mark.parametrize("classes", [TWO, THREE], ids=["two", "three"])
def test_finds_exactly_the_classes_of_a_cyclic_language(start: int, classes: list[list[int]]) -> None:
    """By hand: the classes tell the next class for certain, and types of a class do not differ in their
    neighbours.
    """
    tokens = cyclic(classes, 3001)
    found = recruit(tokens, 9, start=start)
    assert found.classes == len(classes)
    assert same_classes(found.table, classes)
    assert found.finished


def test_classes_that_tell_nothing_are_not_recruited() -> None:
    tokens = np.random.default_rng(0).integers(0, 8, 4000).astype(np.int32)
    for start in (1, 2, 6):
        found = recruit(tokens, 8, start=start)
        assert (found.classes, found.finished) == (1, True)
    with pytest.raises(ValueError, match="number of classes recruited is 1; it must be at least 2"):
        found.class_table()


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([0, 4, 7]))
@settings(max_examples=8)
def test_every_step_lowers_the_bits(seed: int, start: int, max_classes: int) -> None:
    tokens = noisy(30, 5, 1500, seed)
    reported: list[RecruitmentStep] = []
    found = recruit(tokens, 32, start=start, max_classes=max_classes, on_step=reported.append)
    assert tuple(reported) == found.steps
    assert [step.step for step in reported] == list(range(len(reported)))
    assert (reported[0].kind, reported[0].classes, reported[0].types) == ("start", start, 0)
    change = {"recruit": 1, "move": 0, "merge": -1}
    for before, after in pairwise(reported):
        assert after.total_bits < before.total_bits
        assert after.classes - before.classes == change[after.kind]
        assert after.types >= 1
    limit = min(max_classes or found.most_classes, found.most_classes)
    assert all(step.classes <= max(limit, start) for step in reported)
    last, fresh = reported[-1], description_length(count_bigrams(tokens, 32), found.table)
    assert last.data_bits == pytest.approx(fresh.data_bits, rel=1e-9)
    assert last.model_bits == pytest.approx(fresh.model_bits, rel=1e-9)
    assert last.total_bits == last.data_bits + last.model_bits
    shares = np.bincount(found.table[tokens[1:]]) / (len(tokens) - 1)
    assert last.same_share == pytest.approx(float(shares @ shares))


def test_no_single_change_is_left_that_lowers_the_bits(
    noisy_text: np.ndarray, noisy_result: Recruitment
) -> None:
    """At the end neither moving one type nor merging two classes pays, each counted afresh."""
    assert noisy_result.finished
    bigrams, table = count_bigrams(noisy_text, 44), noisy_result.table
    best = description_length(bigrams, table).total_bits
    for word in bigrams.seen:
        for target in range(noisy_result.classes):
            assert (
                description_length(bigrams, np.where(np.arange(44) == word, target, table)).total_bits
                >= best - 1e-6
            )
    for a in range(noisy_result.classes):
        for b in range(a):
            assert description_length(bigrams, np.where(table == a, b, table)).total_bits >= best - 1e-6


def test_finds_the_classes_of_a_noisy_language(noisy_result: Recruitment) -> None:
    """The chain that made the text; on the way there classes are split, types move, and a class too many is
    merged again.
    """
    assert same_classes(noisy_result.table[:40], [list(range(which, 40, 6)) for which in range(6)])
    assert {step.kind for step in noisy_result.steps} == {"start", "recruit", "move", "merge"}
    assert max(step.classes for step in noisy_result.steps) == 7


def test_equal_texts_give_equal_results(noisy_text: np.ndarray, noisy_result: Recruitment) -> None:
    again = recruit(noisy_text.astype(np.int64), 44)
    np.testing.assert_array_equal(again.table, noisy_result.table)
    assert again.steps == noisy_result.steps


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_renaming_the_types_renames_the_classes_members(
    noisy_text: np.ndarray, noisy_result: Recruitment, seed: int
) -> None:
    """No two types of this text are equally frequent, so the same classes come out, under the same
    numbers.
    """
    counts = np.bincount(noisy_text)
    assert len(set(counts.tolist())) == len(counts) == 40
    names = np.random.default_rng(seed).permutation(44)
    renamed = recruit(names[noisy_text].astype(np.int32), 44)
    seen = np.unique(noisy_text)
    np.testing.assert_array_equal(renamed.table[names[seen]], noisy_result.table[seen])
    np.testing.assert_allclose(
        [step.total_bits for step in renamed.steps], [step.total_bits for step in noisy_result.steps]
    )


def test_numbers_go_by_tokens_and_unseen_types_join_the_class_of_most_types() -> None:
    found = recruit(cyclic(THREE, 3001), 12)
    by_tokens = [np.sum(found.table[cyclic(THREE, 3001)] == which) for which in range(3)]
    assert by_tokens == sorted(by_tokens, reverse=True)
    np.testing.assert_array_equal(
        found.table[9:], np.full(3, found.table[2])
    )  # [2, 6, 7, 8] is the class of most types
    classes = found.class_table()
    assert classes.names == ("c0", "c1", "c2")
    np.testing.assert_array_equal(classes.table, found.table)


def test_limits_are_kept(noisy_text: np.ndarray) -> None:
    few = recruit(noisy_text, 44, max_classes=3)
    assert max(step.classes for step in few.steps) == 3
    short = recruit(noisy_text, 44, max_rounds=1)
    assert not short.finished
    assert short.classes <= 4


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"start": 0}, "start is 0; it must be at least 1"),
        ({"start": 2.5}, "start is 2.5; it must be a whole number"),
        ({"start": True}, "start is True; it must be a whole number"),
        ({"max_classes": 2.5}, "max_classes is 2.5; it must be a whole number"),
        ({"start": 10}, "start is 10; it must be at most the 9 types that occur"),
        (
            {"start": 4, "max_classes": 3},
            "max_classes is 3; it must be 0 .* or at least 4.*raise max_classes to 4, or lower start",
        ),
        ({"start": 1, "max_classes": 1}, "max_classes is 1; it must be 0 .* or at least 2"),
        ({"max_classes": -1}, "max_classes is -1; it must be 0"),
        ({"max_rounds": 0}, "max_rounds is 0; it must be at least 1"),
    ],
)
def test_limits_that_contradict_are_refused(limits: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recruit(cyclic(TWO, 100), 9, **limits)


@pytest.mark.parametrize(
    "tokens", [np.array([0.0, 1.0, 2.0]), np.zeros((2, 3), np.int32)], ids=["floats", "a batch"]
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_what_is_no_row_of_ids_is_refused(tokens: np.ndarray) -> None:
    with pytest.raises(
        ValueError,
        match=rf"tokens is '{tokens.ndim}-dimensional {tokens.dtype}'; it must be one row of whole numbers",
    ):
        recruit(tokens, 9)

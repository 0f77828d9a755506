"""The layout of a prompt of passages."""

import numpy as np
import pytest

from aila_jax.data.prompts import Template, lay_out
from aila_jax.types import GLOBAL_ID


def test_positions_follow_each_other_or_are_equal_for_all_passages() -> None:
    header, passages, question = [1, 2], [[3, 4, 5], [6], [7, 8]], [9, 10]
    row = lay_out(header, passages, question)
    np.testing.assert_array_equal(row.tokens, np.arange(1, 11))
    np.testing.assert_array_equal(row.positions, np.arange(10))
    np.testing.assert_array_equal(row.block_ids, [GLOBAL_ID] * 2 + [0, 0, 0, 1, 2, 2] + [GLOBAL_ID] * 2)
    equal = lay_out(header, passages, question, capacity=4)
    np.testing.assert_array_equal(equal.positions, [0, 1, 2, 3, 4, 2, 2, 3, 6, 7])
    np.testing.assert_array_equal(equal.block_ids, row.block_ids)
    fewer = lay_out(header, passages[1:], question, capacity=4)
    np.testing.assert_array_equal(fewer.positions[-2:], equal.positions[-2:])


def test_a_passage_longer_than_its_place_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"passage 1 is .3 tokens.; it must be at most 2\. Fix: raise capacity"
    ):
        lay_out([1], [[2], [3, 4, 5]], [6], capacity=2)


def test_a_template_has_one_place_for_each_text() -> None:
    assert Template().passage_text("a {question}") == "a {question}\n"
    assert Template().question_text("why?") == "Question: why?\nAnswer:"
    with pytest.raises(ValueError, match=r"template\.passage is 'x'; it must be text with one \{passage\}"):
        Template(passage="x")

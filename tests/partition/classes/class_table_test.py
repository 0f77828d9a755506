"""Tests of class tables: what is kept, listed and refused."""

import numpy as np
import pytest

from aila_jax.partition.classes.class_table import ClassTable

NAMES = ("noun", "verb", "none")


def test_a_table_is_kept_as_a_frozen_int32_copy() -> None:
    given = np.array([0, 1, 1, 0], np.int64)
    table = ClassTable(NAMES, given)
    given[0] = 1
    assert (table.vocab_size, table.n_classes, table.table.dtype) == (4, 3, np.int32)
    np.testing.assert_array_equal(table.table, [0, 1, 1, 0])
    with pytest.raises(ValueError, match="read-only"):
        table.table[0] = 1


@pytest.mark.parametrize(
    ("names", "table", "message"),
    [
        (NAMES, [0, 3, 1], r"class of type 1 is 3; it must be from 0 to 2, since there are 3 classes\. Fix"),
        (NAMES, [0, 1, -1], r"class of type 2 is -1; it must be from 0"),
        (NAMES, [1, 1, 1], r"all 3 types are of class 'verb'; at least 2 classes must hold a type.*Fix"),
        (NAMES, [], r"class table is float64\[0\]; it must be whole numbers \[V\].*at least 1 type"),
        (NAMES, [0.0, 1.0], r"class table is float64\[2\]; it must be whole numbers"),
        (NAMES, [[0, 1]], r"class table is int64\[1, 2\]"),
        (("noun",), [0, 0], r"has 1 classes \('noun'\); it must have at least 2.*Fix"),
        (("noun", "verb", "noun"), [0, 1], r"classes 0 and 2 are both named 'noun'; names must differ"),
        (("noun", " "), [0, 1], r"class 1 is named ' '; it must be text"),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_what_is_no_class_table_is_refused(names, table, message) -> None:
    with pytest.raises(ValueError, match=message):
        ClassTable(names, np.asarray(table))

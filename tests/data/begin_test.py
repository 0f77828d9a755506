"""Windows with a begin token first, against a loop that writes them down token by token; and which targets
count.
"""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aila_jax.data.packing import TokenStream, Windows, pack
from aila_jax.types import PADDING_ID
from tests.data.packing_test import streams

BEGIN = 99  # no token of `streams`
PADDING = {
    "tokens": 0,
    "targets": 0,
    "weights": 0.0,
    "doc_ids": PADDING_ID,
    "given_ids": PADDING_ID,
    "pointers": -1,
}


def begun(stream: TokenStream, length: int, apart: bool) -> list[list[dict[str, float]]]:
    """The windows as lists of positions; `place` is the token's own in the stream, None of a begin token."""
    last, place, opened, windows = len(stream.tokens) - 1, 0, -1, []
    starts = [at == 0 or stream.doc_ids[at] != stream.doc_ids[at - 1] for at in range(last + 1)]
    while place < last or (starts[place] and opened < place):
        row: list[dict[str, float]] = []
        while len(row) < length and (place < last or (starts[place] and opened < place)):
            ids = {"doc_ids": stream.doc_ids[place], "given_ids": stream.given_ids[place]}
            first = starts[place] and opened < place
            if first or not row:
                scored = first and place > 0 and not apart
                row.append(
                    {
                        "tokens": BEGIN,
                        "targets": stream.tokens[place],
                        "weights": scored,
                        **ids,
                        "place": None,
                        "of": place,
                    }
                )
                opened = max(opened, place) if first else opened
                continue
            closes = starts[place + 1]
            target = BEGIN if closes else stream.tokens[place + 1]
            row.append(
                {
                    "tokens": stream.tokens[place],
                    "targets": target,
                    "weights": not closes,
                    **ids,
                    "place": place,
                    "of": place + 1,
                }
            )
            place += 1
        for one in row:
            there = [
                at
                for at, other in enumerate(row)
                if other["place"] is not None
                and other["place"] == (-2 if one["place"] is None else stream.pointers[one["place"]])
            ]
            one["pointers"] = there[0] if there else -1
        windows.append(row)
    return windows


MANY = streams().filter(lambda stream: len(stream.tokens) > 1)


@given(MANY, st.integers(2, 12), st.booleans())
def test_windows_are_those_of_the_loop(stream: TokenStream, length: int, apart: bool) -> None:
    windows = pack(stream, length, apart, "t", BEGIN)
    expected = begun(stream, length, apart)
    for name, nothing in PADDING.items():
        found = getattr(windows.batch, name)
        rows = [[one[name] for one in row] + [nothing] * (length - len(row)) for row in expected]
        assert found.dtype == (np.float32 if name == "weights" else np.int32)
        np.testing.assert_array_equal(found, rows, err_msg=name)
    assert windows.tokenizer == "t" and windows.document_mask == apart


@given(MANY, st.integers(2, 12), st.booleans())
def test_targets_are_those_without_a_begin_token(stream: TokenStream, length: int, apart: bool) -> None:
    plain, found = pack(stream, length, apart), pack(stream, length, apart, begin=BEGIN)

    def scored(windows: Windows) -> list[int]:
        return sorted(windows.batch.targets[windows.batch.weights > 0].tolist())

    assert scored(found) == scored(plain) and found.n_targets == plain.n_targets == len(scored(found))
    assert BEGIN not in scored(found)


@given(MANY, st.integers(2, 12), st.booleans())
def test_a_begin_token_is_first_everywhere(stream: TokenStream, length: int, apart: bool) -> None:
    batch = pack(stream, length, apart, begin=BEGIN).batch
    starts = np.diff(batch.doc_ids, axis=1, prepend=-9) != 0
    starts &= batch.doc_ids != PADDING_ID
    starts[:, 0] = True
    np.testing.assert_array_equal(starts, batch.tokens == BEGIN)
    if apart:
        assert (batch.positions[starts] == 0).all() and (batch.positions == 0).sum() == (
            starts.sum() + padded_starts(batch.doc_ids)
        )
    else:
        np.testing.assert_array_equal(batch.positions[0], range(length))


def padded_starts(doc_ids: np.ndarray) -> int:
    """Rows whose padding restarts the positions."""
    return int((doc_ids[:, -1] == PADDING_ID).sum())


def test_without_one_nothing_changes(stream: TokenStream) -> None:
    same, found = pack(stream, 7, False), pack(stream, 7, False, begin=None)
    for field in dataclasses.fields(same.batch):
        np.testing.assert_array_equal(getattr(found.batch, field.name), getattr(same.batch, field.name))


def test_a_window_has_room_for_another_token(stream: TokenStream) -> None:
    with pytest.raises(ValueError, match="length is 1; it must be at least 2"):
        pack(stream, 1, False, begin=0)

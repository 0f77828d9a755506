"""Tests of packing against a loop over stream positions."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aila_jax.data.packing import TokenStream, pack, unpack
from aila_jax.types import PADDING_ID, Batch


@st.composite
def streams(draw) -> TokenStream:
    """Documents of 1 to 9 tokens, each cut into pieces; each token points at one before it, at itself, or
    nowhere.
    """
    documents = draw(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3), min_size=1, max_size=6))
    doc_ids, given_ids = [], []
    for number, pieces in enumerate(documents):
        for size in pieces:
            given_ids += [given_ids[-1] + 1 if given_ids else 0] * size
            doc_ids += [number] * size
    tokens = draw(st.lists(st.integers(0, 50), min_size=len(doc_ids), max_size=len(doc_ids)))
    pointers = np.array([draw(st.integers(-1, place)) for place in range(len(doc_ids))], np.int32)
    return TokenStream(
        *(np.array(values, np.int32) for values in (tokens, doc_ids, given_ids)),
        words=1,
        bytes=1,
        pointers=pointers,
    )


def slow_pack(stream: TokenStream, length: int, document_mask: bool) -> dict[str, list[list[float]]]:
    """Window by window and position by position."""
    fields = [field.name for field in dataclasses.fields(Batch)]
    rows = {name: [] for name in fields}
    inputs = len(stream.tokens) - 1
    start = 0
    while start < inputs:
        row = {name: [] for name in fields}
        position = 0
        for p in range(start, start + length):
            real = p < inputs
            now = stream.doc_ids[p] if real else PADDING_ID
            before = None if p == start else row["doc_ids"][-1]
            position = 0 if before is None or (document_mask and now != before) else position + 1
            row["tokens"].append(stream.tokens[p] if real else 0)
            row["targets"].append(stream.tokens[p + 1] if real else 0)
            row["doc_ids"].append(now)
            row["given_ids"].append(stream.given_ids[p] if real else PADDING_ID)
            row["positions"].append(position)
            row["pointers"].append(stream.pointers[p] - start if real and stream.pointers[p] >= start else -1)
            row["weights"].append(float(real and (not document_mask or stream.doc_ids[p + 1] == now)))
        for name in fields:
            rows[name].append(row[name])
        start += length
    return rows


@given(streams().filter(lambda stream: len(stream.tokens) > 1), st.integers(1, 12), st.booleans())
def test_windows_are_those_of_the_slow_loop(stream, length, document_mask):
    windows = pack(stream, length, document_mask)
    expected = slow_pack(stream, length, document_mask)
    for name, rows in expected.items():
        found = getattr(windows.batch, name)
        assert found.dtype == (np.float32 if name == "weights" else np.int32)
        np.testing.assert_array_equal(found, rows, err_msg=name)
    assert len(windows) == len(expected["tokens"])
    assert windows.length == length


@given(streams().filter(lambda stream: len(stream.tokens) > 1), st.integers(1, 12), st.booleans())
def test_every_token_is_read_once_and_predicted_once(stream, length, document_mask):
    windows = pack(stream, length, document_mask)
    inputs, targets = unpack(windows)
    np.testing.assert_array_equal(inputs, stream.tokens[:-1])
    np.testing.assert_array_equal(targets, stream.tokens[1:])
    documents = len(set(stream.doc_ids.tolist()))
    assert (
        windows.n_targets
        == windows.batch.weights.sum()
        == len(stream.tokens) - (documents if document_mask else 1)
    )


def test_a_split_that_fills_its_windows_has_no_padding(stream):
    windows = pack(stream, 20, False)
    assert windows.batch.tokens.shape == (3, 20)
    assert (windows.batch.doc_ids != PADDING_ID).all()


def test_too_short_streams_and_lengths_are_refused(stream):
    one = TokenStream(stream.tokens[:1], stream.doc_ids[:1], stream.given_ids[:1], 1, 1)
    with pytest.raises(ValueError, match=r"has 1 tokens; it must have at least 2, .*Fix"):
        pack(one, 4, False)
    with pytest.raises(ValueError, match=r"length is 0; it must be at least 1\. Fix"):
        pack(stream, 0, False)


@pytest.mark.usefixtures("unchecked_shapes")
def test_streams_of_other_types_or_shapes_are_refused(stream):
    with pytest.raises(ValueError, match=r"doc_ids is int64\[61\]; it must be int32\[T\]"):
        dataclasses.replace(stream, doc_ids=stream.doc_ids.astype(np.int64))
    with pytest.raises(ValueError, match=r"given_ids is int32\[60\]; it must be int32\[T\]"):
        dataclasses.replace(stream, given_ids=stream.given_ids[:-1])

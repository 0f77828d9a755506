"""Block ids of the partitions, worked out by hand and by loops."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aila_jax.config import PartitionConfig
from aila_jax.partition.build import build_partition
from aila_jax.partition.kinds import Classes, Given, Segments, Windows, document_starts
from aila_jax.types import GLOBAL_ID, PADDING_ID, Batch
from tests.oracles import partitions as oracle

TOKENS = np.arange(14, dtype=np.int32).reshape(2, 7)
DOCS = np.array([[3, 3, 3, 3, 4, 4, 4], [5, 5, 5, 6, 6, -1, -1]], np.int32)
PIECES = np.array([[0, 0, 1, 1, 0, 2, 2], [9, 9, 9, 9, 8, 7, 7]], np.int32)
BATCH = Batch.from_tokens(TOKENS, PIECES, DOCS)
BOUNDARY = np.isin(np.arange(14), [1, 2, 5, 8, 10])
CLASSES = (np.arange(14) % 3).astype(np.int32)


def test_reserved_ids() -> None:
    assert (PADDING_ID, GLOBAL_ID) == (-1, -2)


@pytest.mark.parametrize(
    ("partition", "want"),
    [
        (Windows(3), [[0, 0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, -1, -1]]),
        (Windows(2), [[0, 0, 1, 1, 0, 0, 1], [0, 0, 1, 0, 0, -1, -1]]),
        (Windows(2, global_first=True), [[-2, 0, 1, 1, -2, 0, 1], [-2, 0, 1, -2, 0, -1, -1]]),
        (Given(), [[0, 0, 1, 1, 0, 2, 2], [9, 9, 9, 9, 8, -1, -1]]),
        (Given(global_first=True), [[-2, 0, 1, 1, -2, 2, 2], [-2, 9, 9, -2, 8, -1, -1]]),
        (Segments(BOUNDARY), [[0, 0, 1, 2, 0, 0, 1], [0, 0, 1, 0, 1, -1, -1]]),
        (Segments(BOUNDARY, True), [[-2, 0, 1, 2, -2, 0, 1], [-2, 0, 1, -2, 1, -1, -1]]),
        (Classes(CLASSES), [[0, 1, 2, 0, 1, 2, 0], [1, 2, 0, 1, 2, -1, -1]]),
        (Classes(CLASSES, True), [[-2, 1, 2, 0, -2, 2, 0], [-2, 2, 0, -2, 2, -1, -1]]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Windows | Given | Segments | Classes) else "",
)
def test_block_ids_by_hand(partition, want) -> None:
    found = partition(BATCH)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, want)
    np.testing.assert_array_equal(jax.jit(lambda batch: partition(batch))(BATCH), want)


def test_windows_do_not_restart_without_a_document_mask() -> None:
    running = BATCH.replace(positions=np.tile(np.arange(7, dtype=np.int32), (2, 1)))
    np.testing.assert_array_equal(Windows(5)(running), [[0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, -1, -1]])


def test_segments_do_not_restart_without_a_document_mask() -> None:
    running = BATCH.replace(positions=np.tile(np.arange(7, dtype=np.int32), (2, 1)))
    np.testing.assert_array_equal(
        Segments(BOUNDARY)(running), [[0, 0, 1, 2, 2, 2, 3], [0, 0, 1, 1, 2, -1, -1]]
    )


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=20)
def test_segments_are_counted_as_by_a_loop(seed: int, restart: bool) -> None:
    rng = np.random.default_rng(seed)
    tokens, documents = (
        rng.integers(0, 14, (2, 7)).astype(np.int32),
        np.sort(rng.integers(0, 3, (2, 7)), axis=1).astype(np.int32),
    )
    documents[0, 5:] = -1
    batch = Batch.from_tokens(tokens, doc_ids=documents)
    if not restart:
        batch = batch.replace(positions=np.tile(np.arange(7, dtype=np.int32), (2, 1)))
    boundary = rng.random(14) < 0.4
    np.testing.assert_array_equal(
        Segments(boundary)(batch), oracle.segments(tokens, documents, boundary, restart)
    )


def test_document_starts_hold_position_zero_even_at_padding() -> None:
    docs = np.array([[-1, -1, 0, 0, 2, -1], [1, 1, 0, 1, 1, 1]], np.int32)
    np.testing.assert_array_equal(document_starts(docs), [[1, 0, 1, 0, 1, 1], [1, 0, 1, 1, 0, 0]])


def test_configuration_names_the_partition() -> None:
    assert build_partition(PartitionConfig(size=3, global_first=True)) == Windows(3, True)
    assert build_partition(PartitionConfig(kind="given", global_first=True)) == Given(True)
    assert build_partition(PartitionConfig()) == Windows(5, False)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"size": 2.5}, "it must be a whole number"),
        ({"size": True}, "it must be a whole number"),
        ({"kind": "recruited", "start": 2.5}, "it must be a whole number"),
        ({"kind": "induced_classes", "classes": 4.0}, "it must be a whole number"),
        ({"size": 0}, "at least 1"),
        ({"kind": "window"}, "did you mean 'windows'"),
    ]
    for value, limit in refused:
        with pytest.raises(ValueError, match=limit):
            dataclasses.replace(PartitionConfig(), **value)


FAMILIES = [
    Windows(2),
    Windows(3, True),
    Given(),
    Given(True),
    Segments(BOUNDARY),
    Segments(BOUNDARY, True),
    Classes(CLASSES, True),
]


@given(st.integers(0, 2**32 - 1), st.sampled_from(FAMILIES), st.integers(1, 6))
@settings(max_examples=30)
def test_what_comes_later_never_changes_an_earlier_block_id(seed: int, partition, cut: int) -> None:
    rng = np.random.default_rng(seed)
    late = np.arange(7) >= cut
    other = Batch.from_tokens(
        *(
            np.where(late, rng.integers(-1, 9, x.shape), x).astype(np.int32)
            for x in (abs(TOKENS), PIECES, DOCS)
        )
    )
    np.testing.assert_array_equal(
        np.asarray(partition(other))[:, :cut], np.asarray(partition(BATCH))[:, :cut]
    )

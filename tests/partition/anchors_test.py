"""Anchors by hand and against loops; importance of groups and its inverse."""

import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aila_jax.partition.anchors import Anchors, ImportanceSums, select_anchors
from aila_jax.types import Batch
from tests.oracles import anchors as oracle
from tests.oracles.cases import DOCS, IDS

VOCAB = 6
SELECT = jax.jit(select_anchors, static_argnames=("k", "types"))


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens for IDS, and a table in which some types are level."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, VOCAB, IDS.shape).astype(np.int32), (rng.integers(0, 4, VOCAB) / 4).astype(
        np.float32
    )


def test_anchors_by_hand() -> None:
    """Two windows of 5 and a last one of 1: lowest entropy first, ties to the earlier, none in a block of one
    token.
    """
    table = np.array([0.9, 0.1, 0.5, 0.5], np.float32)
    tokens = np.array([[0, 2, 3, 1, 2, 0, 0, 0, 0, 0, 1]], np.int32)
    ids = np.arange(11, dtype=np.int32)[None] // 5
    want = {
        1: [0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0],
        2: [0, 1, 0, 1, 0, 1, 1, 0, 0, 0, 0],
        3: [0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0],
        4: [0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0],
    }
    for k, expected in want.items():
        np.testing.assert_array_equal(SELECT(tokens, ids, table, k=k), [expected])
    five = np.asarray(SELECT(tokens, ids, table, k=5))
    assert five.sum() == 8, "never the whole block"


def test_padding_global_tokens_and_documents() -> None:
    """Ids −1 and −2 are in no block and do not count in its size; equal ids in two documents are two blocks
    under a mask.
    """
    table = np.array([0.0, 0.5], np.float32)
    tokens = np.array([[0, 1, 0, 1, 1, 0, 0]], np.int32)
    ids = np.array([[-2, 3, -2, 3, 4, -1, -1]], np.int32)
    np.testing.assert_array_equal(SELECT(tokens, ids, table, k=3), [[0, 1, 0, 0, 0, 0, 0]])
    docs = np.array([[0, 0, 1, 1, 2, 2, 2]], np.int32)
    zero = np.zeros_like(ids)
    np.testing.assert_array_equal(SELECT(tokens, zero, table, k=1), [[1, 0, 0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(SELECT(tokens, zero, table, 1, docs), [[1, 0, 1, 0, 0, 1, 0]])


def test_anchors_of_a_class_are_types_wherever_they_stand() -> None:
    """A class with types 1 (three times), 2 and 3 of rising entropy: not the first places of type 1, and
    never every type.
    """
    table, tokens = np.array([0.9, 0.1, 0.5, 0.7], np.float32), np.array([[1, 1, 2, 1, 3, 0, 0]], np.int32)
    ids = np.array([[4, 4, 4, 4, 4, 7, 7]], np.int32)
    for k, expected in {1: [1, 1, 0, 1, 0, 0, 0], 2: [1, 1, 1, 1, 0, 0, 0], 5: [1, 1, 1, 1, 0, 0, 0]}.items():
        np.testing.assert_array_equal(SELECT(tokens, ids, table, k=k, types=True), [expected])
    np.testing.assert_array_equal(SELECT(tokens, ids, table, k=3), [[1, 1, 0, 1, 0, 1, 0]])


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.booleans(), st.booleans())
@settings(max_examples=60)
def test_anchors_equal_a_sort_of_each_block(seed: int, k: int, masked: bool, types: bool) -> None:
    tokens, table = draw(seed)
    found = SELECT(tokens, IDS, table, k, DOCS if masked else None, types)
    want = (oracle.anchor_types if types else oracle.anchors)(tokens, IDS, table, k, DOCS if masked else None)
    np.testing.assert_array_equal(found, want)
    made = Anchors(table, np.ones(VOCAB, np.int64), np.ones(3, np.float32), k, types=types)
    batch = Batch.from_tokens(tokens).replace(doc_ids=DOCS)
    np.testing.assert_array_equal(made.of(batch, IDS, masked), want)


@given(st.integers(0, 2**32 - 1), st.permutations(range(VOCAB)))
@settings(max_examples=20)
def test_renaming_types_and_blocks_changes_nothing(seed: int, names: list[int]) -> None:
    tokens, table = draw(seed)
    renamed = np.zeros_like(table)
    renamed[names] = table
    other_ids = np.where(IDS >= 0, 50 - IDS, IDS).astype(np.int32)
    found = SELECT(np.array(names, np.int32)[tokens], other_ids, renamed, k=2)
    np.testing.assert_array_equal(found, SELECT(tokens, IDS, table, k=2))


@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2, 3]))
@settings(max_examples=20)
def test_other_blocks_never_change_a_blocks_anchors(seed: int, block: int) -> None:
    tokens, table = draw(seed)
    other = np.where(
        block == IDS, tokens, np.random.default_rng(seed + 1).integers(0, VOCAB, IDS.shape)
    ).astype(np.int32)
    inside = block == IDS
    before, after = (np.asarray(SELECT(x, IDS, table, k=2)) for x in (tokens, other))
    np.testing.assert_array_equal(before[inside], after[inside])


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.booleans(), st.integers(0, 2))
@settings(max_examples=30)
def test_importance_equals_loops_and_adds_up_over_batches(
    seed: int, groups: int, masked: bool, cut: int
) -> None:
    tokens, table = draw(seed)
    table = (table + 0.1) / 1.2
    docs = DOCS if masked else None
    chosen = oracle.anchors(tokens, IDS, table, 2, docs)
    sums = ImportanceSums(groups)
    for rows in (slice(0, cut), slice(cut, 3)):
        sums.add(tokens[rows], IDS[rows], chosen[rows], table, None if docs is None else docs[rows])
    found = sums.importance()
    np.testing.assert_allclose(found, oracle.importance(tokens, IDS, chosen, table, groups, docs), rtol=1e-6)
    np.testing.assert_allclose(found.mean(), 1.0, rtol=1e-6)


def test_importance_by_hand() -> None:
    """Blocks 0 and 2 are of group 0, block 1 of group 1, group 2 has none: (.9 + .5)/2 and .2, mean .45."""
    table = np.array([0.1, 0.5, 0.8], np.float32)
    tokens, ids = np.array([[0, 2, 1, 2, 2, 2]], np.int32), np.array([[0, 0, 3, 3, 1, 1]], np.int32)
    sums = ImportanceSums(3)
    sums.add(tokens, ids, oracle.anchors(tokens, ids, table, 1), table)
    np.testing.assert_allclose(sums.importance(), [0.7 / 0.45, 0.2 / 0.45, 1.0], rtol=1e-6)
    even = ImportanceSums(2)
    even.add(tokens, ids, np.ones_like(ids, bool), np.ones(3, np.float32))
    np.testing.assert_array_equal(
        even.importance(), [1, 1]
    )  # every entropy is the largest: nothing stands out
    np.testing.assert_array_equal(ImportanceSums(2).importance(), [1, 1])
    lowest = ImportanceSums(2)
    lowest.add(tokens, ids, oracle.anchors(tokens, ids, table, 1), np.array([0.0, 1.0, 1.0], np.float32))
    # Group 0 has (1 + 0)/1 in block 0, group 1 has 0 twice: 2 and a hundredth, divided by their mean.
    np.testing.assert_allclose(lowest.importance(), np.array([2, 0.01]) / 1.005, rtol=1e-6)

"""Running counts of keys against loops over queries and keys."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aila_jax.config import Config, ModelConfig, PartitionConfig
from aila_jax.guarantees.key_counts import (
    KeyCounts,
    counts_of,
    counts_of_every_text,
    keys_inside,
    merge_counts,
)
from aila_jax.partition.kinds import Windows
from aila_jax.partition.relations import Relation
from aila_jax.types import Batch
from tests.oracles.attention import PADDING, in_block, may_attend
from tests.oracles.cases import DOCS, IDS

ids = st.lists(st.sampled_from([-2, -1, 0, 1, 7]), min_size=9, max_size=9)


def in_and_all(ids, docs=None) -> tuple[np.ndarray, np.ndarray]:
    """n_in and the number of keys of every position, as `keys_inside` counts them."""
    found = keys_inside(Relation(ids, docs))
    return found.n_in, found.n_keys


def every(partition: PartitionConfig, length: int) -> KeyCounts:
    return counts_of_every_text(Config(model=ModelConfig(length=64), partition=partition), length)


def by_loops(row, docs=None) -> tuple[list[int], list[int]]:
    """n_in and the number of keys of every position of one row."""
    keys = [[j for j in range(len(row)) if may_attend(row, t, j, True, docs)] for t in range(len(row))]
    return [sum(in_block(row[t], row[j]) for j in keys[t]) for t in range(len(row))], [
        len(found) for found in keys
    ]


@given(st.lists(ids, min_size=1, max_size=3), st.booleans())
@settings(max_examples=60)
def test_counts_are_those_of_a_loop(rows: list[list[int]], masked: bool) -> None:
    block_ids = np.array(rows, np.int32)
    docs = np.where(block_ids == PADDING, PADDING, np.arange(9) // 4) if masked else None
    n_in, n_keys = in_and_all(block_ids, docs)
    for b in range(len(rows)):
        assert (n_in[b].tolist(), n_keys[b].tolist()) == by_loops(
            block_ids[b], None if docs is None else docs[b]
        )


def test_kinds_of_queries_and_merging() -> None:
    whole = counts_of(IDS, DOCS)
    merged = merge_counts([counts_of(IDS[:1], DOCS[:1]), counts_of(IDS[1:], DOCS[1:])])
    listed = {
        (a, b): n
        for a, b, n in zip(
            whole.n_in[0].tolist(), whole.n_out[0].tolist(), whole.queries.tolist(), strict=True
        )
    }
    assert listed == {
        (a, b): n
        for a, b, n in zip(
            merged.n_in[0].tolist(), merged.n_out[0].tolist(), merged.queries.tolist(), strict=True
        )
    }
    assert sum(listed.values()) == int((IDS != PADDING).sum())
    for (n_in, n_out), queries in listed.items():
        each = [by_loops(row, docs) for row, docs in zip(IDS, DOCS, strict=True)]
        same = [
            row[t] != PADDING and (inside[t], keys[t] - inside[t]) == (n_in, n_out)
            for row, (inside, keys) in zip(IDS, each, strict=True)
            for t in range(len(row))
        ]
        assert sum(same) == queries


@pytest.mark.parametrize("global_first", [False, True])
@pytest.mark.parametrize("size", [1, 3, 5, 40])
def test_windows_have_these_counts_in_every_text(size: int, global_first: bool) -> None:
    counts = every(PartitionConfig(size=size, global_first=global_first), 13)
    n_in, n_keys = in_and_all(
        np.asarray(Windows(size, global_first)(Batch.from_tokens(np.zeros((1, 13), np.int32))))
    )
    assert counts.worst == global_first  # further documents inside the window may add to n_in
    assert counts.n_in.tolist() == n_in.tolist()
    assert (counts.n_in + counts.n_out).tolist() == n_keys.tolist()


@given(st.lists(st.integers(0, 3), min_size=12, max_size=12), st.booleans())
@settings(max_examples=40)
def test_no_text_has_worse_counts_than_the_worst(blocks: list[int], global_first: bool) -> None:
    counts = every(PartitionConfig(kind="given", global_first=global_first), 12)
    assert counts.worst
    row = np.array([[-2 if global_first else blocks[0], *blocks[1:]]], np.int32)
    n_in, n_keys = in_and_all(row)
    assert (n_in[0] >= counts.n_in).all()
    assert (n_keys[0] == counts.n_in + counts.n_out).all()
    more = counts.with_company()
    assert (more.n_in[counts.accompanied] >= 2).all()
    for inside, keys in zip(n_in[0], n_keys[0], strict=True):
        if inside >= 2:
            assert inside >= more.n_in[more.n_in + more.n_out == keys].min()


def test_documents_inside_a_window_only_add_keys_to_blocks() -> None:
    """Each document's first token is in every block then, so the counts without further documents are the
    worst.
    """
    docs = np.array([[0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2]], np.int32)
    batch = Batch.from_tokens(np.zeros((1, 13), np.int32), doc_ids=docs)
    batch = batch.replace(positions=np.arange(13, dtype=np.int32)[None])
    n_in, n_keys = in_and_all(np.asarray(Windows(3, True)(batch)))
    counts = every(PartitionConfig(size=3, global_first=True), 13)
    assert (n_in[0] >= counts.n_in).all() and (n_in[0] > counts.n_in).any()
    assert (n_keys[0] == counts.n_in + counts.n_out).all()


def test_accompanied_queries_have_two_keys_in_their_block() -> None:
    windows = every(PartitionConfig(size=2), 5)
    assert windows.accompanied.tolist() == [[False, True, False, True, False]]
    assert windows.with_company().n_in.tolist() == windows.n_in.tolist()
    other = every(PartitionConfig(kind="given"), 3)
    assert other.accompanied.tolist() == [[False, True, True]]
    assert (other.with_company().n_in[0, 1:].tolist(), other.with_company().n_out[0, 1:].tolist()) == (
        [2, 2],
        [0, 1],
    )
    assert not every(PartitionConfig(size=1), 4).accompanied.any()

"""Running counts of keys against loops over queries and keys."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aila_jax.config import PartitionConfig
from aila_jax.guarantees.key_counts import counts_of, counts_of_every_text, keys_in_block, merge_counts
from aila_jax.partition.kinds import Windows
from aila_jax.types import Batch
from tests.oracles.attention import PADDING, in_block, may_attend
from tests.oracles.cases import DOCS, IDS

ids = st.lists(st.sampled_from([-2, -1, 0, 1, 7]), min_size=9, max_size=9)


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
    n_in, n_keys = keys_in_block(block_ids, docs)
    for b in range(len(rows)):
        assert (n_in[b].tolist(), n_keys[b].tolist()) == by_loops(
            block_ids[b], None if docs is None else docs[b]
        )


def test_kinds_of_queries_and_merging() -> None:
    whole = counts_of(IDS, DOCS)
    merged = merge_counts([counts_of(IDS[:1], DOCS[:1]), counts_of(IDS[1:], DOCS[1:])])
    listed = {
        (a, b): n
        for a, b, n in zip(whole.n_in.tolist(), whole.n_out.tolist(), whole.queries.tolist(), strict=True)
    }
    assert listed == {
        (a, b): n
        for a, b, n in zip(merged.n_in.tolist(), merged.n_out.tolist(), merged.queries.tolist(), strict=True)
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
    counts = counts_of_every_text(PartitionConfig(size=size, global_first=global_first), 13)
    n_in, n_keys = keys_in_block(
        np.asarray(Windows(size, global_first)(Batch.from_tokens(np.zeros((1, 13), np.int32))))
    )
    assert counts.worst == global_first  # further documents inside the window may add to n_in
    assert counts.n_in.tolist() == n_in[0].tolist()
    assert (counts.n_in + counts.n_out).tolist() == n_keys[0].tolist()


@given(st.lists(st.integers(0, 3), min_size=12, max_size=12), st.booleans())
@settings(max_examples=40)
def test_no_text_has_worse_counts_than_the_worst(blocks: list[int], global_first: bool) -> None:
    counts = counts_of_every_text(PartitionConfig(kind="given", global_first=global_first), 12)
    assert counts.worst
    row = np.array([[-2 if global_first else blocks[0], *blocks[1:]]], np.int32)
    n_in, n_keys = keys_in_block(row)
    assert (n_in[0] >= counts.n_in).all()
    assert (n_keys[0] == counts.n_in + counts.n_out).all()
    more = counts.accompanied()
    assert (more.n_in >= 2).all()
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
    n_in, n_keys = keys_in_block(np.asarray(Windows(3, True)(batch)))
    counts = counts_of_every_text(PartitionConfig(size=3, global_first=True), 13)
    assert (n_in[0] >= counts.n_in).all() and (n_in[0] > counts.n_in).any()
    assert (n_keys[0] == counts.n_in + counts.n_out).all()


def test_accompanied_queries_have_two_keys_in_their_block() -> None:
    windows = counts_of_every_text(PartitionConfig(size=2), 5).accompanied()
    assert (windows.n_in.tolist(), windows.n_out.tolist()) == ([2, 2], [0, 2])
    other = counts_of_every_text(PartitionConfig(kind="given"), 3).accompanied()
    assert (other.n_in.tolist(), other.n_out.tolist()) == ([2, 2], [0, 1])
    assert len(counts_of_every_text(PartitionConfig(size=1), 4).accompanied().n_in) == 0

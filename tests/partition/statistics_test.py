"""Block statistics: against loops on random ids, on cases solved by hand, and added over batches."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aila_jax.partition.correlation import block_correlation, rho, vector_sums
from aila_jax.partition.kinds import Windows
from aila_jax.partition.statistics import BlockSums, block_sums, in_block_keys, total
from aila_jax.types import Batch
from tests.oracles import partitions as oracle


def random_windows(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids with padding at the end and global tokens, and documents that stand together."""
    rng = np.random.default_rng(seed)
    doc_ids = np.sort(rng.integers(0, 3, (4, 9)), axis=1) + 10
    ids = rng.integers(0, 3, (4, 9))
    ids[rng.random(ids.shape) < 0.15] = -2
    padding = np.arange(9) >= rng.integers(4, 10, (4, 1))
    return np.where(padding, -1, ids).astype(np.int32), np.where(padding, -1, doc_ids).astype(np.int32)


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=40)
def test_against_loops(seed: int, document_mask: bool) -> None:
    ids, doc_ids = random_windows(seed)
    documents = doc_ids if document_mask else None
    want = oracle.in_block_keys(ids, documents)
    np.testing.assert_array_equal(in_block_keys(ids, documents), want)
    both_sides = oracle.in_block_keys(ids, documents, bidirectional=True)
    np.testing.assert_array_equal(in_block_keys(ids, documents, bidirectional=True), both_sides)
    sums = block_sums(ids, documents)
    sizes = oracle.block_sizes(ids, documents)
    assert np.repeat(np.arange(len(sums.sizes)), sums.sizes).tolist() == sizes
    found = sums.statistics()
    real = ids != -1
    assert found.n_in == pytest.approx(want[real].mean(), rel=1e-12)
    alone = oracle.in_block_keys(np.where(ids == -2, -1, ids), documents)
    assert found.n_local == pytest.approx(alone[real & (ids != -2)].sum() / real.sum(), rel=1e-12)
    assert found.share_two == pytest.approx((want[real] >= 2).mean(), rel=1e-12)
    assert (found.tokens, found.windows) == (real.sum(), 4)
    assert found.blocks == len(sizes) / 4 and found.size_largest == max(sizes, default=0)
    assert found.size_mean == pytest.approx(np.mean(sizes) if sizes else 0.0)
    assert found.size_median == (np.median(sizes) if sizes else 0.0)


def test_windows_of_five_have_three_keys_a_query_and_parts_add_up() -> None:
    batch = Batch.from_tokens(np.zeros((6, 20), np.int32))
    ids = np.asarray(Windows(5)(batch))
    found = block_sums(ids).statistics()
    assert (found.n_in, found.n_local, found.share_two) == (3.0, 3.0, 0.8)
    assert (found.blocks, found.size_mean, found.size_median, found.size_largest) == (4.0, 5.0, 5.0, 5)
    ragged = np.asarray(Windows(7)(batch))
    assert total([block_sums(ids[:2]), block_sums(ragged[2:]), block_sums(ids[:0])]).statistics() == (
        block_sums(np.concatenate([ids[:2], ragged[2:]])).statistics()
    )
    with pytest.raises(ValueError, match="hold 0 tokens"):
        block_sums(np.full((2, 3), -1)).statistics()
    assert isinstance(total([]), BlockSums)


def test_correlation_by_hand() -> None:
    """Three blocks at 0, 90 and 45 degrees around the common mean, which is the origin."""
    vectors = np.array([[1, 0], [3, 0], [0, 2], [0, 2], [-2, -2], [-2, -2]], np.float64).reshape(1, 6, 2)
    ids = np.array([[4, 4, 9, 9, 5, 5]])
    found = block_correlation(lambda: [(ids, vectors)])
    root = np.sqrt(0.5)
    assert found.rho_max == pytest.approx(root)
    assert found.rho_mean == pytest.approx((0 + root + root) / 3)
    assert found.within == pytest.approx(1.0)
    assert (found.blocks, found.tokens) == (3, 6)


def test_correlation_of_tokens_with_their_block_in_parts_and_without_padding() -> None:
    rng = np.random.default_rng(0)
    vectors, ids = rng.standard_normal((4, 30, 5)) + 3.0, rng.integers(-2, 5, (4, 30))
    flat, labels = vectors[ids >= 0], ids[ids >= 0]
    centre = flat.mean(axis=0)
    means = {label: flat[labels == label].mean(axis=0) - centre for label in range(5)}

    def cosine(x, y):
        return x @ y / np.linalg.norm(x) / np.linalg.norm(y)

    within = np.mean([cosine(x - centre, means[label]) for x, label in zip(flat, labels, strict=True)])
    pairs = [abs(cosine(means[a], means[b])) for a in range(5) for b in range(a)]
    whole = block_correlation(lambda: [(ids, vectors)])
    parts = block_correlation(lambda: [(ids[:1], vectors[:1]), (ids[1:], vectors[1:])])
    for found in (whole, parts):
        assert found.rho_max == pytest.approx(max(pairs)) and found.rho_mean == pytest.approx(np.mean(pairs))
        assert found.within == pytest.approx(within)


@pytest.mark.parametrize(
    ("blocks", "reason"),
    [(1, r"fewer than 3 blocks \(1\)"), (2, r"fewer than 3 blocks \(2\)"), (5000, "5,000 .* 4,096")],
)
def test_rho_of_too_few_or_too_many_blocks_is_undefined_and_says_why(blocks: int, reason: str) -> None:
    ids = np.arange(6000).reshape(1, 6000) % blocks
    found = rho(vector_sums(ids, np.random.default_rng(0).standard_normal((1, 6000, 3))))
    assert (found.largest, found.mean) == (None, None)
    assert re.search(reason, found.undefined)


def test_rho_of_parallel_means_is_undefined_and_says_why() -> None:
    found = rho(vector_sums(np.array([[0, 1, 2]]), np.array([[[1.0], [2.0], [4.0]]])))
    assert found.largest is None and found.mean == pytest.approx(1.0)
    assert "0.999 or more" in found.undefined

"""Tests of training batches (order, state, fingerprint) and evaluation batches."""

import dataclasses
import itertools
import json

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aila_jax.data.packing import pack
from aila_jax.data.pipeline import TrainBatches, chosen_windows, eval_batches
from aila_jax.types import PADDING_ID, Batch


def firsts(batches, count: int) -> list[int]:
    """First token of every row of the next `count` batches; tokens of the fixture's stream are all
    different.
    """
    return [int(token) for batch in itertools.islice(batches, count) for token in batch.tokens[:, 0]]


def same(left: Batch, right: Batch) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, left, right)))


@pytest.fixture
def windows(stream):
    pointers = np.arange(len(stream.tokens), dtype=np.int32) - 1
    return pack(dataclasses.replace(stream, pointers=pointers), 4, True, tokenizer="t")  # 15 windows


def test_every_epoch_has_every_window_once_in_another_order(windows):
    order = firsts(TrainBatches(windows, 5, seed=0), 9)
    epochs = [order[start : start + 15] for start in (0, 15, 30)]
    assert all(sorted(epoch) == list(range(100, 160, 4)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_batches_run_across_the_edge_of_an_epoch(windows):
    order = firsts(TrainBatches(windows, 4, seed=0), 15)
    assert len(order) == 60
    assert all(sorted(order[start : start + 15]) == list(range(100, 160, 4)) for start in (0, 15, 30, 45))


def test_rows_keep_all_their_arrays_together(windows):
    for batch in itertools.islice(TrainBatches(windows, 4, seed=3), 8):
        for row in range(4):
            number = (int(batch.tokens[row, 0]) - 100) // 4
            for field in dataclasses.fields(Batch):
                expected = getattr(windows.batch, field.name)[number]
                found = getattr(batch, field.name)[row]
                assert found.dtype == expected.dtype
                np.testing.assert_array_equal(found, expected)


def test_seed_decides_the_order(windows):
    one, again, other = (firsts(TrainBatches(windows, 5, seed=seed), 6) for seed in (1, 1, 2))
    assert one == again
    assert one[:15] != other[:15]


def test_neighbouring_seeds_share_no_epoch(windows):
    epochs = [
        tuple(firsts(TrainBatches(windows, 15, seed=seed), 4)[start : start + 15])
        for seed in range(4)
        for start in (0, 15, 30, 45)
    ]
    assert len(set(epochs)) == 16


@pytest.mark.parametrize("done", [0, 1, 3, 4, 7, 11])  # an epoch is 3.75 batches
def test_state_continues_with_the_same_batches(windows, done):
    running = TrainBatches(windows, 4, seed=5)
    firsts(running, done)
    state = json.loads(json.dumps(running.get_state()))
    expected = list(itertools.islice(running, 6))
    fresh = TrainBatches(windows, 4, seed=5)
    fresh.set_state(state)
    assert all(same(left, right) for left, right in zip(itertools.islice(fresh, 6), expected, strict=True))
    running.set_state(state)  # and backwards on the same iterator
    assert same(next(running), expected[0])


def test_state_of_other_data_or_settings_is_refused(stream, windows):
    state = TrainBatches(windows, 4, seed=5).get_state()
    changed_token = dataclasses.replace(
        stream, tokens=np.where(np.arange(61) == 60, 7, stream.tokens).astype(np.int32)
    )
    changed_piece = dataclasses.replace(stream, given_ids=np.minimum(stream.given_ids, 7).astype(np.int32))
    others = {
        "seed": TrainBatches(windows, 4, seed=6),
        "batch size": TrainBatches(windows, 5, seed=5),
        "length": TrainBatches(pack(stream, 5, True, tokenizer="t"), 4, seed=5),
        "document mask": TrainBatches(pack(stream, 4, False, tokenizer="t"), 4, seed=5),
        "tokenizer": TrainBatches(pack(stream, 4, True, tokenizer="u"), 4, seed=5),
        "tokens": TrainBatches(pack(changed_token, 4, True, tokenizer="t"), 4, seed=5),
        "pieces": TrainBatches(pack(changed_piece, 4, True, tokenizer="t"), 4, seed=5),
    }
    for name, other in others.items():
        with pytest.raises(ValueError, match=rf"has fingerprint '{state['fingerprint']}'.*Fix: resume with"):
            other.set_state(state)
        assert other.fingerprint != state["fingerprint"], name
    with pytest.raises(ValueError, match="has fingerprint None"):
        TrainBatches(windows, 4, seed=5).set_state({"grain": {"next_index": 3}})


def test_fingerprint_of_one_document_is_not_that_of_another_mask(stream):
    # One document in one window: both masks give the same arrays, the setting alone tells them apart.
    single = dataclasses.replace(stream, doc_ids=np.zeros(61, np.int32))
    masks = [TrainBatches(pack(single, 60, mask), 1, seed=0).fingerprint for mask in (True, False)]
    assert masks[0] != masks[1]


@pytest.mark.parametrize("batch_size", [0, -1, 16])
def test_batch_sizes_outside_the_windows_are_refused(windows, batch_size):
    with pytest.raises(
        ValueError,
        match=(
            rf"train\.batch_size is {batch_size}; it must be from 1 to the number of training windows,"
            r" 15\. Fix"
        ),
    ):
        TrainBatches(windows, batch_size, seed=0)


@pytest.mark.parametrize("batch_size", [1, 4, 5, 15, 40])
def test_eval_batches_are_all_windows_in_order_padded_to_one_shape(windows, batch_size):
    batches = list(eval_batches(windows, batch_size))
    assert {batch.tokens.shape for batch in batches} == {(batch_size, 4)}
    assert len(batches) == -(-15 // batch_size)
    joined = jax.tree.map(lambda *arrays: np.concatenate(arrays), *batches)
    for field in dataclasses.fields(Batch):
        array, expected = getattr(joined, field.name), getattr(windows.batch, field.name)
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array[:15], expected)
    padding = jax.tree.map(lambda array: array[15:], joined)
    assert not padding.weights.any()
    assert not padding.tokens.any()
    assert not padding.targets.any()
    assert (padding.doc_ids == PADDING_ID).all()
    assert (padding.given_ids == PADDING_ID).all()
    assert (padding.positions == np.arange(4)).all()
    assert (padding.pointers == -1).all()
    assert sum(batch.weights.sum() for batch in batches) == windows.n_targets


def test_max_batches_takes_the_first_ones(windows):
    every = list(eval_batches(windows, 4))
    for limit, expected in ((0, 4), (1, 1), (3, 3), (4, 4), (9, 4)):
        some = list(eval_batches(windows, 4, limit, "first"))
        assert len(some) == expected
        assert all(same(left, right) for left, right in zip(some, every, strict=False))


def test_bad_eval_settings_are_refused(windows):
    with pytest.raises(ValueError, match=r"batch_size is 0; it must be at least 1\. Fix"):
        eval_batches(windows, 0)
    with pytest.raises(ValueError, match=r"max_batches is -1; it must be at least 0.*Fix"):
        eval_batches(windows, 4, -1)


@given(st.integers(1, 200), st.integers(1, 9), st.integers(0, 12))
def test_a_part_of_a_split_is_spread_over_it(windows, batch_size, max_batches):
    chosen = chosen_windows(windows, batch_size, max_batches)
    count = windows if max_batches == 0 else min(windows, max_batches * batch_size)
    assert len(set(chosen.tolist())) == len(chosen) == count
    if count == windows:
        assert chosen.tolist() == list(range(windows))
        return
    gaps = np.diff(np.sort(chosen))
    assert gaps.max(initial=0) <= (windows - 1) / max(count - 1, 1) + 1  # nowhere is a hole
    assert count == 1 or (chosen.min(), chosen.max()) == (0, windows - 1)
    # Each batch has windows from all over: one of each of batch_size equal stretches of what was chosen.
    for batch in chosen.reshape(max_batches, batch_size):
        stretch = np.searchsorted(np.sort(chosen), batch) // max_batches
        assert sorted(stretch.tolist()) == list(range(batch_size))


def test_the_old_rule_takes_the_first(windows):
    assert firsts(eval_batches(windows, 4, 2, "first"), 2) == list(range(100, 132, 4))
    assert firsts(eval_batches(windows, 4, 2), 2) != list(range(100, 132, 4))
    assert firsts(eval_batches(windows, 4), 3) == list(range(100, 148, 4))

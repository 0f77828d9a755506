"""Targets by place: against loops over positions, merged over any split, for windows and for blocks of any
length.
"""

import jax
import numpy as np
import pytest

from aila_jax.loss.cross_entropy import TargetScores
from aila_jax.metrics.places import Part, by_place, last_and_others, place_sums, places
from aila_jax.types import Batch

IDS = np.array([[0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3], [-2, 4, 4, 4, 7, 7, -2, 7, -1, -1, -1]], np.int32)
MEASURE = jax.jit(place_sums, static_argnums=3)


def loops(ids: np.ndarray) -> list[tuple[int, int, int, bool]]:
    """(row, position, place, whether its run ends) of every position, by walking along the rows."""
    found = []
    for row, line in enumerate(ids.tolist()):
        place = 0
        for position, block in enumerate(line):
            place = place + 1 if position and line[position - 1] == block else 0
            found.append((row, position, place, position == len(line) - 1 or line[position + 1] != block))
    return found


def material(rows: int = 6) -> tuple[TargetScores, Batch, np.ndarray]:
    rng = np.random.default_rng(0)
    ids = np.tile(IDS, (rows // 2, 1))
    batch = Batch.from_tokens(rng.integers(0, 9, ids.shape), ids, np.where(ids == -1, -1, 0))
    batch = batch.replace(weights=(batch.weights * (rng.random(ids.shape) < 0.8)).astype(np.float32))
    return TargetScores(rng.random(ids.shape).astype(np.float32), rng.random(ids.shape) < 0.4), batch, ids


def test_places_of_windows_and_of_blocks_of_any_length() -> None:
    found = places(IDS, np.broadcast_to(np.arange(IDS.shape[1], dtype=np.int32), IDS.shape))
    for row, position, place, ends in loops(IDS):
        assert (int(found[0][row, position]), bool(found[1][row, position])) == (place, ends)
    windows = np.arange(128, dtype=np.int32)[None] // 5
    place, ends = places(windows, np.arange(128, dtype=np.int32)[None])
    np.testing.assert_array_equal(place[0], np.arange(128) % 5)
    assert ends.sum() == -(-128 // 5) == 26  # ⌈L/w⌉, the end of the cut window among them


def test_a_block_ends_with_its_document_where_positions_start_again() -> None:
    """Documents of 3 and 4 tokens in windows of 5, all of which are block 0."""
    place, ends = places(np.zeros((1, 7), np.int32), np.array([[0, 1, 2, 0, 1, 2, 3]], np.int32))
    assert place.tolist() == [[0, 1, 2, 0, 1, 2, 3]]
    assert ends.tolist() == [[False, False, True, False, False, False, True]]


@pytest.mark.parametrize("count", [1, 3, 8])
def test_sums_are_those_of_loops(count: int) -> None:
    scores, batch, ids = material()
    found = jax.device_get(MEASURE(scores, batch, ids, count))
    want = {name: np.zeros((count, 2)) for name in ("loss", "correct", "targets")}
    for row, position, place, ends in loops(ids):
        if batch.weights[row, position] > 0:
            at = min(place, count - 1), int(ends)
            want["loss"][at] += scores.losses[row, position]
            want["correct"][at] += scores.first[row, position]
            want["targets"][at] += 1
    np.testing.assert_allclose(found.loss, want["loss"], rtol=1e-6)
    np.testing.assert_array_equal(found.correct, want["correct"])
    np.testing.assert_array_equal(found.targets, want["targets"])
    assert found.targets.sum() == (batch.weights > 0).sum()


def test_parts_add_up_to_the_whole_over_any_split() -> None:
    scores, batch, ids = material()
    whole = jax.device_get(MEASURE(scores, batch, ids, 4))
    parts = [
        jax.device_get(MEASURE(*jax.tree.map(lambda x, rows=rows: x[rows], (scores, batch, ids)), 4))
        for rows in ([0, 1, 2], [3, 4, 5])
    ]
    merged = jax.tree.map(lambda *x: sum(x), *parts)
    np.testing.assert_array_equal(merged.targets, whole.targets)
    np.testing.assert_allclose(merged.loss, whole.loss, rtol=1e-6)
    last, others = last_and_others(whole)
    assert last.targets == sum(1 for r, p, _, ends in loops(ids) if ends and batch.weights[r, p] > 0)
    assert last.targets + others.targets == whole.targets.sum()
    total = last.targets * last.accuracy + others.targets * others.accuracy
    assert total == pytest.approx((scores.first & (batch.weights > 0)).sum())
    split = by_place(whole)
    assert [part.targets for part in split] == whole.targets.sum(axis=1).tolist()
    assert split[1].loss == pytest.approx(whole.loss[1].sum() / whole.targets[1].sum())


def test_where_nothing_is_scored_there_is_no_mean() -> None:
    scores, batch, ids = material()
    nothing = jax.device_get(MEASURE(scores, batch.replace(weights=0 * batch.weights), ids, 2))
    assert last_and_others(nothing) == (Part(0, None, None), Part(0, None, None))

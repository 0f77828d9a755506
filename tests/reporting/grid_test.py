"""A sweep read as a grid."""

import dataclasses
import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aila_jax.evaluation.rows import SweepResult
from aila_jax.reporting.grid import by_tau, cells_at, heads_at, nearest_tau, sees_targets, spread


def test_cells_are_grouped_by_tau_in_order_of_lam(sweep: SweepResult) -> None:
    cells = list(sweep.cells)
    random.Random(0).shuffle(cells)
    grid = by_tau(dataclasses.replace(sweep, cells=tuple(cells)))
    assert list(grid) == [0.5, 1.0, 2.0]
    for tau, row in grid.items():
        assert [(cell.lam, cell.tau) for cell in row] == [
            (lam, tau) for lam in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
        ]


def test_empty_and_doubled_cells_are_refused(sweep: SweepResult) -> None:
    with pytest.raises(ValueError, match="the sweep has 0 cells"):
        by_tau(dataclasses.replace(sweep, cells=()))
    with pytest.raises(ValueError, match=r"two cells at λ = 0, τ = 0\.5"):
        by_tau(dataclasses.replace(sweep, cells=sweep.cells + sweep.cells[:1]))


def test_nearest_tau_is_nearest_as_a_ratio(make_sweep: Callable[..., SweepResult]) -> None:
    assert nearest_tau(make_sweep(taus=(0.5, 1.0, 2.0))) == 1.0
    assert (
        nearest_tau(make_sweep(taus=(0.4, 1.7))) == 1.7
    )  # |ln 1.7| = 0.53 < |ln 0.4| = 0.92, though 0.4 is nearer by difference
    assert nearest_tau(make_sweep(taus=(0.5, 2.0))) == 2.0


def test_cells_at_an_unknown_tau_name_the_known_ones(sweep: SweepResult) -> None:
    assert [cell.lam for cell in cells_at(sweep, 2.0 + 1e-12)] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    with pytest.raises(
        ValueError, match=r"tau is 3\.0; it must be one of the sweep's: 0\.5, 1, 2\. Fix: pass tau=2"
    ):
        cells_at(sweep, 3.0)


def test_heads_are_grouped_by_lam(sweep: SweepResult) -> None:
    rows = heads_at(dataclasses.replace(sweep, heads=sweep.heads[::-1]), 1.0)
    assert list(rows) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert [(row.layer, row.head) for row in rows[0.4]] == [
        (layer, head) for layer in range(2) for head in range(4)
    ]
    assert {(row.lam, row.tau) for row in rows[0.4]} == {(0.4, 1.0)}
    with pytest.raises(ValueError, match="0 head rows at τ = 1"):
        heads_at(dataclasses.replace(sweep, heads=()), 1.0)


def test_a_configuration_that_does_not_say_is_neither_causal_nor_leaky(
    make_sweep: Callable[..., SweepResult],
) -> None:
    assert sees_targets(make_sweep()) is False
    assert sees_targets(make_sweep(bidirectional=True)) is True


@given(st.integers(1, 200), st.integers(2, 20))
def test_spread_holds_both_ends_and_no_index_twice(count: int, most: int) -> None:
    indices = spread(count, most)
    assert indices == sorted(set(indices))
    assert (len(indices), indices[0], indices[-1]) == (min(count, most), 0, count - 1)
    steps = [after - before for before, after in itertools.pairwise(indices)]
    assert not steps or max(steps) - min(steps) <= 1

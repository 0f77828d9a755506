"""The heatmaps of heads, read back from their images."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from aila_jax.evaluation.rows import SweepResult
from aila_jax.reporting.plots import heads_figure


def test_images_hold_the_rows_at_tau_one(sweep: SweepResult) -> None:
    fig = heads_figure(sweep)
    images = [axes.images[0] for axes in fig.axes if axes.images]
    assert len(images) == 12
    for index, image in enumerate(images):
        field, lam = ("entropy_bits", "block_mass")[index // 6], (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)[index % 6]
        want = np.zeros((2, 4))
        for row in sweep.heads:
            if (row.lam, row.tau) == (lam, 1.0):
                want[row.layer, row.head] = getattr(row, field)
        np.testing.assert_array_equal(image.get_array(), want)
    assert [axes.get_title() for axes in fig.axes[:6]] == [
        "λ = 0",
        "λ = 0.2",
        "λ = 0.4",
        "λ = 0.6",
        "λ = 0.8",
        "λ = 1",
    ]


def test_each_quantity_has_one_scale(sweep: SweepResult) -> None:
    images = [axes.images[0] for axes in heads_figure(sweep).axes if axes.images]
    most = max(row.entropy_bits for row in sweep.heads if row.tau == 1.0)
    assert {image.get_clim() for image in images[:6]} == {(0.0, most)}
    assert {image.get_clim() for image in images[6:]} == {(0.0, 1.0)}


def test_many_lams_are_thinned_and_large_models_have_no_numbers(
    make_sweep: Callable[..., SweepResult],
) -> None:
    fig = heads_figure(make_sweep(lams=tuple(index / 20 for index in range(21)), taus=(0.5,), shape=(12, 12)))
    assert [axes.get_title() for axes in fig.axes[:6]] == [
        "λ = 0",
        "λ = 0.2",
        "λ = 0.4",
        "λ = 0.6",
        "λ = 0.8",
        "λ = 1",
    ]
    assert not any(axes.texts for axes in fig.axes)
    assert "τ = 0.5" in fig.get_supxlabel()


def test_small_models_have_numbers(sweep: SweepResult) -> None:
    axes = heads_figure(sweep).axes
    row = next(row for row in sweep.heads if (row.lam, row.tau, row.layer, row.head) == (0.0, 1.0, 1, 2))
    texts = {(text.get_position(), text.get_text()) for text in axes[0].texts}
    assert ((2, 1), f"{row.entropy_bits:.1f}") in texts
    assert ((2, 1), f"{row.block_mass:.2f}"[1:]) in {
        (text.get_position(), text.get_text()) for text in axes[6].texts
    }


def test_a_missing_head_is_blank(sweep: SweepResult) -> None:
    image = heads_figure(dataclasses.replace(sweep, heads=sweep.heads[:-1])).axes[5].images[0]
    assert not np.ma.getmaskarray(image.get_array()).any()
    heads = tuple(row for row in sweep.heads if (row.lam, row.layer, row.head) != (1.0, 0, 3))
    values = np.ma.filled(
        heads_figure(dataclasses.replace(sweep, heads=heads)).axes[5].images[0].get_array(), np.nan
    )
    assert np.argwhere(np.isnan(values)).tolist() == [[0, 3]]


def test_no_heads_are_refused(sweep: SweepResult) -> None:
    with pytest.raises(ValueError, match="0 head rows"):
        heads_figure(dataclasses.replace(sweep, heads=()))

"""The dial and trade-off figures: what is drawn, read back from the axes."""

import dataclasses
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from aila_jax.evaluation.rows import SweepResult
from aila_jax.reporting.plots import dial_figure, tradeoff_figure
from aila_jax.reporting.style import DARK

FIELDS = ("perplexity_token", "accuracy", "entropy_bits", "block_mass")


def drawn(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """The data of every line of the axes, by label."""
    return {
        str(line.get_label()): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()
    }


def legend_of(fig: Figure) -> list[str]:
    """The texts of the figure's legend."""
    return [text.get_text() for text in fig.legends[0].get_texts()]


def expected(result: SweepResult, tau: float, field: str) -> tuple[list[float], list[float]]:
    """λ and a field's values at one τ, straight from the rows."""
    cells = [cell for cell in result.cells if cell.tau == tau]
    return [cell.lam for cell in cells], [getattr(cell, field) for cell in cells]


def test_each_panel_draws_its_quantity_for_each_tau(sweep: SweepResult) -> None:
    fig = dial_figure(sweep)
    assert legend_of(fig) == ["τ = 0.5", "τ = 1", "τ = 2", "uniform attention"]
    for axes, field in zip(fig.axes, FIELDS, strict=True):
        lines = drawn(axes)
        for tau in (0.5, 1.0, 2.0):
            assert lines[f"τ = {tau:g}"] == expected(sweep, tau, field)
        assert ("uniform attention" in lines) == (field == "block_mass")
    assert drawn(fig.axes[3])["uniform attention"] == expected(sweep, 1.0, "block_mass_uniform")


def test_what_is_guaranteed_is_dotted_where_anything_is(make_sweep: Callable[..., SweepResult]) -> None:
    result = make_sweep(lams=(0.0, 0.5, 1.0), taus=(1.0, 2.0))
    known = {(0.5, 1.0): 0.3, (1.0, 1.0): 0.9, (1.0, 2.0): 0.6}
    cells = tuple(
        dataclasses.replace(
            cell,
            guaranteed_block_mass=known.get(at),
            guaranteed_entropy_bits=known.get(at) and 2.0 - known[at],
        )
        for cell in result.cells
        for at in [(cell.lam, cell.tau)]
    )
    fig = dial_figure(dataclasses.replace(result, cells=cells))
    assert legend_of(fig) == ["τ = 1", "τ = 2", "uniform attention", "guaranteed"]
    bits, dotted = (
        [line for line in axes.get_lines() if line.get_linestyle() == ":" and len(line.get_xdata())]
        for axes in fig.axes[2:]
    )
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in dotted] == [
        ([0.5, 1.0], [0.3, 0.9]),
        ([1.0], [0.6]),
    ]
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in bits] == [
        ([0.5, 1.0], [1.7, 1.1]),
        ([1.0], [1.4]),
    ]
    colours = {line.get_label(): line.get_color() for line in fig.axes[3].get_lines()}
    assert [line.get_color() for line in dotted] == [colours["τ = 1"], colours["τ = 2"]]
    assert "guaranteed" not in legend_of(dial_figure(result))


def test_axes_name_quantity_unit_and_split(sweep: SweepResult) -> None:
    axes = dial_figure(sweep, perplexity="word").axes
    assert [panel.get_title(loc="left") for panel in axes] == [
        "Perplexity",
        "Accuracy",
        "Attention entropy",
        "Block mass",
    ]
    assert {panel.get_xlabel() for panel in axes} == {"locality λ"}
    assert axes[0].get_ylabel() == "per word (validation)"
    assert drawn(axes[0])["τ = 1"] == expected(sweep, 1.0, "perplexity_word")
    assert "bits" in axes[2].get_ylabel()


@pytest.mark.parametrize(("most", "scale"), [(29.9, "linear"), (30.1, "log")])
def test_perplexity_is_logarithmic_beyond_a_factor_of_three(
    make_sweep: Callable[..., SweepResult], most: float, scale: str
) -> None:
    result = make_sweep(taus=(1.0,), perplexity_token=10.0)
    result = dataclasses.replace(
        result, cells=(*result.cells[:-1], dataclasses.replace(result.cells[-1], perplexity_token=most))
    )
    for axes in (dial_figure(result).axes[0], tradeoff_figure(result).axes[0]):
        assert axes.get_yscale() == scale
        assert ("log scale" in axes.get_ylabel()) == (scale == "log")
        low, high = axes.get_ylim()
        assert sum(low <= tick <= high for tick in axes.get_yticks()) >= 3


def test_several_results_are_compared_at_tau_one_or_the_nearest(
    make_sweep: Callable[..., SweepResult],
) -> None:
    plain, other = make_sweep(loss=5.0), make_sweep(taus=(0.5, 4.0), block_mass_uniform=0.05)
    fig = dial_figure({"plain": plain, "other": other})
    assert legend_of(fig) == ["plain", "other (τ = 0.5)", "uniform, plain", "uniform, other (τ = 0.5)"]
    for axes, field in zip(fig.axes, FIELDS, strict=True):
        assert drawn(axes)["plain"] == expected(plain, 1.0, field)
        assert drawn(axes)["other (τ = 0.5)"] == expected(other, 0.5, field)
    assert drawn(fig.axes[3])["uniform, other (τ = 0.5)"][1] == [0.05] * 6


def test_results_with_the_same_uniform_attention_share_its_line(
    sweep: SweepResult, make_sweep: Callable[..., SweepResult]
) -> None:
    assert legend_of(dial_figure({"a": sweep, "b": make_sweep(block_mass=0.5)})) == [
        "a",
        "b",
        "uniform attention",
    ]


def test_lines_differ_in_colour_and_marker(make_sweep: Callable[..., SweepResult]) -> None:
    taus = (0.25, 0.5, 1.0, 2.0, 4.0)
    for fig in (
        dial_figure(make_sweep(taus=taus)),
        dial_figure({str(tau): make_sweep(taus=(1.0,)) for tau in taus}),
    ):
        lines = fig.axes[0].get_lines()
        assert len({to_hex(line.get_color()) for line in lines}) == 5
        assert len({line.get_marker() for line in lines}) == 5


def test_colours_of_tau_go_from_dark_to_bright(sweep: SweepResult) -> None:
    for theme in ({}, {"theme": DARK}):
        colours = [
            np.array(matplotlib.colors.to_rgb(line.get_color()))
            for line in dial_figure(sweep, **theme).axes[0].get_lines()
        ]
        brightness = [float(colour @ [0.2126, 0.7152, 0.0722]) for colour in colours]
        assert brightness == sorted(brightness)


def test_different_tokenizers_compare_by_word_or_byte_only(make_sweep: Callable[..., SweepResult]) -> None:
    small, large = make_sweep(), make_sweep()
    data = dataclasses.replace(large.config.data, vocab_size=8192)
    large = dataclasses.replace(large, config=dataclasses.replace(large.config, data=data))
    with pytest.raises(
        ValueError, match=r"the tokenizers are .*8192.* Fix: pass perplexity='byte' or 'word'"
    ):
        dial_figure({"small": small, "large": large})
    fig = dial_figure({"small": small, "large": large}, perplexity="byte")
    assert drawn(fig.axes[0])["large"] == expected(large, 1.0, "perplexity_byte")


def test_refusals(sweep: SweepResult, make_sweep: Callable[..., SweepResult]) -> None:
    for make in (dial_figure, tradeoff_figure):
        with pytest.raises(ValueError, match="0 cells"):
            make(dataclasses.replace(sweep, cells=()))
        with pytest.raises(ValueError, match="perplexity_word is None"):
            make(make_sweep(perplexity_word=None), perplexity="word")
        with pytest.raises(ValueError, match="did you mean 'token'"):
            make(sweep, perplexity="tokens")
    for count in (0, 7):
        with pytest.raises(ValueError, match=f"{count} results were given; there must be 1 to 6"):
            dial_figure({str(index): sweep for index in range(count)})


def test_a_model_that_sees_its_targets_is_named_so(make_sweep: Callable[..., SweepResult]) -> None:
    leaky = make_sweep(bidirectional=True)
    for fig in (dial_figure(leaky), tradeoff_figure(leaky), dial_figure({"leaky": leaky})):
        assert "sees its targets" in legend_of(fig)[0]


def test_tradeoff_has_a_line_per_tau_and_labels_of_lam(sweep: SweepResult) -> None:
    fig = tradeoff_figure(sweep)
    axes = fig.axes[0]
    for tau in (0.5, 1.0, 2.0):
        assert drawn(axes)[f"τ = {tau:g}"] == (
            expected(sweep, tau, "entropy_bits")[1],
            expected(sweep, tau, "perplexity_token")[1],
        )
    assert axes.get_xlabel() == "attention entropy (bits)"
    assert axes.get_ylabel() == "perplexity per token (validation)"
    for text in axes.texts:
        at_one = text.get_text().startswith("λ = ")
        lam = float(text.get_text().removeprefix("λ = "))
        (cell,) = [c for c in sweep.cells if (c.entropy_bits, c.perplexity_token) == tuple(text.xy)]
        assert cell.lam == lam
        assert at_one == (cell.tau == 1.0)
    assert {"λ = 0", "λ = 1"} <= {text.get_text() for text in axes.texts}


def overlaps(texts: list[Any], fig: Figure) -> list[tuple[str, str]]:
    """Pairs of texts whose boxes overlap."""
    fig.draw_without_rendering()
    boxes = [
        (text.get_text(), text.get_window_extent())
        for text in texts
        if text.get_text() and text.get_visible()
    ]
    return [
        (a, b)
        for index, (a, box) in enumerate(boxes)
        for b, other in boxes[index + 1 :]
        if box.overlaps(other)
    ]


@pytest.mark.parametrize("crowded", [False, True])
def test_no_text_covers_another(make_sweep: Callable[..., SweepResult], crowded: bool) -> None:
    result = (
        make_sweep(lams=tuple(index / 20 for index in range(21)), taus=(0.25, 0.5, 1.0, 2.0, 4.0))
        if crowded
        else make_sweep()
    )
    for fig in (dial_figure(result), tradeoff_figure(result)):
        texts = list(fig.legends[0].get_texts())
        for axes in fig.axes:
            ticks = axes.get_xticklabels() + axes.get_yticklabels()
            shown = [
                tick for tick in ticks if axes.get_window_extent().padded(1).contains(*_anchor(tick, axes))
            ]
            texts += [axes.xaxis.label, axes.yaxis.label, axes._left_title, *axes.texts, *shown]
        assert overlaps(texts, fig) == []


def _anchor(tick: Any, axes: Axes) -> tuple[float, float]:
    """Where on the axes' edge a tick label belongs, in display coordinates; labels beyond the limits are not
    drawn.
    """
    x, y = tick.get_transform().transform(tick.get_position())
    box = axes.get_window_extent()
    return (x, box.y0) if tick in axes.get_xticklabels() else (box.x0, y)


def test_the_legend_fits_the_figure(make_sweep: Callable[..., SweepResult]) -> None:
    labels = [f"a rather long name of a training run, number {index}" for index in range(6)]
    for fig in (
        dial_figure({label: make_sweep() for label in labels}),
        tradeoff_figure(make_sweep(taus=tuple(0.25 * index for index in range(1, 13)))),
    ):
        fig.draw_without_rendering()
        legend = fig.legends[0].get_window_extent()
        assert legend.x0 >= 0
        assert legend.x1 <= fig.bbox.x1


def test_the_users_matplotlib_settings_neither_matter_nor_change(sweep: SweepResult) -> None:
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30, "xtick.labelsize": 30}):
        before = dict(matplotlib.rcParams)
        axes = dial_figure(sweep).axes[0]
        assert dict(matplotlib.rcParams) == before
    assert to_hex(axes.get_facecolor()) == "#ffffff"
    assert axes.xaxis.label.get_fontsize() == 9
    assert axes.get_xticklabels()[0].get_fontsize() == 9

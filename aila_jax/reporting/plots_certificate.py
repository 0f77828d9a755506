"""A certificate as a figure: guaranteed block mass by position, and by head beside what was measured."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from aila_jax.evaluation.rows import HeadRow
from aila_jax.guarantees.certificates import Certificate
from aila_jax.reporting.style import CATEGORIES, LIGHT, Theme, house_style, legend_above, ordered_colours


def certificate_figure(
    found: Certificate,
    measured: Mapping[tuple[int, int], HeadRow] | None = None,
    *,
    of: str = "",
    theme: Theme = LIGHT,
) -> Figure:
    """Left: guaranteed block mass of each head by position, a colour a layer, with uniform attention's.
    Right: its mean by head.

    Where `measured` has rows at this λ and τ, the right panel shows their block mass beside the guarantee.
    `of` is the text that alone is certified, or its beginning; empty for every text.
    """
    layers, heads, positions = found.block_mass.shape
    counts, what = found.counts, "seen scores allow" if found.gap.empirical else "guaranteed"
    with house_style(theme):
        fig = Figure(figsize=(7.2, 3.2), layout="constrained")
        left, right = fig.subplots(1, 2, width_ratios=(3, 2), sharey=True)
        for layer, colour in enumerate(ordered_colours(layers, theme)):
            for head in range(heads):
                label = f"layer {layer}, {what}" if head == 0 else None
                left.plot(
                    np.arange(positions),
                    found.block_mass[layer, head],
                    color=colour,
                    linewidth=1.0,
                    label=label,
                )
        for number, uniform in enumerate(counts.n_in / (counts.n_in + counts.n_out)):
            left.plot(
                np.arange(positions),
                uniform,
                color=theme.muted,
                linestyle=(0, (4, 3)),
                linewidth=1.1,
                label=None if number else "uniform attention",
            )
        left.set(title="By position", xlabel="position", ylabel="block mass", ylim=(0.0, 1.03))
        place = np.arange(layers * heads)
        right.plot(
            place, found.head_block_mass.ravel(), linestyle="", marker="_", markersize=9, color=theme.text
        )
        left.plot([], [], linestyle="", marker="_", markersize=9, color=theme.text, label=f"{what}, mean")
        if measured:
            known = {layer * heads + head: row.block_mass for (layer, head), row in measured.items()}
            right.plot(list(known), list(known.values()), linestyle="", marker="o", color=CATEGORIES[1])
            left.plot([], [], linestyle="", marker="o", color=CATEGORIES[1], label="measured, mean")
        right.set(title=f"By head, λ = {found.gap.lam:g}, τ = {found.tau:g}", xlabel="layer.head")
        shown = place[:: max(1, -(-len(place) // 8))]
        right.set_xticks(shown, [f"{index // heads}.{index % heads}" for index in shown])
        if of:
            fig.supxlabel(f"for the text {of!r} alone", fontsize="small", color=theme.muted, parse_math=False)
        legend_above(fig, left)
    return fig

"""Influence over λ, beside the attention that is usually taken for it."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aila_jax.evaluation.influence_rows import InfluenceResult, InfluenceRow
from aila_jax.reporting.style import CATEGORIES, LIGHT, MARKERS, Theme, house_style, lam_axis, legend_above

DECADES = 2.0  # of nats: from there on the axis is logarithmic


def influence_figure(result: InfluenceResult, theme: Theme = LIGHT) -> Figure:
    """KL divergence when tokens outside or inside the block (with a relation also beyond the reach) are
    resampled, and attention outside the block, against λ.

    Bars are standard errors over queries. A KL of exactly 0 has no place on a logarithmic axis: it is left
    out there and noted.
    """
    rows = sorted(result.rows, key=lambda row: row.lam)
    lams = [row.lam for row in rows]
    inside = [row for row in rows if row.kl_inside is not None]
    beyond = [row for row in rows if row.kl_beyond is not None]
    names = {"outside": "outside the block", "inside": "inside the block"}
    if result.meta.relation:  # where a block is not all that is inside
        names = {"outside": "outside", "inside": "inside", "beyond": "beyond the reach"}
    with house_style(theme):
        fig = Figure(figsize=(7.2, 3.4), layout="constrained")
        left, right = fig.subplots(1, 2)
        values = [value for row in rows for value in (row.kl_outside, row.kl_inside, row.kl_beyond) if value]
        log = bool(values) and max(values) > 10**DECADES * min(values)
        for index, (side, drawn) in enumerate(
            (("outside", rows), ("inside", inside), ("beyond", beyond)),
        ):
            if drawn:
                _line(left, drawn, side, names[side], index, log)
        left.set(title="Influence", ylabel=f"KL of the prediction (nats{', log scale' if log else ''})")
        if log:
            left.set_yscale("log")
        else:
            left.set_ylim(bottom=0.0)
        for side, drawn in (("outside", rows), ("beyond", beyond)):
            zeros = [f"{row.lam:g}" for row in drawn if getattr(row, f"kl_{side}") == 0]
            if zeros:
                left.set_title(
                    f"exactly 0 {side} at λ = {', '.join(zeros)}",
                    loc="right",
                    fontweight="normal",
                    fontsize=8,
                )
        style = {"color": CATEGORIES[0], "marker": MARKERS[0]}
        right.plot(lams, [1.0 - row.block_mass for row in rows], **style)
        right.set(title="Attention", ylabel=f"mass {names['outside']}", ylim=(0.0, 1.03))
        for axes in (left, right):
            lam_axis(axes, lams)
        legend_above(fig, left)
    return fig


def _line(axes: Axes, rows: list[InfluenceRow], side: str, name: str, index: int, log: bool) -> None:
    """Draws one side; points of 0 only where the axis has a place for them."""
    shown = [row for row in rows if getattr(row, f"kl_{side}") > 0 or not log]
    axes.errorbar(
        [row.lam for row in shown],
        [getattr(row, f"kl_{side}") for row in shown],
        yerr=[getattr(row, f"kl_{side}_error") for row in shown],
        label=f"tokens {name} resampled",
        color=CATEGORIES[index],
        marker=MARKERS[index],
        capsize=2,
    )

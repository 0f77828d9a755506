"""The training curve, from the records of `read_training_log`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from aila_jax.reporting.style import LIGHT, MARKERS, Theme, house_style, legend_above, ordered_colours


def training_figure(log: Sequence[Mapping[str, Any]], *, theme: Theme = LIGHT) -> Figure:
    """Training loss at each step logged, and validation loss at each evaluation, a line for each (λ, τ).

    Where a run was continued and logged a step twice, the later record counts. A loss that was not finite is
    a gap.

    Raises:
      ValueError: the log has no record.
    """
    if not log:
        raise ValueError(
            "the training log has 0 records; it must have at least 1. Fix: train with logging, or leave the"
            " log out."
        )
    train = {record["step"]: record["loss"] for record in log if record["kind"] == "train"}
    evaluations: dict[tuple[float, float], dict[int, float | None]] = {}
    for record in log:
        if record["kind"] == "eval":
            evaluations.setdefault((record["lam"], record["tau"]), {})[record["step"]] = record["loss"]
    taus = {tau for _, tau in evaluations}
    with house_style(theme):
        fig = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = fig.subplots()
        if train:
            axes.plot(*_points(train), color=theme.muted, linewidth=1.0, label="training")
        colours = ordered_colours(len(evaluations), theme)
        for index, ((lam, tau), losses) in enumerate(sorted(evaluations.items())):
            label = f"evaluation, λ = {lam:g}" + (f", τ = {tau:g}" if taus != {1.0} else "")
            axes.plot(
                *_points(losses),
                color=colours[index],
                marker=MARKERS[index % len(MARKERS)],
                linewidth=1.0,
                label=label,
            )
        axes.set(xlabel="optimizer step", ylabel="cross-entropy (nats per token)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_above(fig, axes)
    return fig


def _points(losses: Mapping[int, float | None]) -> tuple[list[int], list[float]]:
    """Steps in order and their losses, NaN where there is none."""
    steps = sorted(losses)
    return steps, [math.nan if (loss := losses[step]) is None else float(loss) for step in steps]

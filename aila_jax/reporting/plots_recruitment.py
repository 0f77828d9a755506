"""Recruitment over its steps: how many blocks there are, and what they cost and save."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from aila_jax.partition.classes.recruitment import RecruitmentStep
from aila_jax.reporting.style import CATEGORIES, LIGHT, MARKERS, Theme, house_style, legend_above

KINDS = {"recruit": "a class is split", "move": "types move", "merge": "two classes are merged"}


def recruitment_figure(steps: Sequence[RecruitmentStep], pairs: int, *, theme: Theme = LIGHT) -> Figure:
    """Three panels over the steps: number of classes with the kind of each step, total and data bits a token,
    model bits a token.

    Args:
      steps: of a `Recruitment`.
      pairs: its N, what bits are divided by.
    """
    number = [step.step for step in steps]
    with house_style(theme):
        fig = Figure(figsize=(9.6, 3.2), layout="constrained")
        blocks, total, model = fig.subplots(1, 3)
        blocks.step(number, [step.classes for step in steps], where="post", color=theme.muted, linewidth=0.8)
        for (kind, label), colour, marker in zip(KINDS.items(), CATEGORIES, MARKERS, strict=False):
            chosen = [step for step in steps if step.kind == kind]
            if chosen:
                blocks.plot(
                    [s.step for s in chosen],
                    [s.classes for s in chosen],
                    marker,
                    markersize=3,
                    color=colour,
                    label=label,
                )
        blocks.set_title("Classes")
        blocks.set_ylabel("number of classes")
        total.plot(
            number, [step.total_bits / pairs for step in steps], color=CATEGORIES[0], label="data and model"
        )
        total.plot(
            number,
            [step.data_bits / pairs for step in steps],
            color=CATEGORIES[4],
            linestyle="--",
            label="data",
        )
        total.set_title("Bits of the text")
        total.legend()
        model.plot(number, [step.model_bits / pairs for step in steps], color=CATEGORIES[1])
        model.set_title("Bits of the model")
        for axes in (total, model):
            axes.set_ylabel("bits a token")
        for axes in (blocks, total, model):
            axes.set_xlabel("step")
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        blocks.yaxis.set_major_locator(MaxNLocator(integer=True))
        if len(steps) > 1:
            legend_above(fig, blocks)
    return fig

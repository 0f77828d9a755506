"""The figure of a recruitment, read back from its lines."""

import numpy as np
import pytest

from aila_jax.partition.classes.recruitment import RecruitmentStep
from aila_jax.reporting.plots_recruitment import recruitment_figure


@pytest.fixture
def steps() -> list[RecruitmentStep]:
    rows = [
        ("start", 2, 900.0, 20.0),
        ("recruit", 3, 700.0, 60.0),
        ("move", 3, 650.0, 60.0),
        ("merge", 2, 660.0, 20.0),
    ]
    return [
        RecruitmentStep(number, kind, classes, number, data, model, data + model, 0.5)
        for number, (kind, classes, data, model) in enumerate(rows)
    ]


def test_panels_show_classes_and_bits_a_token(steps: list[RecruitmentStep]) -> None:
    blocks, total, model = recruitment_figure(steps, 100).axes
    kinds = {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in blocks.get_lines()[1:]
    }
    assert kinds == {
        "a class is split": ([1], [3]),
        "types move": ([2], [3]),
        "two classes are merged": ([3], [2]),
    }
    np.testing.assert_array_equal(blocks.get_lines()[0].get_ydata(), [2, 3, 3, 2])
    both, data = total.get_lines()
    np.testing.assert_allclose(both.get_ydata(), [9.2, 7.6, 7.1, 6.8])
    np.testing.assert_allclose(data.get_ydata(), [9.0, 7.0, 6.5, 6.6])
    np.testing.assert_allclose(model.get_lines()[0].get_ydata(), [0.2, 0.6, 0.6, 0.2])
    assert {axes.get_xlabel() for axes in (blocks, total, model)} == {"step"}


def test_a_recruitment_that_ends_at_its_start_has_a_figure(steps: list[RecruitmentStep]) -> None:
    fig = recruitment_figure(steps[:1], 100)
    assert not fig.legends
    assert len(fig.axes[0].get_lines()) == 1

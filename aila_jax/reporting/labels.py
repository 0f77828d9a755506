"""Labels beside the points of a plot that cover neither points nor each other."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

# Offsets in points with the text's anchor: right, left, above, below, then the corners.
_PLACES = (
    (6, 0, "left", "center"),
    (-6, 0, "right", "center"),
    (0, 6, "center", "bottom"),
    (0, -6, "center", "top"),
    (5, 5, "left", "bottom"),
    (-5, 5, "right", "bottom"),
    (5, -5, "left", "top"),
    (-5, -5, "right", "top"),
)
_ROOM = 1.5  # pixels around a label


def label_points(
    fig: Figure, axes: Axes, points: Sequence[tuple[float, float]], labels: Mapping[int, str], colour: Any
) -> list[Annotation]:
    """Writes labels (by index of their point) beside their points, in the first free place; a label without
    one is left out.

    Free is: inside the axes, off every plotted point, line and every label written before. First and last
    points come first.
    """
    renderer = FigureCanvasAgg(fig).get_renderer()
    fig.draw_without_rendering()
    taken = [child.get_window_extent(renderer) for child in axes.texts]
    ink = _ink(axes)
    inside = axes.get_window_extent(renderer)
    written = []
    order = sorted(labels, key=lambda index: index not in (0, len(points) - 1))
    for index in order:
        for dx, dy, horizontal, vertical in _PLACES:
            text = axes.annotate(
                labels[index],
                points[index],
                (dx, dy),
                textcoords="offset points",
                fontsize=7.5,
                color=colour,
                ha=horizontal,
                va=vertical,
            )
            box = text.get_window_extent(renderer).padded(_ROOM)
            if _is_free(box, inside, taken, ink):
                taken.append(box)
                written.append(text)
                break
            text.remove()
    return written


def _ink(axes: Axes) -> np.ndarray:
    """Display coordinates [N, 2] of points close together along every line of the axes."""
    parts = []
    for line in axes.get_lines():
        xy = axes.transData.transform(np.asarray(line.get_xydata(), np.float64))
        steps = np.linspace(0.0, 1.0, 40)[:, None]
        parts.append(xy)
        parts += [start + steps * (end - start) for start, end in itertools.pairwise(xy)]
    return np.concatenate(parts)


def _is_free(box: Bbox, inside: Bbox, taken: Sequence[Bbox], ink: np.ndarray) -> bool:
    """Whether the box lies inside the axes, off the ink and off the boxes taken."""
    if box.x0 < inside.x0 or box.x1 > inside.x1 or box.y0 < inside.y0 or box.y1 > inside.y1:
        return False
    on_ink = (ink[:, 0] >= box.x0) & (ink[:, 0] <= box.x1) & (ink[:, 1] >= box.y0) & (ink[:, 1] <= box.y1)
    return not on_ink.any() and not any(box.overlaps(other) for other in taken)

"""Labels beside points keep clear of everything, or stay away."""

from matplotlib.figure import Figure

from aila_jax.reporting.labels import label_points


def test_a_lone_point_has_its_label_at_the_right() -> None:
    fig = Figure(layout="constrained")
    axes = fig.subplots()
    axes.plot([1.0], [2.0], "o")
    (text,) = label_points(fig, axes, [(1.0, 2.0)], {0: "a"}, "black")
    assert (text.get_text(), text.xy, text.get_ha(), text.get_va()) == ("a", (1.0, 2.0), "left", "center")


def test_a_label_leaves_the_line_free() -> None:
    fig = Figure(layout="constrained")
    axes = fig.subplots()
    axes.plot([0, 1, 2], [0, 0, 0])
    axes.margins(0.3)
    (middle,) = label_points(fig, axes, [(0, 0), (1, 0), (2, 0)], {1: "middle"}, "black")
    assert middle.get_ha() == "center"  # above or below, since the line runs to the left and right


def test_a_label_without_room_is_left_out_and_the_ends_come_first() -> None:
    fig = Figure(layout="constrained")
    axes = fig.subplots()
    points = [(0.001 * index, 0.0) for index in range(40)]
    axes.plot([0, 100], [0, 0], alpha=0)
    written = label_points(fig, axes, points, {index: f"label {index}" for index in range(40)}, "black")
    assert {text.get_text() for text in written[:2]} == {"label 0", "label 39"}
    assert 2 <= len(written) < 40
    assert list(axes.texts) == written

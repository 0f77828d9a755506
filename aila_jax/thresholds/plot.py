"""The scatter of the threshold experiment: predicted against measured."""

from itertools import cycle

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from aila_jax.reporting.style import CATEGORIES, LIGHT, MARKERS, house_style
from aila_jax.thresholds.ranks import by_window, correlate, correlate_heads, show_correlation
from aila_jax.thresholds.rows import ThresholdResult, ThresholdRow


def threshold_figure(results: list[ThresholdResult]) -> Figure:
    """Predicted against measured on logarithmic axes, a panel for each way of measuring, a colour for each
    window size whatever the seed, with the rank correlation of all rows and of the heads' medians.
    """
    rows_by_window = {
        window: [row for result in some for row in result.rows] for window, some in by_window(results).items()
    }
    with house_style(LIGHT):
        fig = Figure(figsize=(7.2, 3.9), layout="constrained")
        panels = fig.subplots(1, 2, sharex=True)
        titles = {"stationarity": "Stationarity threshold", "path": "Zeroed along the path"}
        for axes, (name, title) in zip(panels, titles.items(), strict=True):
            for (window, rows), colour, marker in zip(
                rows_by_window.items(), cycle(CATEGORIES), cycle(MARKERS), strict=False
            ):
                for projection, face in (("query", colour), ("key", "none")):
                    points = _points(rows, name, projection)
                    label = f"windows of {window}" if projection == "query" else None
                    axes.plot(
                        *points,
                        marker,
                        color=colour,
                        markerfacecolor=face,
                        markersize=3.0,
                        alpha=0.7,
                        label=label,
                    )
            axes.set(
                title=(
                    f"{title}\nSpearman {show_correlation(correlate(results, 'predicted', name))},\n"
                    f"of heads {show_correlation(correlate_heads(results, 'predicted', name))}"
                ),
                xlabel="predicted λη",
                ylabel="measured λη",
            )
            if axes.lines and any(len(line.get_xdata()) for line in axes.lines):
                axes.set(xscale="log", yscale="log")
                for axis in (axes.xaxis, axes.yaxis):
                    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                    axis.set_major_formatter(
                        FuncFormatter(
                            lambda value, _: f"{value:.0e}".replace("e-0", "e−").replace("e+0", "e")
                        )
                    )
                    axis.set_minor_formatter(NullFormatter())
        fig.legend(
            *panels[0].get_legend_handles_labels(),
            loc="outside upper center",
            ncols=3,
            title="filled: W_Q, open: W_K",
        )
    return fig


def _points(rows: list[ThresholdRow], name: str, projection: str) -> tuple[list[float], list[float]]:
    some = [row for row in rows if row.projection == projection and row.predicted and getattr(row, name)]
    return [row.predicted or 0.0 for row in some], [getattr(row, name) for row in some]

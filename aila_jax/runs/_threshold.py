"""Thresholds of a checkpoint's feature groups."""

from pathlib import Path

from aila_jax.config.options import ThresholdOptions
from aila_jax.reporting import save_figure
from aila_jax.runs.opened import OpenedRun, opened
from aila_jax.thresholds.measure import ThresholdSettings, check, measure
from aila_jax.thresholds.path import PathSettings
from aila_jax.thresholds.plot import threshold_figure
from aila_jax.thresholds.rows import ThresholdResult, write_threshold


def threshold(
    run: OpenedRun | str | Path,
    options: ThresholdOptions = ThresholdOptions(),
    out: str | Path = "",
    quiet: bool = False,
) -> ThresholdResult:
    """Measures how strong a penalty must be for each query and key group of the first layer to be zero, and
    writes it to `out`.

    Writes threshold.csv and threshold.json, and the scatter where the formula applies (localist positions, G
    = number of blocks).

    Args:
      run: an opened run, or its path.
      options: how much text is read, and whether the path is climbed.
      out: the run directory by default.
      quiet: no progress.

    Raises:
      ValueError: a model without feature groups or, for the path, with QK-normalisation.
    """
    run, levels = opened(run), options.path_levels
    climb = PathSettings() if levels is None else PathSettings(most_levels=levels)
    path = climb if options.path else None
    settings = ThresholdSettings(gradients=options.gradients, at_zero=options.at_zero, path=path)
    check(run.model.config, settings)
    directory = run.folder(out)
    result = measure(run.model, run.corpus, settings, quiet)
    write_threshold(result, directory / "threshold")
    if not result.meta.undefined:
        save_figure(threshold_figure([result]), directory / "threshold")
    return result

"""Thresholds of a checkpoint's feature groups."""

from pathlib import Path

from aila_jax.config import require
from aila_jax.inference.language_model import load
from aila_jax.reporting import save_figure
from aila_jax.runs.opened import dataset_of
from aila_jax.runs.workdir import check_writable, run_directory
from aila_jax.thresholds.measure import ThresholdSettings, check, measure
from aila_jax.thresholds.path import PathSettings
from aila_jax.thresholds.plot import threshold_figure
from aila_jax.thresholds.rows import ThresholdResult, write_threshold


def threshold(
    checkpoint: str,
    *,
    path: bool = False,
    path_levels: int | None = None,
    gradients: int = 256,
    at_zero: int = 4,
    data_dir: str = "",
    out: str = "",
    quiet: bool = False,
) -> ThresholdResult:
    """Measures how strong a penalty must be for each query and key group of the first layer to be zero, and
    writes it to `out`.

    Writes threshold.csv and threshold.json, and the scatter where the formula applies (localist positions, G
    = number of blocks).

    Args:
      checkpoint: run directory or checkpoint.
      path: also train on with a rising penalty and see where groups become zero.
      path_levels: of that penalty at most, at least 1, 20 by default; the path ends before where every group
        is zero.
      gradients, at_zero: see `ThresholdSettings`.
      data_dir: where its corpus is now.
      out: the run directory by default.

    Raises:
      ValueError: a model without feature groups or, for the path, with QK-normalisation; levels without a
        path.
    """
    require(
        path or path_levels is None, "path_levels", path_levels, "left out without the path", "add --path"
    )
    climb = PathSettings() if path_levels is None else PathSettings(most_levels=path_levels)
    settings = ThresholdSettings(gradients=gradients, at_zero=at_zero, path=climb if path else None)
    model = load(checkpoint)
    check(model.config, settings)
    directory = check_writable(Path(out) if out else run_directory(checkpoint))
    result = measure(model, dataset_of(model, data_dir), settings, quiet)
    write_threshold(result, directory / "threshold")
    if not result.meta["undefined"]:
        save_figure(threshold_figure([result]), directory / "threshold")
    return result

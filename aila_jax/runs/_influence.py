"""Influence of what lies outside a query's block: measured, bounded, written and drawn."""

from dataclasses import replace
from pathlib import Path

from aila_jax.config.options import InfluenceOptions
from aila_jax.evaluation.influence import influence as measure_influence
from aila_jax.evaluation.influence_rows import InfluenceResult, influence_result
from aila_jax.evaluation.without_attention import without_attention
from aila_jax.reporting.influence_files import describe_influence, write_influence
from aila_jax.reporting.plots_influence import influence_figure
from aila_jax.reporting.style import save_figure
from aila_jax.runs.opened import OpenedRun, opened

__all__ = ["describe_influence", "influence"]


def influence(
    run: OpenedRun | str | Path,
    options: InfluenceOptions = InfluenceOptions(),
    out: str | Path = "",
    quiet: bool = False,
) -> InfluenceResult:
    """Measures a checkpoint's influence over λ, bounds it head by head, and writes influence.csv,
    influence_heads.csv, influence.json and the figure influence (PNG and SVG) to `out`.

    Args:
      run: an opened run, or its path.
      options: what is measured; with `without_attention`, `meta` holds what attention is worth at the
        smallest and largest λ.
      out: folder for the files; the run directory by default, or, for other windows than in training, the
        folder windowSIZE in it.
      quiet: no progress.
    """
    run = opened(run)
    directory = run.folder(out)
    cells = measure_influence(run.model, run.corpus, options, quiet)
    split = options.reading(run.model.config).split
    result = influence_result(run.model, run.corpus, cells, split, options.seed)
    if options.without_attention:
        ends = sorted({min(row.lam for row in result.rows), max(row.lam for row in result.rows)})
        costs = without_attention(run.model, run.corpus, ends, options.tau, options)
        result = replace(result, meta=replace(result.meta, without_attention=tuple(costs)))
    write_influence(result, directory)
    save_figure(influence_figure(result), directory / "influence")
    return result

"""Influence of what lies outside a query's block: measured, bounded, written and drawn."""

from dataclasses import asdict, replace

from aila_jax.evaluation.influence import influence as measure_influence
from aila_jax.evaluation.influence_rows import InfluenceResult, influence_result
from aila_jax.evaluation.without_attention import without_attention as measure_without
from aila_jax.reporting.influence_files import describe_influence, write_influence
from aila_jax.reporting.plots_influence import influence_figure
from aila_jax.reporting.style import save_figure
from aila_jax.runs.opened import dataset_of, load_with_window
from aila_jax.runs.workdir import reading_folder

__all__ = ["describe_influence", "influence"]


def influence(
    checkpoint: str,
    *,
    lams: tuple[float, ...] | None = None,
    tau: float = 1.0,
    positions: int = 256,
    draws: int = 4,
    split: str | None = None,
    hard: bool | None = None,
    window: int | None = None,
    data_dir: str = "",
    out: str = "",
    batch_size: int | None = None,
    seed: int = 0,
    without_attention: bool = False,
    quiet: bool = False,
) -> InfluenceResult:
    """Measures a checkpoint's influence over λ, bounds it head by head, and writes influence.csv,
    influence_heads.csv, influence.json and the figure influence (PNG and SVG) to `out`.

    Args:
      checkpoint: run directory or checkpoint.
      data_dir: where its corpus is now, if elsewhere than in training.
      out: folder for the files; the run directory by default, or, with `window`, the folder windowSIZE in it.
      window: read the model with windows of another size than in training.
      without_attention: also score the split with attention removed, at the smallest and largest λ; `meta`
        holds it.
      Everything else: see `aila_jax.evaluation.influence.influence`.
    """
    model = load_with_window(checkpoint, window)
    directory = reading_folder(checkpoint, window, out)
    dataset = dataset_of(model, data_dir)
    cells = measure_influence(
        model,
        dataset,
        lams=lams,
        tau=tau,
        positions=positions,
        draws=draws,
        split=split,
        hard=hard,
        batch_size=batch_size,
        seed=seed,
        quiet=quiet,
    )
    result = influence_result(
        model, dataset, cells, model.config.sweep.split if split is None else split, seed
    )
    if without_attention:
        ends = sorted({min(row.lam for row in result.rows), max(row.lam for row in result.rows)})
        costs = measure_without(model, dataset, ends, tau=tau, split=split, batch_size=batch_size, hard=hard)
        result = replace(result, meta={**result.meta, "without_attention": [asdict(cost) for cost in costs]})
    write_influence(result, directory)
    save_figure(influence_figure(result), directory / "influence")
    return result

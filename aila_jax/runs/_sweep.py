"""What is measured of a checkpoint: one cell of the dial, the whole grid, its anchors."""

from dataclasses import replace

from aila_jax.evaluation.baselines import baselines
from aila_jax.evaluation.rows import CellRow, SweepResult
from aila_jax.evaluation.sweep import sweep as sweep_grid
from aila_jax.reporting import dial_table, write_sweep
from aila_jax.runs.opened import dataset_of, load_with_window
from aila_jax.runs.workdir import reading_folder


def evaluate(
    checkpoint: str,
    *,
    lam: float = 0.0,
    tau: float = 1.0,
    split: str | None = None,
    hard: bool | None = None,
    data_dir: str = "",
    window: int | None = None,
    batch_size: int | None = None,
    max_batches: int | None = None,
    quiet: bool = False,
) -> CellRow:
    """Evaluates a checkpoint at one λ and τ on the corpus it was trained on; `window` as in `sweep`."""
    model = load_with_window(checkpoint, window)
    dataset = dataset_of(model, data_dir)
    result = sweep_grid(
        model,
        dataset,
        lams=(lam,),
        taus=(tau,),
        split=split,
        hard=hard,
        batch_size=batch_size,
        max_batches=max_batches,
        quiet=quiet,
    )
    return result.cells[0]


def sweep(
    checkpoint: str,
    *,
    lams: tuple[float, ...] | None = None,
    taus: tuple[float, ...] | None = None,
    split: str | None = None,
    hard: bool | None = None,
    delta: bool = False,
    pointers: str = "auto",
    data_dir: str = "",
    out: str = "",
    window: int | None = None,
    batch_size: int | None = None,
    max_batches: int | None = None,
    quiet: bool = False,
) -> SweepResult:
    """Evaluates a checkpoint over λ × τ and writes sweep.csv, sweep_heads.csv and sweep.json to `out`.

    Args:
      checkpoint: run directory or checkpoint.
      data_dir: where its corpus is now, if elsewhere than in training.
      out: folder for the files; by default the run directory, or, with `window`, the folder windowSIZE in it.
      window: read the model with windows of another size than in training (`LanguageModel.with_window`).
      Everything else: see `aila_jax.evaluation.sweep.sweep`.
    """
    model = load_with_window(checkpoint, window)
    directory = reading_folder(checkpoint, window, out)
    dataset = dataset_of(model, data_dir)
    result = sweep_grid(
        model,
        dataset,
        lams=lams,
        taus=taus,
        split=split,
        hard=hard,
        delta=delta,
        pointers=pointers,
        batch_size=batch_size,
        max_batches=max_batches,
        quiet=quiet,
    )
    config = model.config
    batches = config.sweep.max_batches if max_batches is None else max_batches
    read = batches * (batch_size or config.sweep.batch_size) or None
    # The baselines see the very targets that the model was scored on.
    scored = dataset.windows(result.cells[0].split, config.model.length, config.model.document_mask).batch
    keep = scored.weights[:read] > 0
    compared = baselines(
        dataset.splits["train"].tokens,
        scored.tokens[:read][keep],
        scored.targets[:read][keep],
        dataset.tokenizer.vocab_size,
    )
    result = replace(result, meta={**result.meta, "baselines": compared})
    write_sweep(result, directory)
    return result


def describe_sweep(result: SweepResult) -> str:
    """The dial's table at τ = 1 (or the first τ), the targets scored, and the baselines."""
    taus = [row.tau for row in result.cells]
    tau = 1.0 if 1.0 in taus else taus[0]
    lines = [dial_table(result, tau=tau)]
    for name, entry in result.meta.get("baselines", {}).items():
        lines.append(f"{name} baseline, same text: perplexity per token {entry['perplexity_token']:.1f}")
    if "sparsity" in result.meta:
        counts = result.meta["sparsity"]
        lines.append(
            f"group-sparsity penalty: {counts['zero_query']:.0%} of the query groups and"
            f" {counts['zero_key']:.0%} of the key groups are 0, {counts['dead_heads']} of {counts['heads']}"
            " heads are dead"
        )
    return "\n".join(lines)

"""What is measured of a checkpoint: one cell of the dial, the whole grid, its anchors."""

from dataclasses import replace
from pathlib import Path

from aila_jax.config import require
from aila_jax.data.pipeline import eval_batches
from aila_jax.evaluation.anchor_listing import AnchorListing, list_anchors
from aila_jax.evaluation.baselines import baselines
from aila_jax.evaluation.language_model import load
from aila_jax.evaluation.rows import CellRow, SweepResult
from aila_jax.evaluation.sweep import sweep as sweep_grid
from aila_jax.reporting import dial_table, write_sweep
from aila_jax.reporting.anchor_files import write_anchors
from aila_jax.runs.corpus import dataset_of, load_with_window
from aila_jax.runs.starting import step_draws
from aila_jax.runs.workdir import check_writable, reading_folder, run_directory
from aila_jax.training.anchors import make_anchors
from aila_jax.training.placement import place


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


def anchors(
    checkpoint: str,
    *,
    top: int = 20,
    examples: int = 8,
    split: str = "validation",
    batches: int = 8,
    data_dir: str = "",
    out: str = "",
) -> list[AnchorListing]:
    """Lists a checkpoint's anchors, and those that the other estimator would give with its parameters, and
    writes them to `out`.

    Args:
      checkpoint: run directory or checkpoint.
      top: types listed.
      examples: blocks shown.
      split, batches: which text is read for the examples and for how often a type is an anchor, and how many
        batches of it.
      data_dir: where its corpus is now.
      out: folder of anchors.json and the CSV files; the run directory by default.

    Raises:
      ValueError: a checkpoint without anchors, because its run makes none or because its warm-up had not
        ended.
    """
    for name, value in (("top", top), ("examples", examples), ("batches", batches)):
        require(value >= 1, name, value, "at least 1", f"set --{name}=8")
    model = load(checkpoint)
    own, config = model.need_anchors(), model.config
    directory = check_writable(Path(out) if out else run_directory(checkpoint))
    dataset = dataset_of(model, data_dir)
    estimator = "attention" if own.estimator == "corpus" else "corpus"
    warmed = replace(
        config.train, warmup_steps=max(config.train.warmup_steps, 1)
    )  # attention reads the batches of warm-up: one at least
    other = replace(config, anchors=replace(config.anchors, estimator=estimator), train=warmed)
    placement = place(config.train.batch_size, accumulate=config.train.accumulate)
    windows = dataset.windows("train", config.model.length, config.model.document_mask)
    draw, params = step_draws(config, placement), placement.replicate(model.params)
    compared = make_anchors(
        other, model.module, model.partition, params, windows=windows, draw=draw, placement=placement
    )
    text = list(
        eval_batches(
            dataset.windows(split, config.model.length, config.model.document_mask),
            config.sweep.batch_size,
            batches,
        )
    )
    listings = [
        list_anchors(model, made, text, top=top, examples=examples, used=made is own)
        for made in (own, compared)
    ]
    write_anchors(listings, directory)
    return listings


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

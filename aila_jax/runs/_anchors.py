"""The anchors of a checkpoint, listed and written."""

from dataclasses import replace
from pathlib import Path

from aila_jax.config import require
from aila_jax.data.pipeline import eval_batches
from aila_jax.evaluation.anchor_listing import AnchorListing, list_anchors
from aila_jax.inference.language_model import load
from aila_jax.reporting.anchor_files import write_anchors
from aila_jax.runs.opened import dataset_of
from aila_jax.runs.setup import step_draws
from aila_jax.runs.workdir import check_writable, run_directory
from aila_jax.training.anchors import make_anchors
from aila_jax.training.sharding import batch_sharding


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
    sharding = batch_sharding(config.train.batch_size, accumulate=config.train.accumulate)
    windows = dataset.windows("train", config.model.length, config.model.document_mask)
    draw, params = step_draws(config, sharding), sharding.replicate(model.params)
    compared = make_anchors(other, model.network, params, windows=windows, draw=draw, sharding=sharding)
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

"""The anchors of a checkpoint, listed and written."""

from dataclasses import replace
from pathlib import Path

from aila_jax.config import Estimator
from aila_jax.config.options import AnchorsOptions
from aila_jax.data.pipeline import eval_batches
from aila_jax.evaluation.anchor_listing import AnchorListing, list_anchors
from aila_jax.inference.corpus import split_windows
from aila_jax.partition.anchors import Anchors
from aila_jax.reporting.anchor_files import write_anchors
from aila_jax.runs.opened import OpenedRun, opened
from aila_jax.runs.setup import step_draws
from aila_jax.training.anchors import make_anchors
from aila_jax.training.sharding import batch_sharding


def anchors(
    run: OpenedRun | str | Path, options: AnchorsOptions = AnchorsOptions(), out: str | Path = ""
) -> list[AnchorListing]:
    """Lists a checkpoint's anchors, and those that the other estimator would give with its parameters, and
    writes them to `out`.

    Args:
      run: an opened run, or its path.
      options: how much is listed, and of which text.
      out: folder of anchors.json and the CSV files; the run directory by default.

    Raises:
      ValueError: a checkpoint without anchors, because its run makes none or because its warm-up had not
        ended.
    """
    run = opened(run)
    model, own = run.model, run.model.need_anchors()
    directory = run.folder(out)
    windows = split_windows(model.config, run.corpus, options.split)
    text = list(eval_batches(windows, model.config.sweep.batch_size, options.batches))
    listings = [
        list_anchors(model, made, text, top=options.top, examples=options.examples, used=made is own)
        for made in (own, _by_the_other_estimator(run, own))
    ]
    write_anchors(listings, directory)
    return listings


def _by_the_other_estimator(run: OpenedRun, own: Anchors) -> Anchors:
    """The anchors that these parameters would have had."""
    model, config = run.model, run.model.config
    corpus = own.estimator == Estimator.CORPUS
    estimator = Estimator.ATTENTION if corpus else Estimator.CORPUS
    # Attention reads the batches of warm-up: one at least.
    warmed = replace(config.train, warmup_steps=max(config.train.warmup_steps, 1))
    other = replace(config, anchors=replace(config.anchors, estimator=estimator), train=warmed)
    sharding = batch_sharding(config.train.batch_size, accumulate=config.train.accumulate)
    windows = split_windows(config, run.corpus, "train")
    draw, params = step_draws(config, sharding), sharding.replicate(model.params)
    return make_anchors(other, model.network, params, windows=windows, draw=draw, sharding=sharding)

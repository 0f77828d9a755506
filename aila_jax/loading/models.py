"""A model from where it is on disk: what `aila_jax.load` does."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from aila_jax.checkpoint import Checkpoint, find_checkpoint
from aila_jax.checkpoint.lineage import weights_of
from aila_jax.checkpoint.record import BEST
from aila_jax.config import Config, RelationConfig, TrainedPart, require, user_path
from aila_jax.config.checks import check_flag, check_instance, check_whole
from aila_jax.inference.inputs import example_batch
from aila_jax.inference.language_model import LanguageModel
from aila_jax.model.parts import dial_part, merged
from aila_jax.pretrained.hub import fetched
from aila_jax.pretrained.loading import load_pretrained
from aila_jax.pretrained.opened import Reading, open_pretrained
from aila_jax.pretrained.places import is_elsewhere, is_hub_name

BASE = "AILA_BASE"  # the environment variable that says where a frozen base is now
Base = str | Path


def as_model(model: LanguageModel | str | Path, name: str = "model", fallback: bool = False) -> LanguageModel:
    """The model itself, or the one that `load` finds at a path; `fallback` as there, for a path alone."""
    fallback = check_flag("fallback", fallback)
    if isinstance(model, LanguageModel):
        limit, fix = "left out with a loaded model", "pass fallback to aila_jax.load"
        require(not fallback, "fallback", fallback, limit, fix)
        return model
    check_instance(name, model, str | Path, "a model, or the path of a run", f"{name}='runs/tiny', say")
    return load(user_path(model, name), fallback=fallback)


def load(
    path: str | Path, step: int | str | None = None, fallback: bool = False, base: Base | None = None
) -> LanguageModel:
    """Loads a model from a run directory, its checkpoints folder, or one step's folder. What is read is
    verified; a checkpoint of format 1, whose record has no checksum, is said to be not verified, on stderr.

    Nothing else is needed, but of a run whose base is frozen (`train.trained`): its checkpoints hold what
    turns with the dial, and the base is read from where it was.

    Args:
      path: where the checkpoint is.
      step: which of several; the newest by default. `best` is the one of the lowest validation loss, of a run
        with `train.keep_best`.
      fallback: where the newest is damaged, take the newest whole one, and say so on stderr.
      base: where a frozen base is now; the path that the run began from by default, or that of AILA_BASE.

    Raises:
      ValueError: no checkpoint there, another shape than its configuration's, damaged bytes, or another base
        than the one that the run began from.
    """
    if step is not None and step != BEST:
        step = check_whole("step", step, 0, f"leave it out for the newest, or step={BEST!r}")
    return read_model(find_checkpoint(path, step, check_flag("fallback", fallback)), base)


def read_model(found: Checkpoint, base: Base | None = None) -> LanguageModel:
    """The model of a checkpoint; one of format 1 is said to be not verified, on stderr. `base`: as in
    `load`.
    """
    found.say_unverified()
    meta = {**found.record.meta, "data": found.record.data}
    partition = found.partition()
    fitted = partition if found.config.partition.fitted else None
    model = LanguageModel(
        None,
        found.config,
        found.tokenizer,
        found.run,
        found.step,
        meta,
        found.anchors(),
        fitted,
        found.rule_tables(),
    )
    shape = jax.eval_shape(lambda: model.network.init(example_batch(found.config), jax.random.key(0)))
    frozen = base_of(found, base)
    if frozen is None:
        return replace(model, params=jax.tree.map(jnp.asarray, found.params(shape)))
    turning = jax.tree.map(jnp.asarray, found.params(dial_part(shape)))
    return replace(model, params=merged(frozen, turning))


def base_of(found: Checkpoint, base: Base | None = None) -> Any:
    """The parameters that a checkpoint needs beside its own; None where it holds all there is. `base`: as in
    `load`.
    """
    if found.config.train.trained == TrainedPart.DIAL:
        return _began_from(found, base)
    limit = "left out: the checkpoint holds all parameters"
    require(base is None, "base", str(base), limit, "leave it out")
    return None


def began_from(found: Checkpoint) -> Any:
    """The parameters that a run began from where it needs them to go on: they are frozen, or teach; None
    where it does not.
    """
    config = found.config
    needed = config.train.trained == TrainedPart.DIAL or config.locality.taught > 0
    return _began_from(found, None) if needed else None


def _began_from(found: Checkpoint, base: Base | None) -> Any:
    """What a run began from, known by its checksum."""
    began = found.lineage[0]
    place = os.environ.get(BASE) or began.path if base is None else base
    fix = f"aila_jax.load(…, base=PATH), or {BASE}=PATH"
    path = place if is_hub_name(str(place)) else user_path(place, "base")
    there = isinstance(path, str) or path.exists()
    require(there, "base", str(place), f"where {began} is, which the run began from", fix)
    params = read_start(path, found.config).params
    weights = weights_of(params)
    name = f"weights of base {str(place)!r}"
    require(weights == began.weights, name, weights[:12], f"those of {began}", fix)
    return params


def read_start(path: str | Path, config: Config) -> LanguageModel:
    """The model of a run, or a pretrained one, which has the length, sink, margin and begin token of
    `config`.
    """
    if not is_elsewhere(path):
        return load(path)
    relation = RelationConfig(sink=config.relation.sink)  # what else it has is fitted anew
    margin, begin = config.model.margin, config.data.begin
    reading = Reading(config.model.length, relation=relation, margin=margin, begin=begin)
    return load_pretrained(open_pretrained(path, reading, fetched))

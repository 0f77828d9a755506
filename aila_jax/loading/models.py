"""A model from where it is on disk: what `aila_jax.load` does."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from aila_jax.checkpoint import Checkpoint, find_checkpoint
from aila_jax.checkpoint.lineage import weights_of, weights_of_each
from aila_jax.checkpoint.record import BEST
from aila_jax.config import Config, RelationConfig, TrainedPart, require, user_path
from aila_jax.config.checks import check_flag, check_instance, check_whole
from aila_jax.inference.inputs import example_batch
from aila_jax.inference.language_model import LanguageModel
from aila_jax.model.parts import dial_part, merged
from aila_jax.pretrained.hub import fetched
from aila_jax.pretrained.loading import arrays_of, load_pretrained
from aila_jax.pretrained.opened import Opened, Reading, open_pretrained
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
    fallback = check_flag("fallback", fallback)
    base = None if base is None else user_path(base, "base")
    return read_model(find_checkpoint(path, step, fallback), base)


def read_model(found: Checkpoint, base: Base | None = None) -> LanguageModel:
    """The model of a checkpoint; one of format 1 is said to be not verified, on stderr. `base`: as in
    `load`.
    """
    limit = "left out: the checkpoint holds all parameters"
    frozen = found.config.train.trained == TrainedPart.DIAL
    require(frozen or base is None, "base", str(base), limit, "leave it out")
    return _read(found, _said(base))


def needs_base(config: Config) -> bool:
    """Whether a run needs what it began from as long as it lives: it is frozen, or teaches."""
    return config.train.trained == TrainedPart.DIAL or config.locality.taught > 0


def began_from(found: Checkpoint, base: Base | None = None) -> Any:
    """The parameters that a run began from where it needs them to go on; None where it does not. `base`: as
    in `load`.
    """
    return _base_of(found, _said(base)) if needs_base(found.config) else None


def read_start(path: str | Path, config: Config, step: int | None = None) -> LanguageModel:
    """The model of a run, at a step or the newest, or a pretrained one, which has the length, sink, margin
    and begin token of `config`.
    """
    if not is_elsewhere(path):
        return _read(find_checkpoint(path, step), None)
    return load_pretrained(_opened(path, config))


def _opened(path: str | Path, config: Config) -> Opened:
    relation = RelationConfig(sink=config.relation.sink)  # what else it has is fitted anew
    margin, begin = config.model.margin, config.data.begin
    reading = Reading(config.model.length, relation=relation, margin=margin, begin=begin)
    return open_pretrained(path, reading, fetched)


def _said(base: Base | None) -> Base | None:
    """Where the base of the checkpoint that is asked for is said to be. (Of one that this began from nothing
    is said.)
    """
    return base if base is not None else os.environ.get(BASE)


def _read(found: Checkpoint, base: Base | None) -> LanguageModel:
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
    if found.config.train.trained != TrainedPart.DIAL:
        return replace(model, params=jax.tree.map(jnp.asarray, found.params(shape)))
    under = _base_of(found, base)  # first: it may be refused
    turning = jax.tree.map(jnp.asarray, found.params(dial_part(shape)))
    return replace(model, params=merged(under, turning))


def _base_of(found: Checkpoint, base: Base | None) -> Any:
    """What a run began from, known by its checksum."""
    began = found.lineage[0]
    place = began.path if base is None else base
    fix = f"set {BASE}=PATH, or aila_jax.load(…, base=PATH)"
    # A path is kept whole, a name on the hub as it is.
    named = (base is None and not Path(place).is_absolute()) or is_hub_name(str(place))
    path = str(place) if named else user_path(place, "base")
    there = isinstance(path, str) or path.exists()
    require(there, "base", str(place), f"where {began} is, which the run began from", fix)
    step = None if is_elsewhere(path) else began.step

    def check(weights: str) -> None:
        named = f"weights of base {str(place)!r}"
        require(weights == began.weights, named, weights[:12], f"those of {began}", fix)

    told = _told_weights(path, found.config, step, moved=str(place) != began.path)
    if told:
        check(told)
    params = read_start(path, found.config, step).params
    check(weights_of(params))
    return params


def _told_weights(path: str | Path, config: Config, step: int | None, moved: bool) -> str:
    """The identity of the weights at a path, known before memory is taken for them: by a checkpoint's record,
    or, of a pretrained model that the run did not begin from, by reading it tensor by tensor. Empty where
    it is not: the record of a run whose own base is frozen does not have all.
    """
    if is_elsewhere(path):
        return weights_of_each(arrays_of(_opened(path, config))) if moved else ""
    there = find_checkpoint(path, step)
    whole = there.config.train.trained != TrainedPart.DIAL and there.manifest is not None
    return there.weights if whole else ""

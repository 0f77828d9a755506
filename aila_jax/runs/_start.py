"""What a run begins with where that is the weights of another one (`aila train --start`)."""

import dataclasses
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aila_jax.checkpoint import Ancestor, Checkpoint, find_checkpoint
from aila_jax.checkpoint.lineage import weights_of
from aila_jax.config import (
    Config,
    ModelConfig,
    TrainedPart,
    check_route,
    check_unread,
    from_dict,
    require,
    saved_config,
    to_dict,
    user_path,
)
from aila_jax.config.checks import check_instance
from aila_jax.data.dataset import own_tokenizer
from aila_jax.data.tokenizer import Tokenizer
from aila_jax.inference.chat import CHAT
from aila_jax.inference.inputs import check_sink, example_batch
from aila_jax.inference.language_model import LanguageModel
from aila_jax.json_files import json_object, read_json
from aila_jax.loading.models import began_from, needs_base, read_start
from aila_jax.model.network import Network
from aila_jax.model.parts import is_turning
from aila_jax.model.transformer import build_transformer
from aila_jax.partition.build import Partition
from aila_jax.partition.kinds import Windows
from aila_jax.partition.rule_tables import RuleTables
from aila_jax.pretrained.hub import fetched
from aila_jax.pretrained.opened import Reading, open_pretrained
from aila_jax.pretrained.places import is_elsewhere, is_hub_name
from aila_jax.runs.workdir import existing_run

Source = LanguageModel | str | Path  # a loaded model, or where one is


@dataclass(frozen=True)
class Start:
    """The weights that a new run begins with, and what belongs to them.

    Attributes:
      params: the parameters.
      tokenizer: their ids.
      partition: the start's own where the new run asks for the same settings; None where it is fitted anew.
      rule_tables: likewise, of the relation.
      lineage: the start, then what that began with.
      chat: how it writes a conversation (`meta["chat"]`); None where it says nothing of it.
    """

    params: Any
    tokenizer: Tokenizer
    partition: Partition | None
    rule_tables: RuleTables | None
    lineage: tuple[Ancestor, ...]
    chat: dict[str, str] | None = None


@dataclass(frozen=True)
class Before:
    """What a run has before its first step now: a checkpoint to go on from, a start, or neither.

    Attributes:
      found: its newest checkpoint.
      start: what it begins with.
      base: of a checkpoint, the parameters that its run began from, where they are needed again.
    """

    found: Checkpoint | None
    start: Start | None
    base: Any = None

    @property
    def params(self) -> Any:
        """What the run began from; None where that is not needed, or was drawn."""
        return self.base if self.start is None else self.start.params

    @property
    def without_params(self) -> "Before":
        """The same, when the state has them: a large model is not to be there twice."""
        return replace(
            self, base=None, start=None if self.start is None else replace(self.start, params=None)
        )

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The one that is there already; None where one is trained."""
        return self.found.tokenizer if self.found else self.start.tokenizer if self.start else None

    @property
    def lineage(self) -> tuple[Ancestor, ...]:
        return self.found.lineage if self.found else self.start.lineage if self.start else ()

    @property
    def chat(self) -> dict[str, str] | None:
        """That of the start, which each checkpoint keeps."""
        return self.found.record.meta.get(CHAT) if self.found else self.start.chat if self.start else None

    def partition(self) -> Partition | None:
        """The one that is there already; None where it is made, or fitted to the training split."""
        return self.found.partition() if self.found else self.start.partition if self.start else None

    def rule_tables(self) -> RuleTables | None:
        """Those that are there already; None where none are read, or they are fitted now."""
        return self.found.rule_tables() if self.found else self.start.rule_tables if self.start else None


def what_is_before(config: Config, workdir: Path, source: Source | None) -> Before:
    """The newest checkpoint of the run in `workdir`; where it has none, the start, which is read now.

    Raises:
      ValueError: a run of other settings, or from another start, or a start that does not fit.
    """
    found = existing_run(workdir, config)
    if found is not None:
        _check_own_tokenizer(config, found.tokenizer, f"the run in {str(workdir)!r}")
        check_same_start(source, found, workdir)
        return Before(found, None, began_from(found, _moved(source, found)))
    check_unread(config)
    check_route(config)
    check_not_lost(source, workdir)
    needs = (
        ("train.trained", config.train.trained, config.train.trained == TrainedPart.DIAL, "'all'"),
        ("locality.taught", config.locality.taught, config.locality.taught > 0, "0"),
    )
    for name, value, needed, limit in needs:
        fix = "add --start=PATH, a pretrained model or a run"
        require(source is not None or not needed, name, value, f"{limit} where there is no start", fix)
    return Before(None, None if source is None else begin_from(source, config))


def check_start(start: Source | None) -> Source | None:
    """The start as it is kept: a model, a path that does not depend on where this runs, or a name on the hub;
    ValueError for anything else.
    """
    if start is None or isinstance(start, LanguageModel):
        return start
    fix = "start='runs/tiny', or the model that aila_jax.load returns"
    check_instance("start", start, str | Path, "a model, or the path of a run", fix)
    if is_hub_name(str(start)):
        return str(start)
    return user_path(start, "start").resolve()


def start_config(start: Source, workdir: str | Path | None, length: int | None = None) -> Config:
    """The configuration of a run that is begun from `start` without one: the start's own; where the run is in
    `workdir` already, the one that it has. `length`: tokens that a pretrained start reads at once.
    """
    file = None if workdir is None else user_path(workdir, "workdir") / "config.json"
    if file is not None and file.is_file():
        return saved_config(json_object(read_json(file), "the configuration"))
    found = check_start(start)
    if isinstance(found, LanguageModel):
        return found.config
    assert found is not None
    if is_elsewhere(found):
        return open_pretrained(found, Reading(length), fetched).config
    return find_checkpoint(found).config


def begin_from(start: Source, config: Config) -> Start:
    """Reads the start of a new run.

    Raises:
      ValueError: there is no checkpoint, or its tokenizer or the shapes of its weights are not those that
        `config` asks for.
    """
    source = check_start(start)
    assert source is not None
    if isinstance(source, LanguageModel):
        model, path = source, str(source.meta.get("pretrained", {}).get("path", ""))
        if path:
            check_sink(config, model.tokenizer)
        if needs_base(config):
            _check_path(model, path, config)
    else:
        model, path = read_start(source, config), str(source)
    _check_tokenizer(config, model)
    _check_shapes(config, model)
    ancestor = Ancestor(model.run, model.step, weights_of(model.params), path)
    kept = model.partition if config.partition == model.config.partition else None
    # On the host: training donates its state's buffers, and a model that is given stays as it is.
    tables = model.rule_tables if config.relation == model.config.relation else None
    lineage, chat = (ancestor, *model.lineage), model.meta.get(CHAT)
    return Start(jax.device_get(model.params), model.tokenizer, kept, tables, lineage, chat)


def _check_path(model: LanguageModel, path: str, config: Config) -> None:
    """A model whose weights will be needed again is at its path; ValueError where it is not, or not as it
    is.
    """
    limit = "a path, where its weights are found again: train.trained or locality.taught needs them"
    require(bool(path), "start", model.run, limit, "start='my/folder', say")
    same = weights_of(read_start(path, config).params) == weights_of(model.params)
    limit = f"as it is in {path}, where its weights are found again"
    require(same, "start", f"{model.run} with other weights", limit, "start=PATH of a model that was saved")


def check_same_start(start: Source | None, found: Checkpoint, workdir: Path) -> None:
    """ValueError where a run that goes on is said to have begun from something else; its start is not loaded.

    It may have moved, or be gone: then its path, or its record, says which it was.
    """
    if start is None:
        return
    source, fix = check_start(start), "choose another --workdir, or leave --start out to go on with this run"
    limit = f"left out: the run in {str(workdir)!r} began by itself"
    require(bool(found.lineage), "start", str(start), limit, fix)
    began = found.lineage[0]
    if isinstance(source, LanguageModel):
        same = weights_of(source.params) == began.weights
    else:
        there = str(user_path(str(source), "start").resolve())
        same = (
            began.path in (str(source), there)
            or _weights_there(str(source)) == began.weights
            # Weights of a pretrained model are compared where they are read.
            or (needs_base(found.config) and is_elsewhere(str(source)))
        )
    limit = f"the one that the run in {str(workdir)!r} began from: {began}, {began.path or 'a loaded model'}"
    shown = source.run if isinstance(source, LanguageModel) else str(source)
    require(same, "start", shown, limit, fix)


def _moved(start: Source | None, found: Checkpoint) -> str | None:
    """Where a run's start is now, if that is another place than it was."""
    if start is None or isinstance(start, LanguageModel) or not found.lineage:
        return None
    return None if str(start) == found.lineage[0].path else str(start)


def check_not_lost(start: Source | None, workdir: Path) -> None:
    """ValueError where a run was stopped before its first checkpoint, and what it began from is not said
    again.
    """
    file = workdir / "run.json"
    if start is not None or not file.is_file():
        return
    lineage = json_object(read_json(file), "run.json").get("lineage")
    first = lineage[0] if isinstance(lineage, list) and lineage else None
    path = first.get("path") if isinstance(first, dict) else None
    limit = f"given again: the run in {str(workdir)!r} has no checkpoint yet, and began from another one's weights"
    require(first is None, "start", start, limit, f"--start={path or 'RUN'}")


def _weights_there(path: str) -> str:
    """The identity of the weights of a checkpoint, by its record; empty where there is none. (A pretrained
    model is known by its path: its weights would have to be read.)
    """
    try:
        return find_checkpoint(path).weights
    except (ValueError, OSError):
        return ""


def _check_tokenizer(config: Config, model: LanguageModel) -> None:
    """Weights know their own tokenizer's ids, and no others."""
    asked, own = config.data, model.config.data
    _check_own_tokenizer(config, model.tokenizer, model.run)
    for name in ("tokenizer", "vocab_size"):
        if asked.own_tokenizer and (name == "vocab_size" or own.own_tokenizer):  # the same file, or moved
            continue
        value, needed = getattr(asked, name), getattr(own, name)
        limit = f"{needed!r}, as in {model.run}, whose tokenizer goes with its weights"
        fix = f"set --config.data.{name}={needed}, or leave it out together with --config"
        require(value == needed, f"data.{name}", value, limit, fix)


def _check_own_tokenizer(config: Config, tokenizer: Tokenizer, whose: str) -> None:
    """ValueError where `data.tokenizer` names a file with another tokenizer than the one that is there; the
    file may be gone, since the checkpoint has what was in it.
    """
    path = config.data.tokenizer
    if not config.data.own_tokenizer or not user_path(path, "data.tokenizer").is_file():
        return
    found, own = own_tokenizer(config.data).fingerprint, tokenizer.fingerprint
    limit = f"{own[:12]}, that of {whose}, which keeps its own"
    fix = "name the file that it began with, or choose another --workdir and no --start"
    require(found == own, f"the fingerprint of {path!r}", found[:12], limit, fix)


def _check_shapes(config: Config, model: LanguageModel) -> None:
    """The weights fit the model that is asked for; ValueError names the setting that does not fit."""
    there, asked = _shapes(model.params), _shapes_of(config, model.tokenizer)
    if there == asked or there == {name: shape for name, shape in asked.items() if not is_turning(name)}:
        return  # what turns with the dial may be new
    asked_for, own = to_dict(config.model), to_dict(model.config.model)
    for field in dataclasses.fields(config.model):
        value, needed = asked_for[field.name], own[field.name]
        if value == needed:
            continue
        try:
            alone = from_dict(ModelConfig, {**own, field.name: value})
            fits = _shapes_of(dataclasses.replace(model.config, model=alone), model.tokenizer) == there
        except ValueError:  # it contradicts another setting of the start
            fits = False
        limit = f"{needed!r}, as in {model.run}, whose weights have that shape"
        fix = f"set --config.model.{field.name}={needed}, or train without --start"
        require(fits, f"model.{field.name}", value, limit, fix)
    name = sorted(name for name in there.keys() | asked.keys() if there.get(name) != asked.get(name))[0]
    limit = f"{there.get(name, 'absent')}, as in {model.run}"
    fix = "leave --config out, or train without --start"
    require(False, f"the shape of {name}", asked.get(name, "absent"), limit, fix)


def _shapes(params: Any) -> dict[str, tuple[int, ...]]:
    found = jax.tree_util.tree_leaves_with_path(params)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): tuple(np.shape(leaf)) for path, leaf in found
    }


def _shapes_of(config: Config, tokenizer: Tokenizer) -> dict[str, tuple[int, ...]]:
    """The shapes of the parameters of the model that `config` asks for."""
    network = Network(build_transformer(config, tokenizer.vocab_size), Windows())
    return _shapes(jax.eval_shape(lambda: network.init(example_batch(config), jax.random.key(0))))

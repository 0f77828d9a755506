"""`aila_jax.export`: a model with its dial as a folder that others read."""

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from aila_jax.checkpoint import find_checkpoint
from aila_jax.checkpoint.lineage import lineage_of
from aila_jax.config import AdapterConfig, Config, TrainedPart, require, user_path
from aila_jax.config.checks import check_flag, check_instance
from aila_jax.config.options import ExportOptions
from aila_jax.exporting.card import CARD, PROGRAM, card_of
from aila_jax.exporting.dial import DIAL, Setting, check_dial, dial_json
from aila_jax.exporting.merge import merged, turning
from aila_jax.exporting.peft import ADAPTER_CONFIG, ADAPTERS, adapter_config, loras, tensors_of
from aila_jax.files import write_atomically
from aila_jax.inference.dial import check_hard
from aila_jax.inference.language_model import LanguageModel
from aila_jax.loading.models import read_model
from aila_jax.pretrained.hub import fetched
from aila_jax.pretrained.loading import load_pretrained
from aila_jax.pretrained.opened import Family, Reading, open_pretrained
from aila_jax.pretrained.places import is_elsewhere, is_hub_name, is_pretrained
from aila_jax.pretrained.source import sha256_of
from aila_jax.pretrained.writing import fitting, write_folder, write_tokenizer

PROGRAMS = Path(__file__).with_name("programs")


def export(
    model: LanguageModel | str | Path,
    path: str | Path,
    *,
    format: str = "folder",
    lam: float = 1.0,
    tau: float = 1.0,
    base: str | Path = "",
    length: int | None = None,
    fallback: bool = False,
) -> Path:
    """Writes a model with its dial as a folder: weights or adapters, a card (README.md), and a program
    (with_dial.py) that runs it in transformers with its locality (docs/howto/export.md).

    `folder`: config.json, model.safetensors, tokenizer.json and what belongs to them, as transformers reads
    them. What turns with λ (adapters, FiLM, `dial_weights`) becomes part of the weights at `lam`; at lam=0
    they are the base, bit for bit. Without such parts they are the same at every λ. `peft`: the adapters
    alone, with lora_alpha = λ · r.

    Args:
      model: a loaded model, the path of a run or of a pretrained model, or a hub's name.
      path: the folder; new or empty.
      format: `folder` or `peft`.
      lam: λ of the weights, of the card's guarantee, and where the program's dial stands by default.
      tau: τ, likewise.
      base: `peft` only: the folder or the hub's name of the base; by default the folder that it was read
        from.
      length: of the path of a pretrained model: tokens that it reads at once, as in `from_pretrained`.
      fallback: of a run's path, where the newest checkpoint is damaged, take the newest whole one, and say
        so.

    Returns:
      The folder.

    Raises:
      ValueError: an argument outside its limits, a folder that holds something, a model that fits no family
        or has a part that cannot be written, or a base that is missing or another one. All of it before
        weights are read, but for the base's own.

    Source: ours (docs/method.md, section 14).
    """
    check_instance("base", base, str | Path, "text or a pathlib.Path", "base='my/folder'")
    options = ExportOptions(format=format, lam=lam, tau=tau, base=str(base), length=length)
    new_folder(path)
    return export_by(origin_of(model, length, fallback, options.base), path, options)


@dataclass(frozen=True)
class Origin:
    """What is exported, before its weights are read.

    Attributes:
      config: its configuration.
      meta: of the model.
      run: its name.
      read: reads it.
    """

    config: Config
    meta: Mapping[str, Any]
    run: str
    read: Callable[[], LanguageModel]


def origin_of(
    model: LanguageModel | str | Path, length: int | None = None, fallback: bool = False, base: str = ""
) -> Origin:
    """The model itself, or what stands at a path; `base`: where what a run began from is now."""
    fallback = check_flag("fallback", fallback)
    file = None if isinstance(model, LanguageModel) else user_path(model, "model")
    pretrained = file is not None and is_elsewhere(file)
    limit, fix = "left out: only a pretrained model is read in another length", "leave it out"
    require(length is None or pretrained, "length", length, limit, fix)
    if isinstance(model, LanguageModel):
        limit, fix = "left out with a loaded model", "pass fallback to aila_jax.load"
        require(not fallback, "fallback", fallback, limit, fix)
        return Origin(model.config, model.meta, model.run, lambda: model)
    assert file is not None, "it is a path"
    if pretrained:
        require(not fallback, "fallback", fallback, "left out for a pretrained model", "leave it out")
        opened = open_pretrained(file, Reading(length), fetched)
        meta = {"pretrained": {"model_type": opened.family.model_type}}
        return Origin(opened.config, meta, file.name, lambda: load_pretrained(opened))
    found = find_checkpoint(file, fallback=fallback)
    moved = base or None if found.config.train.trained == TrainedPart.DIAL else None
    return Origin(found.config, found.record.meta, found.run, lambda: read_model(found, moved))


def export_by(origin: Origin, path: str | Path, options: ExportOptions) -> Path:
    """`export`, by options."""
    folder, shape = new_folder(path).absolute(), origin.config.model
    check_dial(origin.config)
    check_hard(shape.hard, options.lam)
    plain = replace(shape, film=False, dial_weights="none", adapters=AdapterConfig())
    family = fitting(plain, origin.meta, origin.run)
    turns = turning(shape)
    setting = Setting(options.lam, options.tau, bool(turns))
    if options.format == "peft":
        check_adapters(origin.config)
        setting = replace(setting, only=False, base=base_of(origin, options.base))
    else:
        fix = "leave it out, or format='peft'"
        require(not options.base, "base", options.base, "left out with whole weights", fix)
    model = origin.read()
    if setting.base:
        check_base(model, setting.base)
    whole = merged(model, options.lam)
    text, dial = card_of(model, whole, setting), dial_json(model, setting)
    with written_whole(folder) as there:
        if setting.base:
            _write_adapters(model, family, there, setting)
        else:
            write_folder(without_cap(whole), there)
        write_atomically(there / DIAL, _json(dial))
        shutil.copyfile(PROGRAMS / PROGRAM, there / PROGRAM)
        write_atomically(there / CARD, text.encode())
    return folder


@contextlib.contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A folder beside this one that takes its place at the end, so that none is there in part."""
    there = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.tmp")
    try:
        there.mkdir(parents=True)
        yield there
        os.replace(there, folder)
    finally:
        shutil.rmtree(there, ignore_errors=True)


def without_cap(model: LanguageModel) -> LanguageModel:
    """The same weights; the cap is the program's."""
    config = replace(model.config, model=replace(model.config.model, score_cap=0.0))
    return replace(model, config=config)


def new_folder(path: str | Path) -> Path:
    """The folder of a path that is new or empty.

    Raises:
      ValueError: it holds something, or is a file: nothing is written over.
    """
    folder = user_path(path)
    free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    limit = "a folder that is new or empty: nothing is written over"
    require(free and not folder.is_symlink(), "path", str(path), limit, "choose another folder")
    return folder


def check_adapters(config: Config) -> None:
    """ValueError where a PEFT folder cannot hold what turns with λ."""
    model = config.model
    fix = "format='folder', which puts it into the weights at one λ"
    for name, found, plain in (("film", model.film, False), ("dial_weights", model.dial_weights, "none")):
        limit = f"{plain!r} in a PEFT folder, which has adapters alone"
        require(found == plain, f"model.{name}", found, limit, fix)
    limit = "at least 1 for a PEFT folder, which holds adapters"
    require(model.adapters.rank > 0, "model.adapters.rank", model.adapters.rank, limit, "format='folder'")


def base_of(origin: Origin, base: str) -> str:
    """The folder, or the hub's name, of what adapters are added to.

    Raises:
      ValueError: none is known, it is not there, its files are not those that the model began with, or it is
        another name of the hub than the one that was recorded.
    """
    pretrained = origin.meta.get("pretrained", {})
    began = [one.path for one in lineage_of(origin.meta) if one.path and is_elsewhere(one.path)]
    found = base or str(pretrained.get("path", "")) or next(iter(began), "")
    limit = "the folder or the hub's name of the model that the adapters are for"
    fix = "base='my/folder' (export the model at lam=0 for one)"
    file = user_path(found) if found else None
    there = file is not None and is_pretrained(file) and file.is_dir()
    named = is_hub_name(found)
    require(there or named, "base", found, limit, fix)
    hub_name = pretrained.get("hub_name") or next(filter(is_hub_name, began), "")
    limit = f"{hub_name!r}, which the weights came from, or a folder, whose weights are compared"
    fix = "leave it out, or base='my/folder'"
    require(there or not hub_name or found == hub_name, "base", found, limit, fix)
    files = pretrained.get("files", {})
    for name, sha in files.items() if there and file is not None and not base else ():
        whole = (file / name).is_file() and sha256_of(file / name) == sha
        fix = "restore it, or name another copy: base='my/folder'"
        require(whole, "base", str(file / name), f"the file that the model was read from ({sha[:12]})", fix)
    return str(file.resolve()) if there and file is not None else found


def check_base(model: LanguageModel, base: str) -> None:
    """ValueError where the base in a folder has other weights than the model without its adapters. One of the
    hub is not fetched for that.
    """
    file = user_path(base)
    if not file.is_dir():
        return
    opened = open_pretrained(file, Reading(length=model.config.model.length))
    limit = "the weights of this model without its adapters"
    fix = "name the base that the adapters were trained on, or export the model at lam=0 for one"
    for one in opened.tensors:
        array = opened.source.read(one.name, one.shape[0])
        for name, part in zip(one.targets, one.read(array), strict=True):
            found = model.params
            for step in name.split("/"):
                found = found.get(step, {}) if isinstance(found, Mapping) else {}
            same = np.shape(found) == part.shape and bool(np.array_equal(np.asarray(found), part))
            require(same, "base", base, f"{limit}, which {one.name} is not", fix)


def _write_adapters(model: LanguageModel, family: Family, folder: Path, setting: Setting) -> None:
    found = list(loras(model, family))
    save_file(tensors_of(found), folder / ADAPTERS, {"format": "pt"})
    config = adapter_config(found, model, family, setting.lam, setting.base)
    write_atomically(folder / ADAPTER_CONFIG, _json(config))
    shutil.copymode(folder / ADAPTER_CONFIG, folder / ADAPTERS)  # the library lets nobody else read it
    write_tokenizer(model, folder)


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode()

"""A model as a Hugging Face folder: the inverse of reading one."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save_file

from aila_jax.config import ModelConfig, require, user_path
from aila_jax.files import write_atomically
from aila_jax.inference.language_model import LanguageModel
from aila_jax.pretrained.folder import CONFIG, TOKENIZER, TOKENIZER_CONFIG, WEIGHTS
from aila_jax.pretrained.opened import FAMILIES, Family

GENERATION = "generation_config.json"
ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "gpt_neox": "GPTNeoXForCausalLM",
}


def write_folder(model: LanguageModel, path: str | Path) -> Path:
    """Writes config.json, generation_config.json, model.safetensors (float32), tokenizer.json and
    tokenizer_config.json; read back by `from_pretrained` the weights are the same, bit for bit. The dial is
    not in it.

    Args:
      model: of one of the families that are read.
      path: the folder; made.

    Raises:
      ValueError: a model of no such family, or with what a folder cannot hold.
    """
    family, config = family_of(model), model.config
    folder = user_path(path)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for one in family.style.tensors(config.model, model.tokenizer.vocab_size):
        tensors[one.name] = one.write([_param(model.params, name) for name in one.targets])
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    named, ids = special_types(model), {}
    for name in ("bos_token", "eos_token"):
        ids[f"{name}_id"] = model.tokenizer.type_id(named[name]) if named[name] else None
    settings = {
        "architectures": [ARCHITECTURES[family.model_type]],
        "model_type": family.model_type,
        "vocab_size": model.tokenizer.vocab_size,
        "tie_word_embeddings": config.model.tied,
        "torch_dtype": "float32",
        **ids,
        **family.settings(config.model),
    }
    write_atomically(folder / CONFIG, _json(settings))
    shutil.copymode(folder / CONFIG, folder / WEIGHTS)  # the library lets nobody else read it
    write_atomically(folder / GENERATION, _json(ids))
    write_tokenizer(model, folder)
    return folder


def special_types(model: LanguageModel) -> Mapping[str, str]:
    """The spellings of the types that begin a text and end an answer; empty where there is none."""
    return {
        "bos_token": model.config.data.begin,
        "eos_token": str(model.meta.get("chat", {}).get("eos_token") or ""),
    }


def write_tokenizer(model: LanguageModel, folder: Path) -> None:
    """Writes tokenizer.json, and tokenizer_config.json with the chat template where there is one."""
    write_atomically(folder / TOKENIZER, model.tokenizer.to_json().encode())
    named = {name: spelled or None for name, spelled in special_types(model).items()}
    template = model.meta.get("chat", {}).get("template")
    chat = {"chat_template": template} if template else {}
    values = {"tokenizer_class": "PreTrainedTokenizerFast", **named, **chat}
    write_atomically(folder / TOKENIZER_CONFIG, _json(values))


def family_of(model: LanguageModel) -> Family:
    """The family that a model is written as: the one it was read from, or the first that it fits."""
    _check_plain(model.config.model)
    return fitting(model.config.model, model.meta, model.run)


def fitting(config: ModelConfig, meta: Mapping[str, Any], run: str) -> Family:
    """The family of a decoder whose dial is aside.

    Args:
      config: the decoder.
      meta: of the model; it may name the family that it was read from.
      run: the model's name, for the message.

    Raises:
      ValueError: it fits none.
    """
    own = meta.get("pretrained", {}).get("model_type")
    misfits = {name: one.misfit(config) for name, one in FAMILIES.items()}
    fits = [name for name, misfit in misfits.items() if not misfit]
    why = ", ".join(f"{name} (not with {misfit})" for name, misfit in misfits.items())
    fix = "write a model that from_pretrained has read, or that was trained from one"
    require(bool(fits), "model", run, f"a decoder of one of these families: {why}", fix)
    return FAMILIES[own if own in fits else fits[0]]


def _check_plain(config: ModelConfig) -> None:
    """No part that a folder has no place for."""
    for name, found, plain in (
        ("adapters.rank", config.adapters.rank, 0),
        ("film", config.film, False),
        ("qk_norm", config.qk_norm, False),
        ("score_cap", config.score_cap, 0.0),
        ("dial_weights", config.dial_weights, "none"),
        ("localist", config.localist, False),
        ("bidirectional", config.bidirectional, False),
    ):
        require(
            found == plain,
            f"model.{name}",
            found,
            f"{plain!r} in a folder of a pretrained model",
            "merge it first",
        )


def _param(params: Any, name: str) -> np.ndarray:
    found = params
    for part in name.split("/"):
        found = found[part]
    return np.asarray(jax.device_get(found), np.float32)


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=2) + "\n").encode()

"""Adapters as a folder of PEFT: W + (lora_alpha / r)·BA with lora_alpha = λ·r.

Where a family keeps queries, keys and values in one matrix, so does its adapter: the ranks stand side by
side, and each reaches the outputs of its own part alone. That is the same map, of three times the rank.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from aila_jax.config import ModelConfig
from aila_jax.inference.language_model import LanguageModel
from aila_jax.pretrained.opened import Family
from aila_jax.pretrained.stored import Stored

ADAPTER_CONFIG, ADAPTERS = "adapter_config.json", "adapter_model.safetensors"


@dataclass(frozen=True, eq=False)
class Lora:
    """The low-rank matrices of one module: its weights change by (lora_alpha / r)·BA.

    Attributes:
      module: its name in transformers, as model.layers.0.self_attn.q_proj.
      rank: R, rows of A.
      a_RxI: of its inputs.
      b_OxR: of its outputs.
    """

    module: str
    rank: int
    a_RxI: Float[np.ndarray, "R I"]
    b_OxR: Float[np.ndarray, "O R"]

    @property
    def tail(self) -> str:
        """Its name inside a layer, as self_attn.q_proj."""
        parts = self.module.split(".")
        number = next(place for place, part in enumerate(parts) if part.isdecimal())
        return ".".join(parts[number + 1 :])


def loras(model: LanguageModel, family: Family) -> Iterator[Lora]:
    """The adapters of a model, module by module."""
    config, style = model.config.model, family.style
    for one in style.tensors(config, model.tokenizer.vocab_size):
        if "/attention/" not in one.targets[0] or not one.targets[0].endswith("kernel"):
            continue
        parts = [name.split("/")[-2] for name in one.targets]
        adapted = [name for name in parts if config.adapters.turns(name)]
        if adapted:
            layer = model.params[one.targets[0].split("/")[0]]["attention"]
            yield _lora(one, layer, (parts, adapted), config, style.inputs_first)


def _lora(
    one: Stored, layer: Any, names: tuple[list[str], list[str]], config: ModelConfig, inputs_first: bool
) -> Lora:
    """That of one matrix, which holds these projections, of which those have an adapter."""
    (parts, adapted), rank = names, config.adapters.rank
    total, module = rank * len(adapted), one.name.removesuffix(".weight")
    if parts == ["out"]:
        down = one.resized("outputs", rank).write([_numbers(layer, "out_down")])
        up = _numbers(layer, "out_up").T  # [D, r]
        return Lora(module, rank, down.T if inputs_first else down, np.ascontiguousarray(up))
    whole = one.resized("inputs", total)
    ups = {name: np.zeros(whole.target, np.float32) for name in parts}
    for place, name in enumerate(adapted):
        ups[name][rank * place : rank * (place + 1)] = _numbers(layer, f"{name}_up")
    up = whole.write([ups[name] for name in parts])
    downs = np.concatenate([_numbers(layer, f"{name}_down").T for name in adapted])
    return Lora(module, total, downs, np.ascontiguousarray(up.T if inputs_first else up))


def _numbers(layer: Any, name: str) -> Float[np.ndarray, "..."]:
    return np.asarray(jax.device_get(layer[name]["kernel"]), np.float32)


def tensors_of(found: list[Lora]) -> dict[str, Float[np.ndarray, "..."]]:
    """What adapter_model.safetensors holds, by PEFT's names."""
    tensors = {}
    for one in found:
        name = f"base_model.model.{one.module}"
        tensors[f"{name}.lora_A.weight"] = np.ascontiguousarray(one.a_RxI)
        tensors[f"{name}.lora_B.weight"] = np.ascontiguousarray(one.b_OxR)
    return tensors


def adapter_config(
    found: list[Lora], model: LanguageModel, family: Family, lam: float, base: str
) -> Mapping[str, Any]:
    """The contents of adapter_config.json."""
    rank = model.config.model.adapters.rank
    ranks = {one.tail: one.rank for one in found}
    other = {name: one for name, one in ranks.items() if one != rank}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": lam * rank,
        "rank_pattern": other,
        "alpha_pattern": {name: lam * one for name, one in other.items()},
        "target_modules": sorted(ranks),
        "fan_in_fan_out": family.style.inputs_first,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "inference_mode": True,
    }

"""The metadata of a GGUF file under the names that a config.json has for them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from aila_jax.config import require
from aila_jax.config.choices import RotaryScaling
from aila_jax.config.rotary import RotaryConfig
from aila_jax.model.rotary import rotary_rates
from aila_jax.pretrained.settings import FIX, Settings

# The architectures that are read, with the model_type that each is.
ARCHITECTURES = {"llama": "llama", "qwen2": "qwen2", "gpt2": "gpt2", "gptneox": "gpt_neox"}
_LLAMA = {
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "block_count": "num_hidden_layers",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "context_length": "max_position_embeddings",
    "rope.freq_base": "rope_theta",
    "attention.sliding_window": "sliding_window",
}
_NEOX = {
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "block_count": "num_hidden_layers",
    "attention.head_count": "num_attention_heads",
    "attention.layer_norm_epsilon": "layer_norm_eps",
    "context_length": "max_position_embeddings",
    "rope.freq_base": "rope_theta",
    "use_parallel_residual": "use_parallel_residual",
}
_GPT2 = {
    "embedding_length": "n_embd",
    "feed_forward_length": "n_inner",
    "block_count": "n_layer",
    "attention.head_count": "n_head",
    "attention.layer_norm_epsilon": "layer_norm_epsilon",
    "context_length": "n_positions",
}
_KEYS = {"llama": _LLAMA, "qwen2": _LLAMA, "gpt2": _GPT2, "gptneox": _NEOX}
# Read here, or repeated by what is read.
_HERE = {
    "rope.dimension_count",
    "attention.value_length",
    "vocab_size",
    "rope.scaling.type",
    "rope.scaling.factor",
}
_FIXED: Mapping[str, tuple[Any, ...]] = {
    "expert_count": (0,),
    "expert_used_count": (0,),
    "attention.causal": (True,),
    "rope.scaling.finetuned": (True, False),
    "rope.scaling.original_context_length": (),
}
_SCALED = (8.0, 32.0)  # factors of Llama 3.1 and 3.2


def architecture(metadata: Mapping[str, Any], where: str) -> str:
    """The architecture of a file; ValueError for one that is not read."""
    found = metadata.get("general.architecture")
    limit = f"one of {', '.join(ARCHITECTURES)}"
    require(
        isinstance(found, str) and found in ARCHITECTURES,
        f"general.architecture in {where}",
        found,
        limit,
        FIX,
    )
    return str(found)


def interleaved(metadata: Mapping[str, Any]) -> bool:
    """Whether rows of queries and keys stand in the order of interleaved rotary positions. (Those of qwen2
    and gptneox are in halves, as in a folder.)
    """
    return metadata.get("general.architecture") == "llama"


def gguf_settings(
    metadata: Mapping[str, Any],
    names: frozenset[str],
    factors: Float[np.ndarray, " half"] | None,
    where: str,
) -> Settings:
    """Settings as a config.json has them.

    Args:
      metadata: of the file.
      names: of its tensors: which biases there are, and whether the output layer is tied.
      factors: by which llama3's scaling divides the rates of rotary positions.
      where: the file.

    Raises:
      ValueError: another architecture, or a key that asks for what is not there.
    """
    kind = architecture(metadata, where)
    keys = _KEYS[kind]
    own = {
        name.removeprefix(f"{kind}."): value
        for name, value in metadata.items()
        if name.startswith(f"{kind}.")
    }
    for name, value in own.items():
        if name in _FIXED:
            allowed = " or ".join(map(repr, _FIXED[name])) or "left out"
            require(
                value in _FIXED[name],
                f"{kind}.{name} in {where}",
                value,
                f"{allowed}: nothing else is there",
                FIX,
            )
        else:
            limit = "a key that is known, since others may change what the model computes"
            require(name in keys or name in _HERE, f"{kind}.{name} in {where}", value, limit, FIX)
    found = {keys[name]: value for name, value in own.items() if name in keys}
    found |= {"model_type": ARCHITECTURES[kind], "tie_word_embeddings": "output.weight" not in names}
    for name in ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"):
        if name in found:  # a float32 of the file: 1e-5 is meant where it says 9.99999974e-06
            found[name] = float(str(np.float32(found[name])))
    if kind in ("llama", "qwen2"):
        found |= _of_llama(kind, own, names, where)
    if kind != "gpt2":
        found |= _rotary(kind, own, factors, where)
    return Settings.of(found, where)


def _of_llama(kind: str, own: Mapping[str, Any], names: frozenset[str], where: str) -> dict[str, Any]:
    same = own.get("attention.value_length", own.get("attention.key_length")) == own.get(
        "attention.key_length"
    )
    limit = "as attention.key_length"
    require(same, f"attention.value_length in {where}", own.get("attention.value_length"), limit, FIX)
    if kind == "qwen2":
        return {}
    return {
        "attention_bias": "blk.0.attn_q.bias" in names,
        "mlp_bias": "blk.0.ffn_up.bias" in names,
        # A window shorter than the text is refused for this architecture too, where a file has one.
        **({"use_sliding_window": True} if "attention.sliding_window" in own else {}),
    }


def _rotary(
    kind: str, own: Mapping[str, Any], factors: Float[np.ndarray, " half"] | None, where: str
) -> dict[str, Any]:
    """The settings of rotary positions."""
    scaling, factor = own.get("rope.scaling.type", "none"), own.get("rope.scaling.factor", 1.0)
    known = scaling in ("none", "linear")
    require(known, f"{kind}.rope.scaling.type in {where}", scaling, "none or linear: no other is there", FIX)
    base = float(own.get("rope.freq_base", 10000.0))
    width, heads = own.get("embedding_length", 0), own.get("attention.head_count", 0)
    right = type(width) is int and type(heads) is int and 0 < heads <= width
    require(
        right, f"heads and width in {where}", (heads, width), "whole numbers above 0", "fetch the file again"
    )
    head = own.get("attention.key_length", width // heads)
    turned = own.get("rope.dimension_count", head)
    found: dict[str, Any] = {
        "rope_theta": base,
        "rope_type": "default",
        "partial_rotary_factor": turned / head,
    }
    if scaling == "linear" and factor != 1.0:
        found |= {"rope_type": "linear", "factor": float(factor)}
    if factors is not None:
        require(
            found["rope_type"] == "default",
            f"rope_freqs.weight in {where}",
            "there",
            "left out with a scaling",
            FIX,
        )
        found |= _llama3(base, turned, factors, where)
    return {"rope_parameters": found}


def _llama3(base: float, width: int, factors: Float[np.ndarray, " half"], where: str) -> dict[str, Any]:
    """The settings of llama3's scaling that make these factors."""
    plain = np.asarray(rotary_rates(width, base), np.float64)
    for factor in _SCALED:
        config = RotaryConfig(scaling=RotaryScaling.LLAMA3, factor=factor)
        made = plain / np.asarray(rotary_rates(width, base, config), np.float64)
        if made.shape == factors.shape and np.allclose(made, factors, rtol=1e-4):
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": config.low_factor,
                "high_freq_factor": config.high_factor,
                "original_max_position_embeddings": config.original_length,
            }
    limit = f"those of llama3's scaling by {' or '.join(f'{one:g}' for one in _SCALED)}"
    require(False, f"rope_freqs.weight in {where}", factors.tolist(), limit, "take the model's folder")
    raise AssertionError

"""One λ put into the weights: what turns with the dial becomes part of the projections and norms."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from aila_jax.config import DIAL_WEIGHTS, AdapterConfig, ModelConfig, NormKind, TrainedPart, require
from aila_jax.config.adapters import PROJECTIONS
from aila_jax.inference.language_model import LanguageModel
from aila_jax.types import Array


def turning(config: ModelConfig) -> str:
    """The setting that makes weights turn with λ; empty where none do."""
    named = (
        ("film", config.film),
        ("dial_weights", config.dial_weights != "none"),
        ("adapters.rank", config.adapters.rank > 0),
    )
    return next((f"model.{name}" for name, on in named if on), "")


def merged(model: LanguageModel, lam: float) -> LanguageModel:
    """The model whose weights are those of this one at λ: W + λAB of adapters, W + λW′ of `dial_weights`,
    norms with FiLM's scale and shift. At λ = 0 they are the base, bit for bit. The margin still turns.

    Raises:
      ValueError: FiLM shifts a norm that has no bias.
    """
    config = model.config.model
    params = dict(model.params)
    for name in [name for name in params if name.startswith("layer_")]:
        layer = dict(params[name])
        layer["attention"] = _attention(layer["attention"], config, lam)
        for part in ("attention_norm", "mlp_norm"):
            layer[part] = _norm(layer.get(part, {}), config, lam, f"{name}/{part}")
        params[name] = layer
    params["final_norm"] = _norm(params["final_norm"], config, lam, "final_norm")
    plain = replace(config, film=False, dial_weights="none", adapters=AdapterConfig())
    # Nothing turns any more, so that nothing is frozen beside it.
    train = replace(model.config.train, trained=TrainedPart.ALL)
    return replace(model, params=params, config=replace(model.config, model=plain, train=train))


def _attention(params: Any, config: ModelConfig, lam: float) -> Any:
    """The projections of one layer, without adapters and without W′."""
    found = dict(params)
    for name in PROJECTIONS:
        turns = []
        if config.adapters.turns(name):
            down, up = (
                np.asarray(found.pop(f"{name}_{one}")["kernel"], np.float64) for one in ("down", "up")
            )
            turns.append(np.tensordot(down, up, 1))
        if name in DIAL_WEIGHTS[config.dial_weights]:
            turns.append(np.asarray(found.pop(f"{name}_dial")["kernel"], np.float64))
        if turns and lam:
            turned = lam * sum(turns[1:], turns[0])
            kernel = _rounded(np.asarray(found[name]["kernel"], np.float64) + turned)
            found[name] = {**found[name], "kernel": kernel}
    return found


def _norm(params: Any, config: ModelConfig, lam: float, name: str) -> Any:
    """A norm without FiLM: x(1 + λa) + λc of x = n·s + b has scale s(1 + λa) and bias b(1 + λa) + λc."""
    if not config.film:
        return params
    found = dict(params)
    scale, shift = (np.asarray(found.pop(f"film_{one}"), np.float64) for one in ("scale", "shift"))
    kind = "RMSNorm_0" if config.norm == NormKind.RMS else "LayerNorm_0"
    fits = not lam or "bias" in found.get(kind, {}) or not shift.any()
    limit, fix = "0 where the norm has no bias to take it", "export it at lam=0"
    require(fits, f"{name}/film_shift", float(np.abs(shift).max()), limit, fix)
    if lam and kind in found:
        own = {
            part: np.asarray(values, np.float64) * (1.0 + lam * scale) for part, values in found[kind].items()
        }
        if "bias" in own:
            own["bias"] += lam * shift
        found[kind] = {part: _rounded(values) for part, values in own.items()}
    return found


def _rounded(values: Float[np.ndarray, "..."]) -> Float[Array, "..."]:
    """Float64 rounded once."""
    return jnp.asarray(values.astype(np.float32))

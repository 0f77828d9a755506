"""A model's parameters in two parts: those that turn with the dial, and the base, all there is at λ = 0."""

from collections.abc import Mapping
from typing import Any

from aila_jax.config import ModelConfig

# How the names end of modules that act times λ (`aila_jax.model.layers.adapted`, `model.dial_weights`), and
# those of FiLM's vectors.
TURNING = ("_down", "_up", "_dial")
FILM = ("film_scale", "film_shift")


def turns_with_dial(config: ModelConfig) -> bool:
    """Whether a model has parameters that turn with the dial."""
    return config.adapters.rank > 0 or config.film or config.dial_weights != "none"


def merged(under: Any, over: Any) -> Any:
    """Parameters of two trees, those of `over` where both have one."""
    if not isinstance(under, Mapping) or not isinstance(over, Mapping):
        return over
    names = [*under, *(name for name in over if name not in under)]
    return {
        name: merged(under[name], over[name])
        if name in under and name in over
        else (over if name in over else under)[name]
        for name in names
    }


def dial_part(params: Any) -> Any:
    """The parameters that turn with the dial alone: low-rank adapters, FiLM, and W′ of `model.dial_weights`.
    At λ = 0 they do nothing.
    """
    return _chosen(params, turns=True)


def base_part(params: Any) -> Any:
    """The others: what the model is at λ = 0."""
    return _chosen(params, turns=False)


def is_turning(name: str) -> bool:
    """Whether the parameter of a path such as "layer_0/attention/query_up/kernel" turns with the dial."""
    return any(part.endswith(TURNING) or part in FILM for part in name.split("/"))


def _chosen(params: Any, turns: bool) -> Any:
    found = {}
    for name, value in params.items():
        turning = name.endswith(TURNING) or name in FILM
        if turning or not isinstance(value, Mapping):
            part = value if turning == turns else None
        else:
            part = _chosen(value, turns) or None
        if part is not None:
            found[name] = part
    return found

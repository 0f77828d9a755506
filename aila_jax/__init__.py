"""AILA in JAX: transformer language models with a locality dial. One checkpoint serves every λ and τ.

Names are loaded on first use, so that importing the package costs nothing.
"""

import importlib
from typing import Any

_HOME = {
    "Config": "aila_jax.config",
    "LanguageModel": "aila_jax.inference.language_model",
    "Run": "aila_jax.runs",
    "SelfScaling": "aila_jax.model.attention",
    "answer": "aila_jax.answering.answer",
    "certify": "aila_jax.evaluation.certify",
    "demo": "aila_jax.runs",
    "evaluate": "aila_jax.runs",
    "export": "aila_jax.exporting.export",
    "fit_partition": "aila_jax.partition.fit",
    "fit_relation": "aila_jax.partition.fit",
    "from_pretrained": "aila_jax.pretrained.loading",
    "load": "aila_jax.loading.models",
    "load_dataset": "aila_jax.data.dataset",
    "localise": "aila_jax.runs",
    "locality_attention": "aila_jax.model.attention",
    "plan": "aila_jax.planning.plan",
    "population": "aila_jax.runs",
    "presets": "",
    "recruit": "aila_jax.runs",
    "report": "aila_jax.runs.page",
    "score": "aila_jax.evaluation.score",
    "sweep": "aila_jax.evaluation.sweep",
    "train": "aila_jax.runs",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module(f"{__name__}.provenance").version()
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not _HOME[name]:
        return importlib.import_module(f"{__name__}.{name}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

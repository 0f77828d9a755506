"""The experiments whose results the README shows: their configurations, and the tables made from their result files."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from aila_jax.config import Config, LocalityConfig, MarginConfig
from aila_jax.evaluation.rows import SweepResult
from aila_jax.presets import small, with_data_dir
from aila_jax.reporting import dial_figure, read_sweep, save_figure, write_sweep

SHORT, LONG = 1200, 4500  # steps of 4,096 tokens: 4.9M and 18.4M


def first_dial(data_dir: str, seed: int) -> dict[str, Config]:
    """Plain, fixed and conditional training at equal tokens, and two of them at 18.4M, by name."""
    base = replace(with_data_dir(small(), data_dir), seed=seed)
    conditional = LocalityConfig(mode="conditional")
    margin = MarginConfig(form="self_scaling")
    variants = {
        "plain": _variant(base, LocalityConfig(mode="fixed", lam=0.0), film=False),
        "fixed-0.6": _variant(base, LocalityConfig(mode="fixed", lam=0.6), film=False),
        "fixed-1": _variant(base, LocalityConfig(mode="fixed", lam=1.0), film=False),
        "conditional": _variant(base, conditional, film=True),
        "conditional-self-scaling": _variant(base, replace(conditional, power=3.0), film=True, margin=margin),
    }
    for name in ("plain", "conditional"):
        variants[f"{name}-18M"] = replace(variants[name], train=replace(base.train, steps=LONG, eval_every=1500, checkpoint_every=1500))
    return variants


def _variant(base: Config, locality: LocalityConfig, film: bool, margin: MarginConfig | None = None) -> Config:
    model = replace(base.model, film=film, margin=margin or base.model.margin)
    return replace(base, model=model, locality=locality)


def write_result(result: SweepResult, directory: str | Path, stem: str) -> None:
    """Writes one run's rows as a result file."""
    Path(directory).mkdir(parents=True, exist_ok=True)
    write_sweep(result, directory, stem=stem)

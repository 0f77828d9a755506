"""What faults are injected into: a small run, the same on every machine."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from aila_jax import presets
from aila_jax.checkpoint import find_checkpoint, whole_steps
from aila_jax.checkpoint.found import check_all
from aila_jax.config import (
    AnchorConfig,
    Config,
    LocalityConfig,
    ModelConfig,
    PenaltyConfig,
    RuleConfig,
    SweepConfig,
    TrainConfig,
)

STEPS, SAVED = 24, (8, 16, 24)


def small_config(**train: Any) -> Config:
    """A conditional run of 24 steps, saved at 8, 16 and 24, of which the newest two stay. It has anchors, a
    penalty and dropout, and its corpus is made, not read.
    """
    settings = {
        "steps": STEPS,
        "batch_size": 8,
        "learning_rate": 1e-2,
        "warmup_steps": 4,
        "log_every": 5,
        "eval_every": 12,
        "eval_batches": 2,
        "checkpoint_every": 8,
    }
    base = presets.recall()
    rule = RuleConfig(sequences=96, pairs=2, queries=2)
    return replace(
        base,
        data=replace(base.data, rule=rule, cache_dir=""),
        model=ModelConfig(length=10, d_model=16, n_heads=2, d_ff=32, n_layers=2, dropout=0.1),
        locality=LocalityConfig(mode="conditional"),  # type: ignore[arg-type]
        anchors=AnchorConfig(estimator="attention"),  # type: ignore[arg-type]
        penalty=PenaltyConfig(solver="proximal", eta=1e-3, groups=4, weights="anchors"),  # type: ignore[arg-type]
        train=TrainConfig(**{**settings, **train}),
        sweep=SweepConfig(lams=(0.0, 0.5, 1.0), taus=(0.5, 1.0), batch_size=8),
    )


@contextlib.contextmanager
def compiled_once(folder: Path) -> Iterator[dict[str, str]]:
    """Inside, each program is compiled once, and read from the folder after that; yields the environment by
    which other processes do the same.
    """
    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    try:
        _keep_programs(settings)
        yield {name.upper(): str(value) for name, value in settings.items()}
    finally:
        _keep_programs(before)


def _keep_programs(settings: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def newest(run: Path) -> int | None:
    """The newest step of a run, every byte of it verified; None where nothing is saved."""
    if not whole_steps(run / "checkpoints"):
        return None
    found = find_checkpoint(run)
    check_all(found)
    return found.step


def weights(run: Path, step: int) -> str:
    """The identity of all arrays of a step, its optimizer's among them."""
    entries = find_checkpoint(run, step).arrays
    return ";".join(f"{name} {entry.sha256}" for name, entry in sorted(entries.items()))

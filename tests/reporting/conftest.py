"""A SYNTHETIC sweep, and SYNTHETIC attention maps: their numbers are made by formulas to look believable, and
no model was run.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from aila_jax.config import Config
from aila_jax.evaluation.origin import SweepMeta
from aila_jax.evaluation.rows import CellRow, HeadRow, SweepResult
from aila_jax.inference.attention_maps import AttentionMaps

LAMS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
TAUS = (0.5, 1.0, 2.0)
UNIFORM = 0.1104


def make_cell(lam: float, tau: float, **changes: Any) -> CellRow:
    """One synthetic cell: perplexity dips at λ = 0.4, entropy falls and block mass rises with λ."""
    loss = 4.24 + 0.16 * (lam - 0.4) ** 2 + 0.35 * (tau - 1.0) ** 2
    mass = min(0.999, 0.20 + 0.54 * lam**1.3 + 0.04 * (1.0 - tau))
    values = {
        "run": "synthetic",
        "seed": 7,
        "commit": "0123abc",
        "split": "validation",
        "targets": 215_488,
        "lam": lam,
        "tau": tau,
        "hard": False,
        "loss": loss,
        "perplexity_token": 2.718281828459045**loss,
        "perplexity_word": 2.718281828459045 ** (1.31 * loss),
        "perplexity_byte": 2.718281828459045 ** (0.24 * loss),
        "accuracy": 0.262 - 0.02 * (lam - 0.4) ** 2 - 0.02 * abs(tau - 1.0),
        "entropy_bits": 2.60 - 1.35 * lam + 0.9 * (tau - 1.0),
        "entropy_fraction": (2.60 - 1.35 * lam + 0.9 * (tau - 1.0)) / 5.6,
        "block_mass": mass,
        "block_mass_uniform": UNIFORM,
        "block_mass_lift": mass / UNIFORM,
        "block_mass_local": mass,
        "delta_imposed": 8.0 * lam,
        "delta_measured": None,
        "delta_share": None,
    }
    return CellRow(**(values | changes))


def make_head(cell: CellRow, layer: int, head: int) -> HeadRow:
    """One synthetic head of a cell: heads differ by fixed factors."""
    mass = min(0.999, cell.block_mass * (0.7 + 0.2 * head))
    values = {
        name: getattr(cell, name)
        for name in ("run", "seed", "commit", "split", "lam", "tau", "entropy_fraction", "delta_imposed")
    }
    return HeadRow(
        **values,
        layer=layer,
        head=head,
        entropy_bits=cell.entropy_bits * (0.8 + 0.1 * head + 0.15 * layer),
        block_mass=mass,
        block_mass_uniform=UNIFORM,
        block_mass_lift=mass / UNIFORM,
        block_mass_local=mass,
        delta_measured=None,
        delta_share=None,
    )


def synthetic_sweep(
    lams: tuple[float, ...] = LAMS,
    taus: tuple[float, ...] = TAUS,
    shape: tuple[int, int] = (2, 4),
    bidirectional: bool = False,
    **changes: Any,
) -> SweepResult:
    """A synthetic sweep of `shape` = (layers, heads); `changes` replace values of every cell."""
    cells = tuple(make_cell(lam, tau, **changes) for lam in lams for tau in taus)
    heads = tuple(
        make_head(cell, layer, head)
        for cell in cells
        for layer in range(shape[0])
        for head in range(shape[1])
    )
    config = Config(seed=7)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, bidirectional=bidirectional))
    meta = {
        "note": "synthetic",
        "versions": {"python": "3.13.0", "jax": "0.12.0"},
        "commit": "0123abc",
        "device": "cpu (synthetic)",
        "data_fingerprint": "9f86d081",
        "checkpoint_step": 1200,
        "baselines": {"unigram": {"perplexity_token": 812.4}, "bigram": {"perplexity_token": 171.9}},
    }
    return SweepResult(cells, heads, config, SweepMeta.from_json(meta))


def synthetic_log() -> list[dict[str, Any]]:
    """A synthetic training log."""
    train = [
        {
            "step": step,
            "kind": "train",
            "loss": 4.2 + 4.0 * 0.995**step,
            "tokens_per_second": 5e4,
            "learning_rate": 1e-3,
            "grad_norm": 0.8,
            "lam_mean": 0.5,
        }
        for step in range(20, 1201, 20)
    ]
    evaluations = [
        {
            "step": step,
            "kind": "eval",
            "loss": 4.3 + 4.0 * 0.995**step + 0.1 * lam,
            "perplexity": 80.0,
            "accuracy": 0.25,
        }
        | {"entropy_bits": 2.5, "block_mass": 0.3, "lam": lam, "tau": 1.0}
        for step in (400, 800, 1200)
        for lam in (0.0, 0.5, 1.0)
    ]
    return sorted(train + evaluations, key=lambda record: record["step"])


def synthetic_maps(
    shape: tuple[int, int] = (1, 1),
    length: int = 7,
    lam: float = 0.4,
    block_ids: list[int] | None = None,
    causal: bool = True,
) -> AttentionMaps:
    """SYNTHETIC attention maps of `shape` = (layers, heads): softmax weights of random scores; windows of 3
    unless ids are given.
    """
    ids = np.arange(length) // 3 if block_ids is None else np.asarray(block_ids)
    scores = 2.0 * np.random.default_rng(0).standard_normal((*shape, length, length))
    tokens = tuple(f"t{index}" for index in range(length))
    empty = AttentionMaps(
        tokens, ids, np.zeros_like(scores), np.zeros(shape), np.zeros(shape), lam, 0.7, causal
    )
    weights = np.where(empty.reach, np.exp(scores - 8.0 * lam * ~empty.inside), 0.0)
    weights /= weights.sum(-1, keepdims=True)
    bits = -np.sum(weights * np.log2(weights, out=np.zeros_like(weights), where=weights > 0), -1).mean(-1)
    mass = np.sum(weights * empty.inside, -1).mean(-1)
    return dataclasses.replace(empty, weights=weights.astype(np.float32), entropy_bits=bits, block_mass=mass)


@pytest.fixture
def make_sweep() -> Callable[..., SweepResult]:
    """`synthetic_sweep`, for tests that change it."""
    return synthetic_sweep


@pytest.fixture
def sweep() -> SweepResult:
    """The synthetic sweep: λ from 0 to 1 by 0.2, τ of 0.5, 1 and 2, 2 layers of 4 heads."""
    return synthetic_sweep()


@pytest.fixture
def log() -> list[dict[str, Any]]:
    """The synthetic training log."""
    return synthetic_log()

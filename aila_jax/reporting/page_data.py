"""What the page's script reads: one JSON block of the runs' grids, samples and readings of a text."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import UInt8

from aila_jax import formats
from aila_jax.config import require
from aila_jax.config.checks import plain, real
from aila_jax.evaluation.rows import CellRow, SweepResult
from aila_jax.inference.reach import Reach
from aila_jax.inference.text_reading import TextReading
from aila_jax.reporting.grid import nearest_tau, spread
from aila_jax.reporting.plots_attention import EDGE, block_edges, token_label
from aila_jax.reporting.samples import check_sample

MAX_WEIGHT_BYTES = 2 * 1024 * 1024  # of all weights in the page, in base64
MAX_SAMPLES = 100
MAX_SAMPLE_CHARACTERS = 4000
LEVELS = 255  # that a weight is rounded to
NUMBERS = (
    "perplexity_token",
    "accuracy",
    "entropy_bits",
    "block_mass",
    "block_mass_uniform",
    "guaranteed_entropy_bits",
    "guaranteed_block_mass",
)


@dataclass(frozen=True)
class RunOnPage:
    """One run as the page shows it; what is None or empty is left out.

    Attributes:
      label: how it is called beside another.
      result: its sweep.
      log: records of its training log.
      samples: generated texts, as dicts with lam, tau, prompt and text.
      reading: one text over the dial.
      missing: why something is left out, a line each.
    """

    label: str
    result: SweepResult | None = None
    log: Sequence[Mapping[str, Any]] | None = None
    samples: Sequence[Mapping[str, Any]] = ()
    reading: TextReading | None = None
    missing: tuple[str, ...] = ()


def page_data(runs: Sequence[RunOnPage]) -> dict[str, Any]:
    """The block as JSON values."""
    ramp = np.round(LEVELS * matplotlib.colormaps["viridis"](np.arange(LEVELS + 1))[:, :3])
    readings = [run.reading for run in runs if run.reading is not None]
    room = MAX_WEIGHT_BYTES // max(len(readings), 1)
    lams, taus = grid_of(runs)
    starts = [nearest_tau(run.result) for run in runs if run.result is not None]
    return {
        "lams": lams,
        "taus": taus,
        "start_tau": starts[0] if starts else min(taus, key=lambda tau: abs(np.log(tau)), default=1.0),
        "ramp": _base64(ramp),
        "edge": EDGE,
        "runs": [
            {
                "label": run.label,
                "cells": [] if run.result is None else [_cell(cell) for cell in run.result.cells],
                "samples": [
                    sample_shown(sample, index) for index, sample in enumerate(run.samples[:MAX_SAMPLES])
                ],
                "reading": None if run.reading is None else reading_data(run.reading, room),
            }
            for run in runs
        ],
    }


def grid_of(runs: Sequence[RunOnPage]) -> tuple[list[float], list[float]]:
    """Every λ and every τ at which at least one run was measured or read, ascending."""
    lams, taus = set(), set()
    for run in runs:
        cells = () if run.result is None else run.result.cells
        lams |= {cell.lam for cell in cells}
        taus |= {cell.tau for cell in cells}
        if run.reading is not None:
            lams |= set(run.reading.lams)
            taus |= set(run.reading.taus)
    return sorted(lams), sorted(taus)


def _cell(cell: CellRow) -> dict[str, Any]:
    """A cell's numbers, exact, and the texts shown for them."""
    return {
        "lam": cell.lam,
        "tau": cell.tau,
        "numbers": {name: getattr(cell, name) for name in NUMBERS},
        "texts": {
            "perplexity_token": formats.perplexity(cell.perplexity_token),
            "accuracy": formats.percent(cell.accuracy),
            "entropy_bits": formats.fixed(cell.entropy_bits, 2),
            "block_mass": formats.percent(cell.block_mass),
            "block_mass_lift": formats.lift(cell.block_mass_lift),
            "guaranteed_entropy_bits": formats.at_most(cell.guaranteed_entropy_bits, 2),
            "guaranteed_block_mass": _at_least_percent(cell.guaranteed_block_mass),
        },
    }


def _at_least_percent(share: float | None) -> str:
    """A guaranteed share, rounded down."""
    return formats.MISSING if share is None else f"{formats.at_least(100 * share, 1)} %"


def sample_shown(sample: Mapping[str, Any], index: int) -> dict[str, Any]:
    """A sample cut to the length shown; raises ValueError where a key is missing or λ or τ is no number."""
    check_sample(sample, index)
    text = str(sample["text"])
    lam, tau = (plain(sample[name]) for name in ("lam", "tau"))
    for name, value in (("lam", lam), ("tau", tau)):
        require(real(value), f"samples[{index}][{name!r}]", value, "a number", f"{{{name!r}: 1.0}}, say")
    return {
        "lam": lam,
        "tau": tau,
        "prompt": str(sample["prompt"])[:MAX_SAMPLE_CHARACTERS],
        "text": text[:MAX_SAMPLE_CHARACTERS],
        "cut": max(0, len(text) - MAX_SAMPLE_CHARACTERS),
    }


def reading_data(reading: TextReading, room: int = MAX_WEIGHT_BYTES) -> dict[str, Any]:
    """A reading as JSON values.

    A weight w is the byte q = round(255 √w), so that w ≈ (q / 255)² and √w is off by at most 1/510: small
    weights keep their digits. `weights` holds the bytes in base64, [τ, λ, layer, head, cell]; cells are rows
    of queries, up to the query itself where the model is causal. Entropy and block mass are those of the
    exact weights; losses are rounded to 4 decimals, and null for the first token. With a relation `kinds`
    holds the `KeyKind` of each layer, query and key in base64, a byte each, and `layer_edges` the outlines by
    layer.

    Args:
      reading: one text over the dial.
      room: bytes for the weights, in base64.

    Raises:
      ValueError: more weights than there is room for.
    """
    length = len(reading.tokens)
    settings, shown = len(reading.taus) * len(reading.lams), len(reading.layers) * len(reading.heads)
    longest = most_tokens(settings * shown, reading.causal, room)
    require(
        length <= longest,
        "text",
        f"{length} tokens",
        f"at most {longest} here",
        "shorten it, or show fewer λ",
    )
    cells = np.tri(length, dtype=bool) if reading.causal else np.ones((length, length), bool)
    weights = np.round(LEVELS * np.sqrt(reading.weights[..., cells].astype(np.float64)))
    return {
        "lams": list(reading.lams),
        "taus": list(reading.taus),
        "causal": reading.causal,
        "source": reading.source,
        "tokens": list(reading.tokens),
        "labels": [token_label(token) for token in reading.tokens],
        "edges": block_edges(reading.inside),
        "inside": _base64(np.packbits(reading.inside)),
        "layers": list(reading.layers),
        "heads": list(reading.heads),
        "entropy_bits": reading.entropy_bits.tolist(),
        "block_mass": reading.block_mass.tolist(),
        "weights": _base64(weights),
        "loss": None if reading.loss is None else _rounded(reading.loss),
        **({} if reading.kinds is None else _kinds(reading.kinds, reading.causal)),
        **({} if reading.reach is None else {"reach": _reach_data(reading.reach, reading.reach_taus)}),
    }


def _reach_data(reach: Reach, taus: Sequence[float]) -> dict[str, Any]:
    """Which tokens can have influenced which prediction, in bits, a row for each prediction."""
    return {
        "lam": reach.lam,
        "taus": list(taus),
        "can": _base64(np.packbits(reach.can)),
        "blocks": reach.block_ids.tolist(),
        "holds": reach.condition.text,
        "why": reach.why_hard,
    }


def _kinds(kinds: UInt8[np.ndarray, "N L L"], causal: bool) -> dict[str, Any]:
    """What is inside in each layer, and as what."""
    seen = np.where(np.tri(kinds.shape[-1], dtype=bool) | (not causal), kinds, 0)
    return {"kinds": _base64(seen), "layer_edges": [block_edges(layer > 0) for layer in seen]}


def most_tokens(maps: int, causal: bool = True, room: int = MAX_WEIGHT_BYTES) -> int:
    """The longest text of which so many maps, over all settings and heads, fit into `room` in base64."""
    cells = room * 3 // 4 // maps
    return int((np.sqrt(8 * cells + 1) - 1) / 2) if causal else int(np.sqrt(cells))


def heads_that_fit(
    settings: int, shape: tuple[int, int], length: int, causal: bool = True, room: int = MAX_WEIGHT_BYTES
) -> tuple[list[int], list[int]]:
    """Layers and heads, evenly spread, of which a text's maps at so many settings fit into `room`; none where
    not even one does.
    """
    layers, heads = shape
    while most_tokens(settings * layers * heads, causal, room) < length:
        if layers * heads == 1:
            return [], []
        layers, heads = (layers, heads - 1) if heads >= layers else (layers - 1, heads)
    return _some(shape[0], layers), _some(shape[1], heads)


def _some(count: int, most: int) -> list[int]:
    return [0] if most == 1 else spread(count, most)


def _rounded(loss: np.ndarray) -> list[Any]:
    """[τ][λ][token], four decimals, None for NaN."""
    return [
        [[None if np.isnan(one) else round(float(one), 4) for one in tokens] for tokens in row]
        for row in loss
    ]


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.asarray(values, np.uint8).tobytes()).decode("ascii")

"""What the page's λ slider reads: attention maps at several λ, quantised to one byte a weight."""

import base64
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np

from aila_jax.config import require
from aila_jax.evaluation.attention_maps import AttentionMaps
from aila_jax.reporting.plots_attention import EDGE, block_edges, token_label

MOST_WEIGHT_BYTES = 2 * 1024 * 1024
LEVELS = 255


def slider_data(maps: Sequence[AttentionMaps]) -> dict[str, Any]:
    """One text's maps at several λ as JSON values.

    A weight w is the byte q = round(255 √w), so that w ≈ (q / 255)² and √w is off by at most 1/510: small
    weights keep their digits. `weights` holds the bytes in base64, [λ, layer, head, cell]; cells are rows of
    queries, up to the query itself where the model is causal. Entropy and block mass are those of the exact
    weights.

    Raises:
      ValueError: no maps, maps of different texts, models or τ, or more than 2 MiB of weights.
    """
    require(
        len(maps) > 0,
        "maps",
        list(maps),
        "at least one setting of the dial",
        "take them from model.attention_dial",
    )
    first = maps[0]
    for other in maps:
        same = (first.tokens, first.tau, first.causal, first.source) == (
            other.tokens,
            other.tau,
            other.causal,
            other.source,
        )
        require(
            same,
            "maps",
            "those of several texts, models or τ",
            "one text's at one τ",
            "draw each text on its own",
        )
    layers, heads = first.entropy_bits.shape
    longest = most_tokens(len(maps), layers, heads, first.causal)
    require(
        len(first.tokens) <= longest,
        "text",
        f"{len(first.tokens)} tokens",
        f"at most {longest} here",
        "shorten it, or show fewer λ",
    )
    ordered = sorted(maps, key=lambda one: one.lam)
    ramp = np.round(LEVELS * matplotlib.colormaps["viridis"](np.arange(LEVELS + 1))[:, :3])
    return {
        "lams": [one.lam for one in ordered],
        "tau": first.tau,
        "causal": first.causal,
        "source": first.source,
        "tokens": list(first.tokens),
        "labels": [token_label(token) for token in first.tokens],
        "edges": block_edges(first.inside),
        "inside": _base64(np.packbits(first.inside)),
        "layers": layers,
        "heads": heads,
        "entropy_bits": [one.entropy_bits.tolist() for one in ordered],
        "block_mass": [one.block_mass.tolist() for one in ordered],
        "weights": _base64(np.concatenate([_quantised(one).ravel() for one in ordered])),
        "ramp": _base64(ramp),
        "edge": EDGE,
    }


def most_tokens(settings: int, layers: int, heads: int, causal: bool = True) -> int:
    """The longest text whose maps at so many settings of the dial stay below 2 MiB in base64."""
    cells = MOST_WEIGHT_BYTES * 3 // 4 // (settings * layers * heads)
    return int((np.sqrt(8 * cells + 1) - 1) / 2) if causal else int(np.sqrt(cells))


def _quantised(maps: AttentionMaps) -> np.ndarray:
    """[layer, head, cell] bytes."""
    length = len(maps.tokens)
    cells = np.tri(length, dtype=bool) if maps.causal else np.ones((length, length), bool)
    return np.round(LEVELS * np.sqrt(maps.weights[:, :, cells].astype(np.float64))).astype(np.uint8)


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.asarray(values, np.uint8).tobytes()).decode("ascii")

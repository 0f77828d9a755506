"""Attention maps under a λ slider: as a section of the report, as a page of its own, and for notebooks."""

import base64
import functools
import html
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np

from aila_jax.config import require
from aila_jax.formats import LEAKY
from aila_jax.inference.attention_maps import AttentionMaps
from aila_jax.reporting.grid import spread
from aila_jax.reporting.pages import environment, figure_sources, page_bytes
from aila_jax.reporting.plots_attention import EDGE, attention_figure, block_edges, token_label

MAX_LAYERS, MAX_HEADS = 2, 4  # of the picture that stands in for the slider
MAX_WEIGHT_BYTES = 2 * 1024 * 1024  # of all weights in the page
LEVELS = 255  # that a weight is rounded to
LIMIT = (
    "Attention is not influence: a weight says where a head looks, not what the prediction depends on. These"
    " maps are of one text; another text has others."
)


def attention_page(maps: Sequence[AttentionMaps]) -> str:
    """A whole HTML page, one file that fetches nothing, with a slider over the λ of `maps` (one text at
    several λ, at one τ).

    Raises:
      ValueError: no maps, maps of different texts, models or τ, or more than fit on a page.
    """
    source = environment().get_template("attention_page.html.jinja").render(attention=attention_context(maps))
    return page_bytes(source, "take a shorter text or fewer λ").decode("utf-8")


def attention_html(maps: Sequence[AttentionMaps], height: int = 1000) -> str:
    """The same page in a frame `height` pixels high, for `IPython.display.HTML`: several do not disturb each
    other.
    """
    page = html.escape(attention_page(maps))
    return (
        f'<div><iframe srcdoc="{page}" width="100%" height="{height}" style="border:0" title="attention under'
        ' the dial"></iframe></div>'
    )


def attention_context(maps: Sequence[AttentionMaps]) -> dict[str, Any]:
    """What the template `attention.html.jinja` shows."""
    data = slider_data(maps)
    ordered = sorted(maps, key=lambda one: one.lam)
    start = len(ordered) // 2
    layers, heads = spread(data["layers"], MAX_LAYERS), spread(data["heads"], MAX_HEADS)
    picture = figure_sources(functools.partial(attention_figure, ordered[start], layers, heads))
    whole = len(layers) == data["layers"] and len(heads) == data["heads"]
    return {
        "data": data,
        "start": start,
        "picture": picture,
        "picture_note": (
            ""
            if whole
            else f", {len(layers)} of {data['layers']} layers and {len(heads)} of {data['heads']} heads"
        ),
        "sentence": _sentence(data),
        "limit": LIMIT,
    }


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


def _sentence(data: dict[str, Any]) -> str:
    """What the maps are of."""
    lams = data["lams"]
    span = (
        f"λ = {lams[0]:g}" if len(lams) == 1 else f"{len(lams)} values of λ from {lams[0]:g} to {lams[-1]:g}"
    )
    model = f" The model ({LEAKY}) has no causal mask." if not data["causal"] else ""
    of = f" of {data['source']}" if data["source"] else ""
    return (
        f"Attention weights{of} over one text of {len(data['tokens'])} tokens, for {data['layers']} layers of"
        f" {data['heads']} heads, at {span}, τ = {data['tau']:g}.{model}"
    )


def most_tokens(settings: int, layers: int, heads: int, causal: bool = True) -> int:
    """The longest text whose maps at so many settings of the dial stay below 2 MiB in base64."""
    cells = MAX_WEIGHT_BYTES * 3 // 4 // (settings * layers * heads)
    return int((np.sqrt(8 * cells + 1) - 1) / 2) if causal else int(np.sqrt(cells))


def _quantised(maps: AttentionMaps) -> np.ndarray:
    """[layer, head, cell] bytes."""
    length = len(maps.tokens)
    cells = np.tri(length, dtype=bool) if maps.causal else np.ones((length, length), bool)
    return np.round(LEVELS * np.sqrt(maps.weights[:, :, cells].astype(np.float64))).astype(np.uint8)


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.asarray(values, np.uint8).tobytes()).decode("ascii")

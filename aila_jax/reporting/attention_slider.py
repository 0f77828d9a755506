"""Attention maps under a λ slider: as a section of the report, as a page of its own, and for notebooks."""

import functools
import html
from collections.abc import Sequence
from typing import Any

from aila_jax.evaluation.attention_maps import AttentionMaps
from aila_jax.reporting.attention_data import slider_data
from aila_jax.reporting.formats import LEAKY
from aila_jax.reporting.grid import spread
from aila_jax.reporting.pages import environment, figure_sources, page_bytes
from aila_jax.reporting.plots_attention import attention_figure

MOST_LAYERS, MOST_HEADS = 2, 4  # of the picture that stands in for the slider
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
    layers, heads = spread(data["layers"], MOST_LAYERS), spread(data["heads"], MOST_HEADS)
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

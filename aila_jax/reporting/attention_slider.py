"""Attention maps under a λ slider, as a page of its own and for notebooks."""

from collections.abc import Sequence

from aila_jax.inference.attention_maps import AttentionMaps
from aila_jax.inference.text_reading import reading_of_maps
from aila_jax.reporting.glossary import GLOSSARY
from aila_jax.reporting.html import dial_context
from aila_jax.reporting.page_data import RunOnPage
from aila_jax.reporting.pages import environment, framed, page_bytes


def attention_page(maps: Sequence[AttentionMaps]) -> str:
    """A whole HTML page, one file that fetches nothing, with a slider over the λ of `maps` (one text at
    several λ, at one τ or at several).

    Raises:
      ValueError: no maps, maps of different texts or models, no whole grid of λ and τ, or more than fit on a
        page.
    """
    reading = reading_of_maps(maps)
    source = (
        environment()
        .get_template("attention_page.html.jinja")
        .render(
            title=f"Attention of {reading.source}",
            dial=dial_context([RunOnPage(reading.source, reading=reading)]),
            glossary=GLOSSARY,
        )
    )
    return page_bytes(source, "take a shorter text or fewer λ").decode("utf-8")


def attention_html(maps: Sequence[AttentionMaps], height: int = 1000) -> str:
    """The same page in a frame `height` pixels high, for `IPython.display.HTML`."""
    return framed(attention_page(maps), height, "attention under the dial")

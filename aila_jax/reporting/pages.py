"""What every HTML page of this package has in common: templates, figures inside the file, its largest
size.
"""

import base64
import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from aila_jax.reporting.style import DARK, LIGHT, figure_bytes

MAX_BYTES = 5 * 1024 * 1024
PIXELS_PER_INCH = 118


def environment() -> jinja2.Environment:
    """Templates of this package; every value is escaped, and a name that is not there is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page_bytes(source: str, fix: str) -> bytes:
    """A finished page as bytes; raises ValueError with `fix` where they are more than 5 MB."""
    # An address in the configuration or in a sample is text; written so, no mail gateway or scanner takes it
    # for a link to follow.
    page = source.replace("://", "&#58;//").encode("utf-8")
    if len(page) > MAX_BYTES:
        raise ValueError(f"the page has {len(page):,} bytes; it must have at most {MAX_BYTES:,}. Fix: {fix}.")
    return page


def framed(page: str, height: int, title: str) -> str:
    """A page in a frame `height` pixels high, for `IPython.display.HTML`.

    Several do not disturb each other.
    """
    return (
        f'<div><iframe srcdoc="{html.escape(page)}" width="100%" height="{height}" style="border:0"'
        f' title="{html.escape(title)}"></iframe></div>'
    )


def figure_sources(make: Callable[..., Figure]) -> dict[str, Any]:
    """The figure that `make(theme=…)` draws, for light and for dark pages, as data addresses with a width in
    pixels.
    """
    light, dark = make(theme=LIGHT), make(theme=DARK)
    return {
        "light": _address(light),
        "dark": _address(dark),
        "width": round(PIXELS_PER_INCH * light.get_figwidth()),
    }


def _address(fig: Figure) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(figure_bytes(fig, 'svg')).decode('ascii')}"

"""Attention weights as pictures: a map for every head, with the blocks drawn over it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from aila_jax.config import require
from aila_jax.formats import LEAKY, fixed, percent
from aila_jax.inference.attention_maps import AttentionMaps
from aila_jax.inference.key_kinds import NAMES, KeyKind
from aila_jax.reporting.style import LIGHT, Theme, house_style

MAX_PANELS = 256
MAX_LABELLED_TOKENS = 32
MAX_LABEL_CHARACTERS = 10
TICKS = (0.0, 0.01, 0.05, 0.2, 0.5, 1.0)
KEY_MARKS = {KeyKind.POINTER: "v", KeyKind.SINK: "s"}  # above the keys
EDGE = "#E8601C"  # apart from every colour of viridis, for colour-blind eyes too


def attention_figure(
    maps: AttentionMaps,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    *,
    theme: Theme = LIGHT,
) -> Figure:
    """One map a head, a row for each layer: queries from top to bottom, keys from left to right, blocks
    outlined.

    The colour is the square root of the weight, from 0 to 1 in every map, so that a weight of 0.01 is still
    seen and figures compare. Titles give each head's entropy and block mass over this text. Up to 32 tokens
    are written out. With a relation what is inside in that layer is outlined, and the keys that are pointers
    or a sink there have a mark above the map.

    Args:
      maps: what `model.attention` returns.
      layers: which to draw, counted from 0; all by default.
      heads: the same.
      theme: page colours.

    Raises:
      ValueError: a layer or head that there is not, or more than 256 maps.
    """
    n_layers, n_heads = maps.entropy_bits.shape
    layers, heads = chosen_of("layers", layers, n_layers), chosen_of("heads", heads, n_heads)
    count = len(layers) * len(heads)
    require(
        count <= MAX_PANELS,
        "layers × heads",
        count,
        f"at most {MAX_PANELS} maps",
        "choose some with layers= and heads=",
    )
    labelled = len(maps.tokens) <= MAX_LABELLED_TOKENS
    with house_style(theme):
        side = max(1.7, 0.13 * len(maps.tokens)) if labelled else 1.9
        room = 0.7 if labelled else 0.25
        fig = Figure(
            figsize=(side * len(heads) + room + 0.9, (side + 0.35) * len(layers) + room + 0.3),
            layout="constrained",
        )
        panels = fig.subplots(len(layers), len(heads), squeeze=False, sharex=True, sharey=True)
        for row, layer in enumerate(layers):
            for column, head in enumerate(heads):
                image = _map(panels[row, column], maps, layer, head)
        _name_tokens(panels, maps.tokens if labelled else None)
        bar = fig.colorbar(
            image,
            ax=list(panels.ravel()),
            label="attention weight (square-root scale)",
            pad=0.015,
            aspect=24,
            ticks=TICKS,
        )
        bar.ax.set_yticklabels([f"{tick:g}" for tick in TICKS])
        bar.outline.set_visible(False)
        _name_marks(fig, maps, layers)
        leaky = "" if maps.causal else f" ({LEAKY})"
        fig.suptitle(f"λ = {maps.lam:g}, τ = {maps.tau:g}{leaky}", fontsize=10, fontweight="bold")
    return fig


def chosen_of(name: str, wanted: Sequence[int] | None, count: int) -> list[int]:
    """The layers or heads to draw, each once; ValueError where one does not exist."""
    chosen = list(range(count)) if wanted is None else list(wanted)
    fits = bool(chosen) and all(
        isinstance(index, (int, np.integer)) and 0 <= index < count for index in chosen
    )
    require(fits, name, wanted, f"numbers from 0 to {count - 1}", f"leave {name} out to see all")
    return list(dict.fromkeys(chosen))


def draw_map(axes: Axes, maps: AttentionMaps, layer: int, head: int, outline: float = 0.9) -> AxesImage:
    """One head's map without a title; keys that a query may not attend to are blank, blocks outlined,
    pointers and sinks of that layer marked above it.
    """
    shown = np.ma.masked_where(~maps.reach, maps.weights[layer, head])
    image = axes.imshow(shown, norm=PowerNorm(0.5, 0.0, 1.0), cmap="viridis", interpolation="nearest")
    axes.add_collection(LineCollection(block_edges(maps.inside_of(layer)), colors=EDGE, linewidths=outline))
    for kind, mark in KEY_MARKS.items():
        keys = maps.keys_of(kind, layer)
        if len(keys):
            # On the upper edge, half outside the axes.
            axes.plot(
                keys, np.full(len(keys), -0.5), mark, color=EDGE, markersize=3.5, mec="none", clip_on=False
            )
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return image


def draw_words(axes: Axes, maps: AttentionMaps, words: Sequence[str], layer: int, head: int) -> None:
    """One head's map, large, with a word at each row and column."""
    draw_map(axes, maps, layer, head, outline=1.6)
    axes.set_yticks(range(len(words)), words)
    axes.set_xticks(range(len(words)), words, rotation=90)
    axes.tick_params(labelsize=8)


def _map(axes: Axes, maps: AttentionMaps, layer: int, head: int) -> AxesImage:
    """The same under its name, entropy and block mass."""
    image = draw_map(axes, maps, layer, head)
    mass, bits = percent(maps.block_mass[layer, head]), fixed(maps.entropy_bits[layer, head], 2)
    axes.set_title(
        f"{maps.title(layer, head)}\n{bits} bits, block mass {mass}",
        loc="center",
        fontsize=7.5,
        fontweight="normal",
    )
    return image


def _name_marks(fig: Figure, maps: AttentionMaps, layers: Sequence[int]) -> None:
    """A legend of the marks that there are, below the maps."""
    there = [kind for kind in KEY_MARKS if any(len(maps.keys_of(kind, layer)) for layer in layers)]
    if there:
        handles = [
            Line2D(
                [], [], color=EDGE, marker=KEY_MARKS[kind], linestyle="none", markersize=4, label=NAMES[kind]
            )
            for kind in there
        ]
        outlined = Line2D([], [], color=EDGE, linewidth=0.9, label="outline: inside")
        fig.legend(handles=[outlined, *handles], loc="outside lower left", ncols=3, fontsize=7, frameon=False)


def _name_tokens(panels: np.ndarray, tokens: Sequence[str] | None) -> None:
    """Tokens (or axis names) at the outer edges of the grid."""
    for axes in panels[:, 0]:
        if tokens is None:
            axes.set_ylabel("query", fontsize=7.5)
        else:
            axes.set_yticks(
                range(len(tokens)), [token_label(token) for token in tokens], fontsize=6, parse_math=False
            )
    for axes in panels[-1]:
        if tokens is None:
            axes.set_xlabel("key", fontsize=7.5)
        else:
            axes.set_xticks(
                range(len(tokens)),
                [token_label(token) for token in tokens],
                fontsize=6,
                rotation=90,
                parse_math=False,
            )


def token_label(token: str) -> str:
    """A token on one line: its spaces and line ends visible, other characters without a shape by their code,
    cut to ten characters.
    """
    text = token.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")
    text = "".join(one if one.isprintable() else f"<{ord(one):02X}>" for one in text)
    return text if len(text) <= MAX_LABEL_CHARACTERS else f"{text[: MAX_LABEL_CHARACTERS - 1]}…"


def block_edges(inside: Bool[np.ndarray, "L L"]) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """The border of the cells in `inside`, as segments ((x, y), (x, y)) in an image's coordinates; runs are
    joined.
    """
    padded = np.pad(inside, 1)
    across = padded[:, 1:] != padded[:, :-1]  # a vertical border between columns j − 1 and j
    down = (padded[1:] != padded[:-1]).T
    upright = [((x - 0.5, a - 0.5), (x - 0.5, b - 0.5)) for x, a, b in _runs(across[1:-1].T)]
    return upright + [((a - 0.5, y - 0.5), (b - 0.5, y - 0.5)) for y, a, b in _runs(down[1:-1].T)]


def _runs(lines: Bool[np.ndarray, "M L"]) -> list[tuple[int, int, int]]:
    """(line, start, end) of every run of True along each line."""
    steps = np.diff(np.pad(lines, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    starts, ends = np.argwhere(steps == 1), np.argwhere(steps == -1)
    return [(int(line), int(start), int(end)) for (line, start), (_, end) in zip(starts, ends, strict=True)]

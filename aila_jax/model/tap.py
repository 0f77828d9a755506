"""Where a forward pass can be looked into: its named intermediate results, and the taps that they run past.

A tap is a function of a result's name and value; what it returns goes on in the value's place. The usual one
returns the value itself, so that a program without taps holds nothing of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import flax.struct
import jax.numpy as jnp

from aila_jax.config import ModelConfig
from aila_jax.types import Array

Tap = Callable[[str, Array], Array]


def untapped(_: str, value: Array) -> Array:
    """The value goes on as it is, and nobody sees it."""
    return value


@dataclass(frozen=True)
class Site:
    """One kind of intermediate result.

    Attributes:
      name: within its layer.
      axes: letters of the shape glossary, and G for the heads of keys and values; the first L is that of
        positions, of queries where there are two.
      meaning: in a few words.
      wide: float32 in any model, not its compute type.
    """

    name: str
    axes: str
    meaning: str
    wide: bool = False

    def shape(self, config: ModelConfig, rows: int, length: int, types: int) -> tuple[int, ...]:
        """Its shape for so many rows of tokens, and a vocabulary of `types`."""
        sizes = {"B": rows, "L": length, "D": config.d_model, "H": config.n_heads, "G": config.kv_heads}
        sizes |= {"K": config.head_size, "F": config.d_ff, "V": types}
        return tuple(sizes[letter] for letter in self.axes)

    def dtype(self, config: ModelConfig) -> str:
        """Its type."""
        return "float32" if self.wide else config.dtype

    @property
    def positions_axis(self) -> int:
        """The axis of positions."""
        return self.axes.index("L")

    @property
    def of_pairs(self) -> bool:
        """Whether it has a number for each query and key, which attention by tiles does not have at once."""
        return self.axes.count("L") == 2

    @property
    def heads_axis(self) -> int | None:
        """The axis of the heads of queries; None where there is none."""
        return self.axes.index("H") if "H" in self.axes else None


OF_LAYER = (
    Site("residual_before", "BLD", "residual stream that the layer reads"),
    Site("attention.input", "BLD", "its norm, which queries, keys and values are made of"),
    Site("attention.queries", "BLHK", "queries, after rotary positions and norms of their own"),
    Site("attention.keys", "BLGK", "keys, likewise"),
    Site("attention.values", "BLGK", "values"),
    Site(
        "attention.scores", "BHLL", "⟨q, k⟩ times its scale, capped, before the dial and without a mask", True
    ),
    Site(
        "attention.dialled",
        "BHLL",
        "what softmax reads: scores with margin, τ and gate; −∞ if not seen",
        True,
    ),
    Site("attention.weights", "BHLL", "attention weights", True),
    Site("attention.heads", "BLHK", "output of each head, before the output projection"),
    Site("attention.output", "BLD", "what attention adds to the residual stream"),
    Site("residual_middle", "BLD", "residual stream between attention and feed-forward part"),
    Site("feed_forward.input", "BLD", "its norm"),
    Site("feed_forward.inner", "BLF", "hidden units, after the activation"),
    Site("feed_forward.output", "BLD", "what the feed-forward part adds to the residual stream"),
    Site("residual", "BLD", "residual stream after the layer"),
)
AFTER_LAYERS = (
    Site("final_norm", "BLD", "what the output layer reads"),
    Site("logits", "BLV", "next-token logits", True),
)

_BY_NAME = {site.name: site for site in (*OF_LAYER, *AFTER_LAYERS)}


def site_of(name: str) -> Site:
    """The kind of a result, by its whole name."""
    return _BY_NAME[name.split(".", 1)[-1]]


def sites_of(config: ModelConfig) -> dict[str, Site]:
    """Every intermediate result of a model, by its whole name, in the order in which they are computed."""
    own = [one for one in OF_LAYER if not (config.parallel and one.name == "residual_middle")]
    layers = {f"layer_{layer}.{one.name}": one for layer in range(config.n_layers) for one in own}
    return layers | {one.name: one for one in AFTER_LAYERS}


@flax.struct.dataclass
class Edit:
    """What stands in place of a result.

    Attributes:
      value: broadcasts to the result.
      where: broadcasts to it too; elsewhere the result stays.
    """

    value: Array
    where: Array


@dataclass
class Watch:
    """The tap of one forward pass: it puts edits in, and keeps what is wanted, edited.

    Attributes:
      wanted: names.
      edits: by name.
      kept: what of each wanted result is kept; all of it by default.
      found: what it kept, by name.
    """

    wanted: frozenset[str]
    edits: dict[str, Edit] = field(default_factory=dict)
    kept: Callable[[Array], Array] = lambda value: value
    found: dict[str, Array] = field(default_factory=dict)

    def sees_pairs(self, layer: str) -> bool:
        """Whether a result of each query and key is wanted or edited in a layer, `layer_0.`, say."""
        touched = (*self.wanted, *self.edits)
        return any(name.startswith(layer) and site_of(name).of_pairs for name in touched)

    def __call__(self, name: str, value: Array) -> Array:
        """Takes a result of the whole name `name`."""
        if name in self.edits:
            edit = self.edits[name]
            value = jnp.where(edit.where, edit.value.astype(value.dtype), value)
        if name in self.wanted:
            self.found[name] = self.kept(value)
        return value

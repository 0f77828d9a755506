"""The parameters of a model, from its configuration alone: nothing is made or traced."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from aila_jax.config import DIAL_WEIGHTS, FeedForwardKind, ModelConfig, NormKind
from aila_jax.model.parts import is_turning

PARTS = ("embedding", "attention", "feed_forward", "output", "norms", "dial")


@dataclass(frozen=True)
class Parameter:
    """One array of weights.

    Attributes:
      name: its path, as in "layer_0/attention/query/kernel".
      shape: its axes' lengths.
    """

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return prod(self.shape)

    @property
    def turns(self) -> bool:
        """Whether it turns with the dial, and does nothing at λ = 0."""
        return is_turning(self.name)

    @property
    def part(self) -> str:
        """Which of `PARTS` it belongs to; what turns with the dial is a part of its own."""
        if self.turns:
            return "dial"
        top, *inner = self.name.split("/")
        if not inner:
            return "output" if top == "output" else "embedding"
        if inner[0] == "attention":
            return "attention"
        return "feed_forward" if inner[0] in ("mlp_in", "mlp_gate", "mlp_out") else "norms"


def parameters(model: ModelConfig, vocabulary: int) -> Iterator[Parameter]:
    """All of them, in no order that matters.

    Args:
      model: the decoder's shape.
      vocabulary: V, token types.
    """
    yield Parameter("embedding", (vocabulary, model.d_model))
    if model.learned_positions:
        yield Parameter("position", (model.length, model.d_model))
    if not model.tied:
        yield Parameter("output", (vocabulary, model.d_model))
    for layer in range(model.n_layers):
        for one in layer_parameters(model):
            yield Parameter(f"layer_{layer}/{one.name}", one.shape)
    yield from _norm(model, "final_norm", True)


def layer_parameters(model: ModelConfig) -> Iterator[Parameter]:
    """Those of one layer, with names from there on."""
    yield from _norm(model, "attention_norm", model.norm != NormKind.CENTRED)
    yield from _attention(model)
    yield from _norm(model, "mlp_norm", True)
    width, inner = (model.d_model,), (model.d_ff,)
    yield from _dense("mlp_in", model.mlp_bias, width, inner)
    if model.feed_forward == FeedForwardKind.SWIGLU:
        yield from _dense("mlp_gate", model.mlp_bias, width, inner)
    yield from _dense("mlp_out", model.mlp_bias, inner, width)


Axes = tuple[int, ...]  # of one side of a product


def _attention(model: ModelConfig) -> Iterator[Parameter]:
    width, heads = (model.d_model,), (model.n_heads, model.head_size)
    kept = (model.kv_heads, model.head_size)
    for name, out in (("query", heads), ("key", kept), ("value", kept)):
        yield from _dense(f"attention/{name}", model.qkv_bias, width, out)
        yield from _adapter(model, name, width, out)
        if name in DIAL_WEIGHTS[model.dial_weights]:
            yield from _dense(f"attention/{name}_dial", False, width, out)
    yield from _dense("attention/out", model.out_bias, heads, width)
    yield from _adapter(model, "out", heads, width)
    if model.qk_norm:
        yield Parameter("attention/qk_scale", (model.n_heads,))


def _adapter(model: ModelConfig, name: str, side: Axes, other: Axes) -> Iterator[Parameter]:
    if model.adapters.turns(name):
        rank = (model.adapters.rank,)
        yield from _dense(f"attention/{name}_down", False, side, rank)
        yield from _dense(f"attention/{name}_up", False, rank, other)


def _dense(name: str, bias: bool, side: Axes, other: Axes) -> Iterator[Parameter]:
    yield Parameter(f"{name}/kernel", side + other)
    if bias:
        yield Parameter(f"{name}/bias", other)


def _norm(model: ModelConfig, name: str, affine: bool) -> Iterator[Parameter]:
    width = (model.d_model,)
    if model.norm == NormKind.RMS:
        yield Parameter(f"{name}/RMSNorm_0/scale", width)
    elif affine:
        for vector in ("scale", "bias"):
            yield Parameter(f"{name}/LayerNorm_0/{vector}", width)
    for vector in ("film_scale", "film_shift") if model.film else ():
        yield Parameter(f"{name}/{vector}", width)

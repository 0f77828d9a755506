"""Which tensors a decoder's parameters are in, in a file of one style."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aila_jax.config import FeedForwardKind, ModelConfig, NormKind
from aila_jax.config.choices import Choice
from aila_jax.pretrained.stored import Stored, same

HEADS = ("query", "key", "value")


class Fused(Choice):
    """How queries, keys and values lie in a file."""

    APART = "apart"  # a tensor each
    STACKED = "stacked"  # all queries, all keys, all values
    BY_HEAD = "by_head"  # query, key and value of the first head, then those of the next


@dataclass(frozen=True)
class Style:
    """How the files of one kind write a decoder down.

    Attributes:
      names: of each part, with {} for the layer's number; `.weight` and `.bias` come after it.
      fused: queries, keys and values together, under the name `fused`.
      inputs_first: matrices are [inputs, outputs]; else [outputs, inputs].
      interleaved: rows of queries and keys stand in pairs 2i, 2i + 1 of coordinates that turn together,
        biases too; they are read into halves.
    """

    names: Mapping[str, str]
    fused: Fused = Fused.APART
    inputs_first: bool = False
    interleaved: bool = False

    def tensors(self, config: ModelConfig, vocab_size: int) -> Iterator[Stored]:
        """Every tensor of a model of this shape."""
        width = config.d_model
        tables = [("embedding", True, vocab_size), ("position", config.learned_positions, config.length)]
        for part, there, rows in (*tables, ("output", not config.tied, vocab_size)):
            if there:
                yield same(f"{self.names[part]}.weight", part, (rows, width), rows=True)
        yield from self._norm(config, "final_norm", "final_norm", 0)
        for layer in range(config.n_layers):
            for part in ("attention_norm", "mlp_norm"):
                yield from self._norm(config, part, f"layer_{layer}/{part}", layer)
            yield from self._attention(config, layer)
            yield from self._feed_forward(config, layer)

    def _norm(self, config: ModelConfig, part: str, path: str, layer: int) -> Iterator[Stored]:
        name, shape = self.names[part].format(layer), (config.d_model,)
        if config.norm == NormKind.RMS:
            yield same(f"{name}.weight", f"{path}/RMSNorm_0/scale", shape)
            return
        yield same(f"{name}.weight", f"{path}/LayerNorm_0/scale", shape)
        yield same(f"{name}.bias", f"{path}/LayerNorm_0/bias", shape)

    def _attention(self, config: ModelConfig, layer: int) -> Iterator[Stored]:
        if self.fused != Fused.APART:
            yield from self._fused(config, layer)
        else:
            for part in HEADS:
                yield from self._projection(config, part, layer)
        yield from self._out(config, layer)

    def _fused(self, config: ModelConfig, layer: int) -> Iterator[Stored]:
        """Queries, keys and values in one tensor; as many heads of each."""
        heads, size, width = config.n_heads, config.head_size, config.d_model
        name, path = self.names["fused"].format(layer), f"layer_{layer}/attention"
        stacked, shape = self.fused == Fused.STACKED, (3 * heads * size,)
        rows, (three, head) = ((3, heads, size), (0, 1)) if stacked else ((heads, 3, size), (1, 0))
        split: tuple[int, ...] = (*rows, width)
        axes, whole = (three, 3, head, 2), (*shape, width)
        if self.inputs_first:
            split, axes, whole = (width, *rows), (three + 1, 0, head + 1, 3), (width, *shape)
        kernels = tuple(f"{path}/{part}/kernel" for part in HEADS)
        yield Stored(f"{name}.weight", whole, kernels, (width, heads, size), split, axes)
        if config.qkv_bias:
            biases = tuple(f"{path}/{part}/bias" for part in HEADS)
            yield Stored(f"{name}.bias", shape, biases, (heads, size), rows, (three, head, 2))

    def _projection(self, config: ModelConfig, part: str, layer: int) -> Iterator[Stored]:
        """Queries, keys or values by themselves; [outputs, inputs]."""
        heads = config.n_heads if part == "query" else config.kv_heads
        size, width = config.head_size, config.d_model
        name, path = self.names[part].format(layer), f"layer_{layer}/attention/{part}"
        split: tuple[int, ...] = (heads, size)
        order: tuple[int, ...] = (0, 1)
        if self.interleaved and part != "value":  # K/2 pairs of coordinates become two halves
            split, order = (heads, size // 2, 2), (0, 2, 1)
        turned = (len(split), *order)
        whole, kernel = (heads * size, width), (width, heads, size)
        yield Stored(f"{name}.weight", whole, (f"{path}/kernel",), kernel, (*split, width), turned)
        if config.qkv_bias:
            yield Stored(f"{name}.bias", whole[:1], (f"{path}/bias",), kernel[1:], split, order)

    def _out(self, config: ModelConfig, layer: int) -> Iterator[Stored]:
        heads, size, width = config.n_heads, config.head_size, config.d_model
        name, path = self.names["out"].format(layer), f"layer_{layer}/attention/out"
        whole, split, axes = (width, heads * size), (width, heads, size), (1, 2, 0)
        if self.inputs_first:
            whole, split, axes = whole[::-1], (heads, size, width), (0, 1, 2)
        target = (heads, size, width)
        yield Stored(f"{name}.weight", whole, (f"{path}/kernel",), target, split, axes)
        if config.out_bias:
            yield same(f"{name}.bias", f"{path}/bias", (width,))

    def _feed_forward(self, config: ModelConfig, layer: int) -> Iterator[Stored]:
        gate = ("mlp_gate",) if config.feed_forward == FeedForwardKind.SWIGLU else ()
        for part in ("mlp_in", *gate, "mlp_out"):
            shape = (config.d_model, config.d_ff) if part != "mlp_out" else (config.d_ff, config.d_model)
            name, path = self.names[part].format(layer), f"layer_{layer}/{part}"
            whole, axes = (shape, (0, 1)) if self.inputs_first else (shape[::-1], (1, 0))
            yield Stored(f"{name}.weight", whole, (f"{path}/kernel",), shape, whole, axes)
            if config.mlp_bias:
                yield same(f"{name}.bias", f"{path}/bias", shape[1:])

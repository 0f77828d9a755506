"""A GGUF file: settings, weights and tokenizer in one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import dequantize
from jaxtyping import Float

from aila_jax.config import require
from aila_jax.pretrained.gguf_settings import gguf_settings, interleaved
from aila_jax.pretrained.gguf_tokenizer import tokenizer_text
from aila_jax.pretrained.naming import Fused, Style
from aila_jax.pretrained.settings import Settings
from aila_jax.pretrained.source import CHUNK, UNREAD, TokenizerText, empty, read_bytes

FETCH = "fetch the file again"
READ = ("F32", "F16", "Q8_0", "Q4_0", "Q4_1")
ROTARY_FACTORS = "rope_freqs.weight"  # of llama3's scaling; read as a setting
_NAMES = {
    "embedding": "token_embd",
    "position": "position_embd",
    "output": "output",
    "final_norm": "output_norm",
    "attention_norm": "blk.{}.attn_norm",
    "query": "blk.{}.attn_q",
    "key": "blk.{}.attn_k",
    "value": "blk.{}.attn_v",
    "fused": "blk.{}.attn_qkv",
    "out": "blk.{}.attn_output",
    "mlp_norm": "blk.{}.ffn_norm",
    "mlp_gate": "blk.{}.ffn_gate",
    "mlp_in": "blk.{}.ffn_up",
    "mlp_out": "blk.{}.ffn_down",
}


@dataclass(frozen=True)
class Place:
    """Where a tensor is.

    Attributes:
      start: its first byte.
      kind: how its numbers are stored.
      shape: rows first.
    """

    start: int
    kind: gguf.GGMLQuantizationType
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        block, size = gguf.GGML_QUANT_SIZES[self.kind]
        return self.shape[-1] // block * size

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape[:-1], dtype=np.int64)) * self.row_bytes


@dataclass(frozen=True)
class Contents:
    """What stands before the weights.

    Attributes:
      metadata: by key.
      places: of the tensors, by name.
    """

    metadata: Mapping[str, Any]
    places: Mapping[str, Place]


@dataclass(frozen=True)
class GgufFile:
    """Weights, settings and tokenizer in a file. Nothing of the weights is read before `read`.

    Attributes:
      path: the file.
    """

    path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    @cached_property
    def contents(self) -> Contents:
        return _contents(self.path)

    @cached_property
    def settings(self) -> Settings:
        factors = None
        if ROTARY_FACTORS in self.contents.places:
            factors = self.read(ROTARY_FACTORS, self.contents.places[ROTARY_FACTORS].shape[0])
        return gguf_settings(self.contents.metadata, frozenset(self.contents.places), factors, str(self.path))

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        places = self.contents.places
        return {
            name: place.shape
            for name, place in places.items()
            if name != ROTARY_FACTORS and not UNREAD.fullmatch(name)
        }

    def read(self, name: str, rows: int) -> Float[np.ndarray, "..."]:
        place = self.contents.places[name]
        if len(place.shape) == 1:
            raw = read_bytes(self.path, place.start, place.row_bytes)
            return np.asarray(dequantize(raw, place.kind), np.float32)[:rows]
        whole = empty((rows, *place.shape[1:]))
        step = max(CHUNK // place.shape[-1], 1)
        for start in range(0, rows, step):
            count = min(step, rows - start)
            raw = read_bytes(self.path, place.start + start * place.row_bytes, count * place.row_bytes)
            whole[start : start + count] = dequantize(raw.reshape(count, place.row_bytes), place.kind)
        return whole

    def style(self, style: Style) -> Style:
        """Matrices are [outputs, inputs] in these files, and fused ones stacked, whatever the folder has."""
        fused = style.fused if style.fused == Fused.APART else Fused.STACKED
        turned = interleaved(self.contents.metadata)
        return replace(style, names=_NAMES, fused=fused, inputs_first=False, interleaved=turned)

    def tokenizer(self) -> TokenizerText:
        # There is no such file: the checkpoints of runs that begin from this one keep the text of it.
        path = str(self.path.resolve() / "tokenizer.json")
        return tokenizer_text(self.contents.metadata, str(self.path), path)


def _contents(path: Path) -> Contents:
    """Metadata and places of the tensors, all of which are in the file."""
    size = path.stat().st_size
    try:
        reader = gguf.GGUFReader(path)
        metadata = {name: field.contents() for name, field in reader.fields.items()}
        found = [(one.name, one.tensor_type, one.shape.tolist(), one.data_offset) for one in reader.tensors]
    except (
        Exception
    ) as error:  # the library indexes into what may not be there, and says that in its own ways
        # Whether an end is missing shows where it reads the last tensor.
        raise ValueError(
            f"{path} has {size:,} bytes and cannot be read as GGUF ({type(error).__name__}: {error}); it may be"
            f" cut off, or be another file. Fix: {FETCH}"
        ) from None
    places = {}
    for name, kind, shape, start in found:
        limit = f"one of {', '.join(READ)}"
        require(
            kind.name in READ, f"type of {name} in {path}", kind.name, limit, "take a file with such weights"
        )
        block = gguf.GGML_QUANT_SIZES[kind][0]
        rows = tuple(int(one) for one in reversed(shape))
        require(rows[-1] % block == 0, f"width of {name} in {path}", rows[-1], f"divisible by {block}", FETCH)
        places[name] = Place(int(start), kind, rows)
    end = max((place.start + place.nbytes for place in places.values()), default=0)
    require(0 < end <= size, f"bytes of {path}", size, f"at least {end:,}: it is cut off", FETCH)
    return Contents(metadata, places)

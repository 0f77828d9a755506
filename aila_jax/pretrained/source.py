"""What a pretrained model is read from: a folder or a file, whose tensors are read one at a time."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float, UInt8

from aila_jax.config import require
from aila_jax.config.choices import Choice
from aila_jax.pretrained.naming import Style
from aila_jax.pretrained.settings import Settings

# Tensors that say nothing: causal masks, and rates of rotary positions as their settings give them.
UNREAD = re.compile(
    r".*(\.attn|\.attention)\.(masked_)?bias|.*rotary_emb\.inv_freq|.*attn_rot_embd(\.weight)?"
)
CHUNK = 2**22  # numbers that are made float32 at once, so that little is in memory twice


class Source(Protocol):
    """Files of a pretrained model."""

    @property
    def path(self) -> Path:
        """The folder or file."""

    @property
    def settings(self) -> Settings:
        """What its config.json says, or would."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Of its tensors, by name."""

    @property
    def files(self) -> tuple[Path, ...]:
        """What its weights are in."""

    def read(self, name: str, rows: int) -> Float[np.ndarray, "..."]:
        """The first `rows` rows of a tensor, float32."""

    def style(self, style: Style) -> Style:
        """How this file writes down what a folder writes in `style`."""

    def tokenizer(self) -> "TokenizerText":
        """Its tokenizer."""


@dataclass(frozen=True)
class TokenizerText:
    """A tokenizer as a pretrained model brings it.

    Attributes:
      json: the text of its tokenizer.json.
      begin: the type that stands before every text; empty where it has none.
      path: of the file, which a GGUF file has none of.
      chat: how a conversation is written; None where nothing says it.
    """

    json: str
    begin: str
    path: str
    chat: "Chat | None" = None


@dataclass(frozen=True)
class Chat:
    """How a chat model writes a conversation; what `meta["chat"]` keeps.

    Attributes:
      template: in Jinja.
      bos_token: spelling of the token that begins a text; empty where there is none.
      eos_token: spelling of the token that ends an answer; empty where there is none.
    """

    template: str
    bos_token: str
    eos_token: str


class Element(Choice):
    """What the numbers of a safetensors file are."""

    F64 = "F64"
    F32 = "F32"
    F16 = "F16"
    BF16 = "BF16"


_STORED = {Element.F64: "<f8", Element.F32: "<f4", Element.F16: "<f2", Element.BF16: "<u2"}


def element_size(element: Element) -> int:
    """Bytes a number."""
    return np.dtype(_STORED[element]).itemsize


def as_float32(raw: UInt8[np.ndarray, " bytes"], element: Element) -> Float[np.ndarray, " n"]:
    """Numbers as float32: exactly those that are stored, but for float64, which is rounded."""
    stored = raw.view(_STORED[element])
    if element == Element.BF16:  # the upper half of a float32
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32)


def empty(shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    """Memory for a tensor, at an address that the CPU's arrays may have: they need no copy then."""
    count = int(np.prod(shape, dtype=np.int64))
    space = np.empty(4 * count + 64, np.uint8)
    start = -space.ctypes.data % 64
    return space[start : start + 4 * count].view(np.float32).reshape(shape)


def read_bytes(path: Path, start: int, count: int) -> UInt8[np.ndarray, " bytes"]:
    """Bytes of a file. They are read, not mapped: pages of a mapping count as memory too."""
    found = np.fromfile(path, np.uint8, count, offset=start)
    limit = f"{start + count:,}"
    require(len(found) == count, f"bytes of {path}", start + len(found), limit, "fetch the file again")
    return found


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

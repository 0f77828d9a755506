"""A Hugging Face folder: config.json, safetensors, tokenizer.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, safe_open

from aila_jax.config import require
from aila_jax.data.tokenizer_file import read_tokenizer_file
from aila_jax.json_files import json_object, loads, read_json
from aila_jax.pretrained.naming import Style
from aila_jax.pretrained.settings import Settings
from aila_jax.pretrained.source import (
    CHUNK,
    UNREAD,
    Chat,
    Element,
    TokenizerText,
    as_float32,
    element_size,
    empty,
    read_bytes,
)

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
TEMPLATE = "chat_template.jinja"
INDEX, TOKENIZER_CONFIG = f"{WEIGHTS}.index.json", "tokenizer_config.json"
FETCH = "fetch the folder again, whole"
MAX_TEMPLATE = 10**6
MAX_HEADER = 10**8  # what the safetensors library reads at most


@dataclass(frozen=True)
class Place:
    """Where a tensor is.

    Attributes:
      file: which.
      start: its first byte there.
      element: what its numbers are.
      shape: of the tensor.
    """

    file: Path
    start: int
    element: Element
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Folder:
    """Weights, settings and tokenizer in a folder. Nothing of the weights is read before `read`.

    Attributes:
      path: the folder.
    """

    path: Path

    @cached_property
    def settings(self) -> Settings:
        file = self.path / CONFIG
        require(file.is_file(), "path", str(self.path), f"a folder with {CONFIG}", FETCH)
        return Settings.of(json_object(read_json(file), CONFIG), str(file))

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The files of the weights, all of them there."""
        whole, index = self.path / WEIGHTS, self.path / INDEX
        if whole.is_file():
            return (whole,)
        others = sorted(
            one.name for pattern in ("*.bin", "*.pt", "*.h5", "*.msgpack") for one in self.path.glob(pattern)
        )
        limit = f"a folder with {WEIGHTS}, or with {INDEX} and its files"
        fix = "save the model with safe_serialization=True" if others else FETCH
        require(
            index.is_file(),
            "path",
            str(self.path),
            limit + (f" ({others[0]} is not read)" if others else ""),
            fix,
        )
        shards = json_object(json_object(read_json(index), INDEX).get("weight_map"), f"weight_map of {index}")
        names = sorted({one for one in shards.values() if isinstance(one, str)})
        plain = all(isinstance(one, str) and Path(one).name == one for one in shards.values()) and bool(names)
        require(plain, f"weight_map of {index}", names[:3], "names of files in the folder", FETCH)
        missing = [name for name in names if not (self.path / name).is_file()]
        require(not missing, f"files that {index} names and that are missing", missing, "none", FETCH)
        return tuple(self.path / name for name in names)

    @cached_property
    def places(self) -> Mapping[str, Place]:
        """Where every tensor is; each file was checked to be whole."""
        found: dict[str, Place] = {}
        for file in self.files:
            for name, place in _places(file).items():
                require(name not in found, f"tensor {name} in {file}", "there twice", "in one file", FETCH)
                found[name] = place
        return found

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: place.shape for name, place in self.places.items()}

    def read(self, name: str, rows: int) -> Float[np.ndarray, "..."]:
        place = self.places[name]
        whole = empty((rows, *place.shape[1:]))
        flat, size = whole.reshape(-1), element_size(place.element)
        for start in range(0, len(flat), CHUNK):
            count = min(CHUNK, len(flat) - start)
            raw = read_bytes(place.file, place.start + start * size, count * size)
            flat[start : start + count] = as_float32(raw, place.element)
        return whole

    def style(self, style: Style) -> Style:
        return style

    def tokenizer(self) -> TokenizerText:
        file = self.path / TOKENIZER
        fix = f"save it with the fast tokenizer of transformers, which writes {TOKENIZER}"
        require(file.is_file(), "path", str(self.path), f"a folder with {TOKENIZER}", fix)
        text = read_tokenizer_file(file)
        begin, template = self._token("bos", text), self._template()
        chat = Chat(template, begin, self._token("eos", text)) if template else None
        return TokenizerText(text, begin, str(file.resolve()), chat)

    @cached_property
    def _named(self) -> Mapping[str, object]:
        """What tokenizer_config.json says; nothing where there is none."""
        file = self.path / TOKENIZER_CONFIG
        return json_object(read_json(file), TOKENIZER_CONFIG) if file.is_file() else {}

    def _token(self, name: str, text: str) -> str:
        """The begin or end token, by tokenizer_config.json or else by config.json; empty where there is none.

        Of several end tokens config.json names the first.
        """
        named = self._named.get(f"{name}_token")
        if isinstance(named, dict):
            named = named.get("content")
        if isinstance(named, str):
            return named
        number = self.settings.values.get(f"{name}_token_id")
        if isinstance(number, list) and number:
            number = number[0]
        return type_of(loads(text), number) if type(number) is int else ""

    def _template(self) -> str:
        """The chat template: a file of its own, or in tokenizer_config.json, alone or the one named default
        of several; empty where there is none.
        """
        file, named = self.path / TEMPLATE, self._named.get("chat_template")
        if file.is_file():
            size = file.stat().st_size
            require(size <= MAX_TEMPLATE, f"bytes of {file}", size, f"at most {MAX_TEMPLATE:,}", FETCH)
            text = file.read_bytes().decode("utf-8", "replace")
            require("\ufffd" not in text, str(file), "not UTF-8", "a text in UTF-8", FETCH)
            return text
        if isinstance(named, list):
            several = (one for one in named if isinstance(one, dict) and one.get("name") == "default")
            named = next(several, {}).get("template")
        return named if isinstance(named, str) else ""


def type_of(stored: Any, number: int) -> str:
    """The type of an id in a tokenizer.json; empty where there is none."""
    if not isinstance(stored, dict):
        return ""
    added = {
        one.get("id"): one.get("content") for one in stored.get("added_tokens") or [] if isinstance(one, dict)
    }
    model = stored.get("model")
    types = model.get("vocab") if isinstance(model, dict) else None
    found = added.get(number)
    if found is None and isinstance(types, dict):
        found = next((name for name, one in types.items() if one == number), None)
    return found if isinstance(found, str) else ""


def _places(file: Path) -> dict[str, Place]:
    """The tensors of a safetensors file, by its header, which the library has checked against its size."""
    try:
        with safe_open(file, framework="np") as opened:
            names = set(opened.keys())
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} cannot be read ({error}). Fix: {FETCH}") from None
    length = int(read_bytes(file, 0, 8).view("<u8")[0])
    header = json_object(loads(read_bytes(file, 8, length).tobytes()), f"the header of {file}")
    found = {}
    for name in (one for one in names if not UNREAD.fullmatch(one)):
        entry = header[name]
        kind, shape = entry["dtype"], tuple(entry["shape"])
        limit = f"one of {', '.join(Element)}: no quantised weights in safetensors"
        require(
            kind in tuple(Element),
            f"dtype of {name} in {file}",
            kind,
            limit,
            "take a model that is not quantised",
        )
        place = Place(file, 8 + length + entry["data_offsets"][0], Element(kind), shape)
        assert entry["data_offsets"][1] - entry["data_offsets"][0] == prod(shape) * element_size(
            place.element
        )
        found[name] = place
    return found

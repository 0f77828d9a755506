"""The attention weights of one text, head by head, for looking at."""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from aila_jax.cards import Card, Shown, span
from aila_jax.columns import frame
from aila_jax.config import require, user_path
from aila_jax.files import write_atomically
from aila_jax.inference.key_kinds import NAMES, KeyKind
from aila_jax.inference.key_kinds import by_word as words_of
from aila_jax.partition.relations import Relation

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, eq=False)
class Words:
    """The words that tokens make.

    Attributes:
      numbers: of the word of each token, from 0, rising by at most one.
      texts: of each word, with the space before it.
    """

    numbers: Int[np.ndarray, "L"]
    texts: tuple[str, ...]


@dataclass(frozen=True, eq=False, repr=False)
class AttentionMaps(Shown):
    """Where every head of a model looks in one text, at one setting of the dial.

    Attributes:
      tokens: the text of each of the L tokens alone; a line end is a line break.
      block_ids: block of each token; −1 marks padding, −2 a token of every block.
      weights: α [layer, head, query, key]: each row sums to 1 and is 0 where the query may not attend.
      entropy_bits: mean over the text's queries, for each layer and head.
      block_mass: the same.
      lam: λ.
      tau: τ.
      causal: no query attends to a later key.
      source: the model in words, run and step.
      words: the words that the tokens make; None where nobody said, and where the tokens are words already.
      unit: what a row and a column stand for: `tokens` or `words`.
      averaged: what was averaged, of `heads` and `layers`; there is one of each such.
      kinds: with a relation beyond plain blocks, the `KeyKind` of each layer, query and key; None where
        blocks say what is inside.
    """

    tokens: tuple[str, ...]
    block_ids: Int[np.ndarray, "L"]
    weights: Float[np.ndarray, "N H L L"]
    entropy_bits: Float[np.ndarray, "N H"]
    block_mass: Float[np.ndarray, "N H"]
    lam: float
    tau: float
    causal: bool = True
    source: str = ""
    words: Words | None = None
    unit: str = "tokens"
    averaged: tuple[str, ...] = ()
    kinds: UInt8[np.ndarray, "N L L"] | None = None

    def __post_init__(self) -> None:
        length, (layers, heads) = len(self.tokens), self.weights.shape[:2]
        shapes = {"block_ids": (length,), "weights": (layers, heads, length, length)}
        if self.kinds is not None:
            shapes["kinds"] = (layers, length, length)
        for name, shape in {**shapes, "entropy_bits": (layers, heads), "block_mass": (layers, heads)}.items():
            found = getattr(self, name).shape
            require(
                found == shape,
                f"AttentionMaps.{name}.shape",
                found,
                f"{shape} for {length} tokens",
                "take the maps from model.attention",
            )

        counted = self.words is None or self.words.numbers.shape == (length,)
        limit, fix = f"one number for each of {length} tokens", "take the maps from model.attention"
        require(counted, "AttentionMaps.words", "another number of tokens", limit, fix)

    @cached_property
    def reach(self) -> Bool[np.ndarray, "L L"]:
        """The keys that each query may attend to: none later where the model is causal, and padding only
        itself.
        """
        return np.asarray(self._relation.attendable())[0, 0]

    @cached_property
    def inside(self) -> Bool[np.ndarray, "L L"]:
        """Those of them that lie in the query's block; with a relation, that are inside in any layer."""
        if self.kinds is not None:
            return self.reach & (self.kinds > 0).any(axis=0)
        return self.reach & np.asarray(self._relation.inside())[0, 0]

    def inside_of(self, layer: int) -> Bool[np.ndarray, "L L"]:
        """Those of them that are inside in one of the layers."""
        return self.inside if self.kinds is None else self.reach & (self.kinds[layer] > 0)

    def keys_of(self, kind: KeyKind, layer: int) -> Int[np.ndarray, " keys"]:
        """The keys that are of that kind for at least one query of a layer, ascending; none without a
        relation.
        """
        if self.kinds is None:
            return np.zeros(0, np.int64)
        return np.flatnonzero((self.reach & (self.kinds[layer] == kind)).any(axis=0))

    @property
    def _relation(self) -> Relation:
        return Relation(self.block_ids[None], causal=self.causal)

    def by_word(self) -> "AttentionMaps":
        """The same by whole words: the sum over the keys of a word, the mean over the queries of a word.

        Rows still sum to 1. A word has the block of its first token, also where a block ends inside it, and
        is a pointer where one of its tokens is; entropy and block mass stay those of the tokens.

        Raises:
          ValueError: the maps are by word already, or do not know their words.
        """
        fix = "take the maps from model.attention"
        require(self.words is not None, "AttentionMaps.words", None, f"known (these are by {self.unit})", fix)
        assert self.words is not None
        numbers, count = self.words.numbers, len(self.words.texts)
        is_in_LxW = (numbers[:, None] == np.arange(count)).astype(np.float64)
        mean_WxL = is_in_LxW.T / is_in_LxW.sum(axis=0)[:, None]
        weights = mean_WxL @ self.weights.astype(np.float64) @ is_in_LxW
        first = np.flatnonzero(np.diff(numbers, prepend=-1))
        return replace(
            self,
            tokens=self.words.texts,
            block_ids=self.block_ids[first],
            weights=weights.astype(np.float32),
            words=None,
            unit="words",
            kinds=None if self.kinds is None else words_of(self.kinds, first),
        )

    def mean_heads(self) -> "AttentionMaps":
        """The mean over the heads of each layer, as one head; entropy and block mass are means of theirs."""
        return self._mean("heads", 1)

    def mean_layers(self) -> "AttentionMaps":
        """The mean over layers, as one layer; head 0 is the mean of all heads 0, unless heads were averaged
        before.
        """
        return self._mean("layers", 0)

    def _mean(self, what: str, axis: int) -> "AttentionMaps":
        kinds = self.kinds
        if kinds is not None and what == "layers":
            kinds = kinds.max(axis=0, keepdims=True)  # inside in any of them
        weights, entropy, mass = (
            values.mean(axis=axis, keepdims=True, dtype=np.float64)
            for values in (self.weights, self.entropy_bits, self.block_mass)
        )
        return replace(
            self,
            weights=weights.astype(np.float32),
            entropy_bits=entropy,
            block_mass=mass,
            averaged=tuple(dict.fromkeys((*self.averaged, what))),
            kinds=kinds,
        )

    def title(self, layer: int, head: int) -> str:
        """What a map is of: layer 0, head 1."""
        names = (
            ("mean of layers" if "layers" in self.averaged else f"layer {layer}"),
            ("mean of heads" if "heads" in self.averaged else f"head {head}"),
        )
        return ", ".join(names)

    def to_pandas(self) -> "DataFrame":
        """A data frame with a line for each layer, head, query and key that the query may attend to; with a
        relation also of which kind the key is there.
        """
        queries, keys = np.nonzero(self.reach)
        layers, heads = self.entropy_bits.shape
        pairs, maps = len(queries), layers * heads
        names = np.asarray(self.tokens, object)
        inside = np.repeat([self.inside_of(layer)[queries, keys] for layer in range(layers)], heads, axis=0)
        kinds = {}
        if self.kinds is not None:
            words = np.asarray([NAMES[kind] for kind in KeyKind], object)
            kinds = {"kind": np.repeat(words[self.kinds[:, queries, keys]], heads, axis=0).ravel()}
        return frame(
            {
                "lam": np.full(maps * pairs, self.lam),
                "tau": np.full(maps * pairs, self.tau),
                "layer": np.repeat(np.arange(layers), heads * pairs),
                "head": np.tile(np.repeat(np.arange(heads), pairs), layers),
                "query": np.tile(queries, maps),
                "key": np.tile(keys, maps),
                "query_text": np.tile(names[queries], maps),
                "key_text": np.tile(names[keys], maps),
                "inside": inside.ravel(),
                **kinds,
                "weight": self.weights[:, :, queries, keys].ravel(),
            }
        )

    def save(self, path: str | Path) -> None:
        """Writes an .npz file; see `save_maps`."""
        save_maps([self], path)

    @classmethod
    def load(cls, path: str | Path) -> "AttentionMaps":
        """The maps that `save` wrote. ValueError where the file holds several λ (`load_maps`)."""
        found = load_maps(path)
        fix = "read them with aila_jax.inference.attention_maps.load_maps"
        require(len(found) == 1, str(path), f"{len(found)} settings of the dial", "a file of one", fix)
        return found[0]

    def card(self) -> Card:
        layers, heads = self.entropy_bits.shape
        picked = range(min(heads, 8))
        header = ("bits, block mass", *(f"head {head}" for head in picked))
        cells = [
            [f"{self.entropy_bits[layer, head]:.2f}, {self.block_mass[layer, head]:.2f}" for head in picked]
            for layer in range(layers)
        ]
        facts = {
            "text": repr("".join(self.tokens)),
            f"{self.unit}, blocks": f"{len(self.tokens)}, {len(set(self.block_ids.tolist()))}",
            "entropy (bits)": span(self.entropy_bits),
            "block mass": span(self.block_mass),
        }
        of = f" of {self.source}" if self.source else ""
        leaky = "" if self.causal else ", NOT CAUSAL"
        mean = f", mean over {' and '.join(self.averaged)}" if self.averaged else ""
        title = (
            f"AttentionMaps{of}: {layers} × {heads} heads{mean}, λ = {self.lam:g}, τ = {self.tau:g}{leaky}"
        )
        return Card(title, facts, [header, *((f"layer {layer}", *row) for layer, row in enumerate(cells))])


_SHARED = ("tokens", "block_ids", "words", "word_texts", "tau", "causal", "source", "unit", "averaged")
_OWN = ("lam", "weights", "entropy_bits", "block_mass")


def save_maps(maps: Sequence[AttentionMaps], path: str | Path) -> None:
    """Writes maps of one text at one or several λ as one .npz file, for `numpy.load` or `load_maps`.

    It holds `tokens` (labels), `block_ids`, `lam` [S], `tau`, `weights` [S, layer, head, query, key],
    `entropy_bits` and `block_mass` [S, layer, head], `words` and `word_texts` (empty where there are none),
    `causal`, `source`, `unit` and `averaged`; with a relation also `kinds` [layer, query, key]. A token that
    ends in the character U+0000 loses it: NumPy's texts do.

    Raises:
      ValueError: no maps, or maps of several texts, models or τ.
    """
    require(
        len(maps) > 0, "maps", maps, "at least one setting of the dial", "take them from model.attention_dial"
    )
    first = maps[0]
    for other in maps:
        same = (first.tokens, first.tau, first.unit, first.averaged, first.source) == (
            other.tokens, other.tau, other.unit, other.averaged, other.source,
        )  # fmt: skip
        require(same, "maps", "of several texts, models or τ", "one text's at one τ", "save each on its own")
    words = first.words
    arrays: dict[str, np.ndarray] = {
        "tokens": np.array(first.tokens, str),
        "block_ids": first.block_ids,
        "words": np.zeros(0, np.int64) if words is None else words.numbers,
        "word_texts": np.array(() if words is None else words.texts, str),
        "tau": np.array(first.tau),
        "causal": np.array(first.causal),
        "source": np.array(first.source),
        "unit": np.array(first.unit),
        "averaged": np.array(first.averaged, str),
        "lam": np.array([one.lam for one in maps]),
        "weights": np.stack([one.weights for one in maps]),
        "entropy_bits": np.stack([one.entropy_bits for one in maps]),
        "block_mass": np.stack([one.block_mass for one in maps]),
        **({} if first.kinds is None else {"kinds": first.kinds}),
    }
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)  # NumPy takes arrays by name
    write_atomically(user_path(path), content.getvalue())


def load_maps(path: str | Path) -> tuple[AttentionMaps, ...]:
    """The maps that `save_maps` wrote, one for each λ.

    Raises:
      ValueError: the file is no such file.
    """
    try:
        with np.load(user_path(path), allow_pickle=False) as file:
            found = {name: file[name] for name in (*_SHARED, *_OWN)}
            kinds = file.get("kinds")
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise ValueError(
            f"{path} holds no attention maps ({error}). Fix: save them with maps.save(path)"
        ) from None
    texts = tuple(found["word_texts"].tolist())
    words = Words(found["words"], texts) if texts else None
    return tuple(
        AttentionMaps(
            tokens=tuple(found["tokens"].tolist()),
            block_ids=found["block_ids"],
            weights=found["weights"][place],
            entropy_bits=found["entropy_bits"][place],
            block_mass=found["block_mass"][place],
            lam=float(lam),
            tau=float(found["tau"]),
            causal=bool(found["causal"]),
            source=str(found["source"]),
            words=words,
            unit=str(found["unit"]),
            averaged=tuple(found["averaged"].tolist()),
            kinds=kinds,
        )
        for place, lam in enumerate(found["lam"])
    )

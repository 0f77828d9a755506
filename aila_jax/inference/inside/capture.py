"""Named intermediate results of a forward pass, and a pass in which some are those of another."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from aila_jax import formats
from aila_jax.cards import Card, Shown, count, shape
from aila_jax.columns import Column, to_pandas
from aila_jax.config import ModelConfig, require
from aila_jax.inference.inside.reading import MIB, Memory, Read, Setting, read, working_bytes
from aila_jax.inference.reach import check_positions
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.tap import AFTER_LAYERS, OF_LAYER, Edit, Site, Watch, site_of, sites_of
from aila_jax.model.tapped import apply_tapped
from aila_jax.types import Array, Batch

if TYPE_CHECKING:
    from pandas import DataFrame

    from aila_jax.inference.language_model import LanguageModel


@dataclass(frozen=True)
class ResultRow:
    """One result that was captured.

    Attributes:
      name: its name.
      shape: of its array.
      type: of its numbers.
      mib: its size.
      meaning: what it is.
    """

    name: str
    shape: str
    type: str
    mib: Annotated[float, Column("MiB", formats.three, unit="MiB")]
    meaning: str


@dataclass(frozen=True, eq=False, repr=False)
class Capture(Shown):
    """Intermediate results of some texts at one setting of the dial; `capture[name]` is an array.

    Attributes:
      arrays: by name, in the order in which they are computed; the first axis is that of the B texts, but of
        scores and weights the next is that of heads, of all others that of positions.
      pieces: the text of each token of each text alone; a text's places beyond them are padding.
      lam: λ of each text.
      tau: τ of each.
      hard: block attention only.
      block_ids: of each token, by the partition.
      memory: what the call was to take.
      source: the model in words, run and step.
    """

    arrays: Mapping[str, Array]
    pieces: tuple[tuple[str, ...], ...]
    lam: Float[np.ndarray, "B"]
    tau: Float[np.ndarray, "B"]
    hard: bool
    block_ids: Int[np.ndarray, "B L"]
    memory: Memory
    source: str = ""

    def __getitem__(self, name: str) -> Array:
        if name not in self.arrays:
            near = difflib.get_close_matches(str(name), self.names, n=3)
            fix = f"capture it by name; nearest here: {', '.join(near or self.names[:3])}"
            require(False, "name", name, "one of the results that were captured", fix)
        return self.arrays[name]

    @property
    def names(self) -> tuple[str, ...]:
        """Of all results."""
        return tuple(self.arrays)

    def stack(self, names: str) -> Array:
        """The results of one pattern, such as `layer_*.residual`, with a leading axis of their own.

        Raises:
          ValueError: none, or of several shapes.
        """
        found = [self.arrays[name] for name in self.names if fnmatchcase(name, names)]
        shapes = {one.shape for one in found}
        fix = "name one kind of result, such as 'layer_*.residual'"
        require(len(shapes) == 1, "names", names, "a pattern of results of one shape", fix)
        return jnp.stack(found)

    def rows(self) -> list[ResultRow]:
        """A row for every result."""
        return [
            ResultRow(
                name=name,
                shape=", ".join(map(str, value.shape)),
                type=str(value.dtype),
                mib=value.nbytes / MIB,
                meaning=site_of(name).meaning,
            )
            for name, value in self.arrays.items()
        ]

    def to_pandas(self) -> "DataFrame":
        """The rows as a data frame."""
        return to_pandas(ResultRow, self.rows())

    def card(self) -> Card:
        of = f" of {self.source}" if self.source else ""
        lams = ", ".join(f"{one:g}" for one in np.unique(self.lam))
        facts = {
            "texts": count(len(self.pieces), "text"),
            "tokens": count(sum(map(len, self.pieces)), "token"),
            "memory": self.memory.text,
        }
        table = [("result", "array"), *((name, shape(value)) for name, value in self.arrays.items())]
        return Card(f"Capture{of}: {count(len(self.arrays), 'result')}, λ = {lams}", facts, table)


def matching(config: ModelConfig, names: str | Sequence[str], argument: str = "names") -> tuple[str, ...]:
    """The results that the patterns name, in the order in which they are computed; `argument` is where they
    were given.

    Raises:
      ValueError: no pattern, or one that no name matches.
    """
    every = tuple(sites_of(config))
    patterns = (names,) if isinstance(names, str) else names
    fix = f"{argument}='layer_*.residual', say"
    right = isinstance(patterns, list | tuple) and all(isinstance(one, str) for one in patterns)
    require(right and len(patterns) > 0, argument, names, "a name or pattern, or several", fix)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in every):
            raise ValueError(
                f"{argument} holds {pattern!r}; it must be a result of the model, or a pattern of some:"
                f" {listed(config)}."
                f" Fix: did you mean {nearest(pattern, every)}?"
            )
    return tuple(name for name in every if any(fnmatchcase(name, pattern) for pattern in patterns))


def listed(config: ModelConfig) -> str:
    """All names, in a line."""
    own = [name.removeprefix("layer_0.") for name in sites_of(config) if name.startswith("layer_0.")]
    after = ", ".join(site.name for site in AFTER_LAYERS)
    return f"layer_0 to layer_{config.n_layers - 1} with .{', .'.join(own)}; {after}"


def nearest(pattern: str, every: Sequence[str]) -> str:
    """The names that look most like it, as patterns where it is one."""
    starred = dict.fromkeys(f"layer_*.{name.split('.', 1)[1]}" for name in every if "." in name)
    pool = (*starred, *every) if "*" in pattern else every
    return " or ".join(difflib.get_close_matches(pattern, pool, n=3, cutoff=0.0))


@partial(jax.jit, static_argnames=("request", "wanted"))
def _results(
    network: Network,
    params: Any,
    batch: Batch,
    dial: Dial,
    request: Request,
    wanted: tuple[str, ...],
    edits: dict[str, Edit],
) -> dict[str, Array]:
    watch = Watch(frozenset(wanted), edits)
    apply_tapped(network, params, batch, dial, request, watch)
    return watch.found


def capture(model: "LanguageModel", texts: Any, names: str | Sequence[str], setting: Setting) -> Capture:
    """The results that `names` match, of some texts at one setting; see `LanguageModel.capture`."""
    wanted = matching(model.config.model, names)
    return results(model, read(model, texts, setting), wanted, setting, {}, "capture")


def results(
    model: "LanguageModel",
    texts: Read,
    wanted: tuple[str, ...],
    setting: Setting,
    edits: dict[str, Edit],
    what: str,
) -> Capture:
    """The results `wanted` of a forward pass in which `edits` stand in place of others.

    Args:
      model: what reads.
      texts: what it reads.
      wanted: whole names.
      setting: how much memory it may take.
      edits: by name.
      what: the call, for messages.

    Raises:
      ValueError: it needs more memory than it may take.
    """
    memory = memory_of(model, texts, wanted, setting.limit_mib).allowed(what, setting.quiet)
    request = Request(logits="logits" in wanted, hard=texts.hard)
    found = _results(model.network, model.params, texts.batch, texts.dial, request, wanted, edits)
    return Capture(
        arrays={name: found[name] for name in wanted},  # jit gives them back in another order
        pieces=texts.pieces,
        lam=np.asarray(texts.dial.lam),
        tau=np.asarray(texts.dial.tau),
        hard=texts.hard,
        block_ids=np.asarray(model.network.blocks(texts.batch).ids),
        memory=memory,
        source=f"{model.run}, step {model.step}",
    )


def memory_of(model: "LanguageModel", texts: Read, names: Sequence[str], limit_mib: float) -> Memory:
    """What the results of these names take, and the forward pass that makes them."""
    config, (rows, length) = model.config.model, texts.batch.tokens.shape
    types = model.module.vocab_size
    held = sum(
        math.prod(site_of(name).shape(config, rows, length, types))
        * jnp.dtype(site_of(name).dtype(config)).itemsize
        for name in names
    )
    return Memory(held, working_bytes(config, model.params, rows, length), limit_mib)


@dataclass(frozen=True)
class Places:
    """Where results are replaced.

    Attributes:
      positions: of every text; None for all.
      heads: of queries; None for all.
    """

    positions: Sequence[int] | None = None
    heads: Sequence[int] | None = None


def patched(
    model: "LanguageModel",
    clean: Any,
    corrupted: Any,
    names: str | Sequence[str],
    places: Places,
    keep: str | Sequence[str],
    setting: Setting,
) -> Capture:
    """A pass over `corrupted` in which results are those of `clean`; see `LanguageModel.patched`."""
    config = model.config.model
    wanted, kept = matching(config, names), matching(config, keep, "keep")
    texts = read(model, corrupted, setting)
    masks = {name: _mask(config, name, texts, places) for name in wanted}
    source = clean if isinstance(clean, Capture) else capture(model, clean, wanted, setting)
    edits = {name: Edit(_value(model, source, name, texts, places), mask) for name, mask in masks.items()}
    return results(model, texts, kept, setting, edits, "patched")


def _mask(config: ModelConfig, name: str, texts: Read, places: Places) -> Bool[np.ndarray, "..."]:
    """Which numbers of a result are replaced, in a shape that broadcasts to it."""
    site, length = site_of(name), texts.batch.tokens.shape[1]
    shape = [1] * len(site.axes)
    mask = np.ones(shape, bool)
    if places.positions is not None:
        shape[site.positions_axis] = length
        mask = mask & check_positions("positions", places.positions, length).reshape(shape)
    if places.heads is not None:
        mask = mask & _head_mask(config, name, site, places.heads)
    return mask


def _head_mask(config: ModelConfig, name: str, site: Site, heads: Sequence[int]) -> Bool[np.ndarray, "..."]:
    with_heads = ", ".join(one.name for one in OF_LAYER if one.heads_axis is not None)
    fix = "leave heads out, or name 'layer_*.attention.heads'"
    require(site.heads_axis is not None, "heads", heads, f"left out with {name}: of {with_heads}", fix)
    assert site.heads_axis is not None  # for mypy, which does not know `require`
    shape = [1] * len(site.axes)
    shape[site.heads_axis] = config.n_heads
    return check_positions("heads", heads, config.n_heads).reshape(shape)


def _value(model: "LanguageModel", source: Capture, name: str, texts: Read, places: Places) -> Array:
    """What stands in place of a result: that of the other pass.

    Raises:
      ValueError: it is of texts of other lengths.
    """
    value, site = source[name], site_of(name)
    rows, length = texts.batch.tokens.shape
    want = site.shape(model.config.model, rows, length, model.module.vocab_size)
    fits = value.shape == want or value.shape == (1, *want[1:])
    fix = "take texts of as many tokens, and as many texts"
    require(fits, f"clean: shape of {name}", tuple(value.shape), f"{want}, that of corrupted", fix)
    own = source.pieces if len(source.pieces) == rows else source.pieces * rows
    pairs = list(zip(map(len, own), texts.lengths, strict=True))
    last = length if places.positions is None else 1 + max((int(one) for one in places.positions), default=-1)
    right = all(one == other or last <= min(one, other) for one, other in pairs)
    limit = "as long as corrupted, or longer than the last of positions"
    require(right, "clean: tokens of each text", tuple(map(len, own)), limit, "choose positions in both")
    return value

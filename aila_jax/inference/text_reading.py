"""One text as a model reads it all over the dial: where its heads look, and what each token costs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from aila_jax.config import require
from aila_jax.inference.attention_maps import AttentionMaps
from aila_jax.inference.dial import dial_values
from aila_jax.inference.key_kinds import key_kinds
from aila_jax.inference.reach import Reach
from aila_jax.inference.reach_of import hard_end, reach_of_text
from aila_jax.model.chosen import WhichWeights, chosen_weights
from aila_jax.model.interface import Dial

if TYPE_CHECKING:
    from aila_jax.inference.language_model import LanguageModel


@dataclass(frozen=True, eq=False)
class TextReading:
    """What a model makes of one text at every λ and τ of a grid.

    Attributes:
      tokens: the text of each of the L tokens alone.
      inside: [query, key], the keys that lie in the query's block, or, with a relation, inside in any layer.
      causal: no query attends to a later key.
      source: the model in words, run and step.
      lams: the grid's λ, ascending; Λ of them.
      taus: the grid's τ, ascending; T of them.
      layers: those of the model that are kept, counted from 0.
      heads: those of each layer that are kept.
      shape: layers and heads that the model has.
      weights: α of the layers and heads kept; each row of queries sums to 1.
      entropy_bits: mean over the text's queries, of the same heads.
      block_mass: the same of the mass inside the block.
      loss: nats by token, of each but the first, which nothing predicts: NaN. None where it was not measured.
      kinds: with a relation beyond plain blocks, the `KeyKind` of each key in the layers kept.
      reach: what can have influenced each prediction at λ = 1, where attention outside is exactly 0 there.
      reach_taus: the τ at which it is; it has one reach for all of them.
      no_reach: why there is none, where λ = 1 is in the grid.
    """

    tokens: tuple[str, ...]
    inside: Bool[np.ndarray, "L L"]
    causal: bool
    source: str
    lams: tuple[float, ...]
    taus: tuple[float, ...]
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    shape: tuple[int, int]
    weights: Float[np.ndarray, "T S N H L L"]
    entropy_bits: Float[np.ndarray, "T S N H"]
    block_mass: Float[np.ndarray, "T S N H"]
    loss: Float[np.ndarray, "T S L"] | None = None
    kinds: UInt8[np.ndarray, "N L L"] | None = None
    reach: Reach | None = None
    reach_taus: tuple[float, ...] = ()
    no_reach: str = ""


@dataclass(frozen=True)
class ReadingGrid:
    """Where a text is read.

    Attributes:
      lams: values of λ.
      taus: values of τ.
      layers: kept, counted from 0.
      heads: kept of each layer, counted from 0.
      hard: block attention only; λ is 1.
    """

    lams: tuple[float, ...]
    taus: tuple[float, ...]
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    hard: bool = False


def read_over_dial(
    model: "LanguageModel", tokens: Sequence[int], grid: ReadingGrid, block_ids: Sequence[int] | None = None
) -> TextReading:
    """Reads one text at every setting of the grid, one after the other: a long text needs no more memory than
    at one setting.

    Args:
      model: the model.
      tokens: ids of the text, as many as the model reads at most.
      grid: the settings, and the heads that are kept.
      block_ids: of each token, for the partition `given`.
    """
    lams, taus = tuple(sorted(grid.lams)), tuple(sorted(grid.taus))
    read = [[_read_once(model, tokens, lam, tau, grid, block_ids) for lam in lams] for tau in taus]
    loss = np.asarray([[one for _, one in row] for row in read])
    maps = tuple(one for row in read for one, _ in row)
    size = model.config.model
    reading = replace(
        reading_of_maps(maps),
        layers=grid.layers,
        heads=grid.heads,
        shape=(size.n_layers, size.n_heads),
        loss=loss,
    )
    return _with_reach(reading, model, tokens, grid.hard, block_ids) if 1.0 in lams else reading


def _with_reach(
    reading: TextReading,
    model: "LanguageModel",
    tokens: Sequence[int],
    hard: bool,
    block_ids: Sequence[int] | None,
) -> TextReading:
    """The reading with the reach of λ = 1, at each τ where attention is exactly hard; else why not."""
    found: list[Reach] = []
    taus, why = [], ""
    for tau in reading.taus:
        try:
            end = hard_end(model, 1.0, tau, hard)
        except ValueError as error:  # soft at this τ, or a relation of which nothing can be said
            why = why or str(error)
            continue
        taus.append(tau)
        found = found or [reach_of_text(model, tokens, end, block_ids=block_ids)]
    return replace(
        reading, reach=found[0] if found else None, reach_taus=tuple(taus), no_reach="" if found else why
    )


def _read_once(
    model: "LanguageModel",
    tokens: Sequence[int],
    lam: float,
    tau: float,
    grid: ReadingGrid,
    block_ids: Sequence[int] | None,
) -> tuple[AttentionMaps, Float[np.ndarray, "L"]]:
    """The maps of the heads kept, and the loss by token."""
    ids = np.asarray([tokens], np.int32)
    row = None if block_ids is None else np.asarray([block_ids], np.int32)
    output = model.apply(ids, lam=lam, tau=tau, block_ids=row, hard=grid.hard)
    assert output.stats is not None and output.logits is not None
    batch, dial = model.batch(ids, row), Dial(dial_values(lam, "lam", 1), dial_values(tau, "tau", 1))
    which = WhichWeights(grid.layers, grid.heads, grid.hard)
    at = np.arange(len(tokens), dtype=np.int32)
    weights = chosen_weights(model.network, model.params, batch, dial, which, at)
    kept = np.ix_(grid.layers, grid.heads)
    entropy, mass = (
        np.asarray(x, np.float64)[:, 0].mean(-1)[kept]
        for x in (output.stats.entropy_bits, output.stats.block_mass)
    )
    blocks = model.network.blocks(batch)
    kinds = None
    if not model.network.rules.plain:
        kinds = key_kinds(blocks, 0, len(tokens), grid.layers)
    maps = AttentionMaps(
        tuple(model.tokenizer.token_text(token) for token in tokens),
        np.asarray(blocks.ids)[0],
        np.asarray(weights)[:, 0],
        entropy,
        mass,
        lam,
        tau,
        not model.config.model.bidirectional,
        f"{model.run}, step {model.step}",
        kinds=kinds,
    )
    return maps, token_loss(np.asarray(output.logits)[0], ids[0])


def token_loss(logits: Float[np.ndarray, "L V"], tokens: Int[np.ndarray, "L"]) -> Float[np.ndarray, "L"]:
    """−log p of each token after those before it, in nats; NaN for the first."""
    exact = logits[:-1].astype(np.float64)
    top = exact.max(-1)
    total = top + np.log(np.exp(exact - top[:, None]).sum(-1))
    return np.concatenate([[np.nan], total - exact[np.arange(len(exact)), tokens[1:]]])


def reading_of_maps(maps: Sequence[AttentionMaps]) -> TextReading:
    """Maps of one text as a reading without losses; they are at every λ and τ of a grid, in any order.

    Raises:
      ValueError: no maps, maps of different texts or models, or a setting that is missing or there twice.
    """
    require(len(maps) > 0, "maps", list(maps), "at least one setting of the dial", "use model.attention_dial")
    first = maps[0]
    same = all(
        (one.tokens, one.causal, one.source) == (first.tokens, first.causal, first.source) for one in maps
    )
    fix = "draw each text on its own"
    require(same, "maps", "those of several texts or models", "one text's, of one model", fix)
    settings = {(one.tau, one.lam): one for one in maps}
    taus, lams = (tuple(sorted({setting[place] for setting in settings})) for place in (0, 1))
    whole = len(maps) == len(settings) == len(taus) * len(lams)
    limit, fix = "one for every λ and τ of a grid", "take them from model.attention_dial at each τ"
    require(whole, "maps", sorted((one.lam, one.tau) for one in maps), limit, fix)
    grid = [[settings[tau, lam] for lam in lams] for tau in taus]
    layers, heads = first.entropy_bits.shape
    return TextReading(
        tokens=first.tokens,
        inside=first.inside,
        causal=first.causal,
        source=first.source,
        lams=lams,
        taus=taus,
        layers=tuple(range(layers)),
        heads=tuple(range(heads)),
        shape=(layers, heads),
        weights=np.asarray([[one.weights for one in row] for row in grid]),
        entropy_bits=np.asarray([[one.entropy_bits for one in row] for row in grid]),
        block_mass=np.asarray([[one.block_mass for one in row] for row in grid]),
        kinds=first.kinds,
    )

"""Attention maps of texts, from one forward pass for all of them; and weights of chosen heads and queries."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from aila_jax.config import require
from aila_jax.config.checks import check_flag, numbers
from aila_jax.inference.attention_maps import AttentionMaps, Words
from aila_jax.inference.dial import check_hard, dial_value, dial_values
from aila_jax.inference.inputs import read_text, read_texts
from aila_jax.inference.key_kinds import key_kinds
from aila_jax.inference.spans import text_tokens
from aila_jax.model.arguments import any_array, is_traced
from aila_jax.model.chosen import WhichWeights, chosen_weights
from aila_jax.model.interface import Dial
from aila_jax.types import PADDING_ID

if TYPE_CHECKING:
    from aila_jax.inference.language_model import LanguageModel


def attention_maps(
    model: "LanguageModel",
    text: str | Sequence[Any],
    *,
    lams: Sequence[float],
    tau: float = 1.0,
    block_ids: Any = None,
    hard: bool | None = None,
) -> tuple[tuple[AttentionMaps, ...], ...]:
    """For each text its maps at every λ of `lams`, all from one forward pass; other values of λ and τ never
    recompile. Shorter texts are filled up to the longest, which their tokens do not see.

    Args:
      text: a text, or its token ids, or a list of such; at most the model's length in tokens.
      lams: values of λ.
      tau: τ.
      block_ids: one id per token, of a list of texts a list of them, for the partition `given`; by default
        those that the text would have had in training (see `read_text`).
      hard: block attention only; needs λ = 1. The configuration's by default.

    Raises:
      ValueError: no λ, no block ids where the text does not show its blocks, an empty text, one longer
        than the model reads, or λ or τ outside its limits.
    """
    lams = numbers("lams", "λ", lams)
    tau = dial_value(tau, "tau")
    given, tokens, ids = read_texts(model, text, block_ids)
    longest = max(len(row) for row in tokens)

    def filled(rows: Sequence[Sequence[int]], fill: int) -> np.ndarray:
        padded = [[*row, *[fill] * (longest - len(row))] for row in rows]
        return np.repeat(np.asarray(padded), len(lams), axis=0)

    rows, row_ids = filled(tokens, 0), None if ids is None else filled(ids, PADDING_ID)
    doc_ids = filled([[0] * len(row) for row in tokens], PADDING_ID)
    dial = lams * len(tokens)
    output = model.apply(rows, lam=dial, tau=tau, block_ids=row_ids, doc_ids=doc_ids, hard=hard, weights=True)
    layered = model.network.blocks(model.batch(rows, row_ids, doc_ids))
    blocks, plain = np.asarray(layered.ids), model.network.rules.plain
    weights, stats = np.asarray(output.weights), output.stats
    assert stats is not None, "apply asks for statistics"
    causal, source = not model.config.model.bidirectional, f"{model.run}, step {model.step}"
    found = []
    for number, own in enumerate(tokens):
        read = text_tokens(model.tokenizer, given[number] if isinstance(given[number], str) else None, own)
        words = Words(read.words, tuple(read.word(*each) for each in read.word_ranges()))
        maps = []
        kinds = None
        if not plain:
            layers = range(model.config.model.n_layers)
            kinds = key_kinds(layered, number * len(lams), len(own), layers)
        for place, lam in enumerate(lams):
            row, length = number * len(lams) + place, len(own)
            real = blocks[row] != PADDING_ID
            entropy, mass = (
                np.asarray(x, np.float64)[:, row][..., real].mean(axis=-1)
                for x in (stats.entropy_bits, stats.block_mass)
            )
            one = np.ascontiguousarray(weights[:, row, :, :length, :length])
            maps.append(
                AttentionMaps(
                    tokens=read.pieces,
                    block_ids=blocks[row, :length],
                    weights=one,
                    entropy_bits=entropy,
                    block_mass=mass,
                    lam=lam,
                    tau=float(tau),
                    causal=causal,
                    source=source,
                    words=words,
                    kinds=kinds,
                )
            )
        found.append(tuple(maps))
    return tuple(found)


@dataclass(frozen=True)
class Chosen:
    """Which weights are asked for; None for all.

    Attributes:
      layers: counted from 0.
      heads: of each of them, counted from 0.
      queries: positions in the text.
    """

    layers: Sequence[int] | None = None
    heads: Sequence[int] | None = None
    queries: Sequence[int] | None = None


def weights_of(
    model: "LanguageModel",
    text: str | Sequence[int],
    chosen: Chosen,
    *,
    lam: float,
    tau: float,
    block_ids: Any = None,
    hard: bool | None = None,
) -> Float[np.ndarray, "N H T L"]:
    """The weights that are asked for of one text; see `LanguageModel.attention_weights`."""
    tokens, ids = read_text(model, text, block_ids)
    shape = model.config.model
    layers = _places("layers", chosen.layers, shape.n_layers)
    heads = _places("heads", chosen.heads, shape.n_heads)
    queries = _places("queries", chosen.queries, len(tokens))
    hard = shape.hard if hard is None else check_flag("hard", hard)
    check_hard(hard, lam)
    batch = model.batch([tokens], None if ids is None else [ids])
    dial = Dial(dial_values(lam, "lam", 1), dial_values(tau, "tau", 1))
    at = np.asarray(queries, np.int32)
    found = chosen_weights(model.network, model.params, batch, dial, WhichWeights(layers, heads, hard), at)
    return np.asarray(found)[:, 0]


def _places(name: str, values: Any, count: int) -> tuple[int, ...]:
    """The places that are asked for, in their order; all where None."""
    if values is None:
        return tuple(range(count))
    row, right = any_array(values), False
    if row is not None and not is_traced(row) and row.ndim == 1 and np.issubdtype(row.dtype, np.integer):
        right = row.size > 0 and bool(np.all((row >= 0) & (row < count)))
    require(right, name, values, f"at least one number from 0 to {count - 1}", f"leave {name} out to see all")
    return tuple(int(one) for one in np.asarray(row))

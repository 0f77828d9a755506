"""Attention maps of texts, from one forward pass for all of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from aila_jax.config.checks import numbers
from aila_jax.inference.attention_maps import AttentionMaps, Words
from aila_jax.inference.dial import dial_value
from aila_jax.inference.inputs import read_texts
from aila_jax.inference.key_kinds import key_kinds
from aila_jax.inference.spans import text_tokens
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
            kinds = key_kinds(layered, number * len(lams), len(own), model.config.model.n_layers)
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

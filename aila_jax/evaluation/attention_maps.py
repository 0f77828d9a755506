"""The attention weights of one text, head by head, for looking at."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from aila_jax.config import require
from aila_jax.evaluation.dial import several
from aila_jax.model.masks import attendable, same_block
from aila_jax.partition.given import text_blocks
from aila_jax.types import PADDING_ID

if TYPE_CHECKING:
    from aila_jax.evaluation.language_model import LanguageModel


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """Where every head of a model looks in one text, at one setting of the dial.

    Attributes:
      tokens: the text of each of the L tokens alone; a line end is a line break.
      block_ids: block of each token; −1 marks padding, −2 a token of every block.
      weights: α [layer, head, query, key]: each row sums to 1 and is 0 where the query may not attend.
      entropy_bits, block_mass: means over the text's queries, for each layer and head.
      lam, tau: the setting of the dial.
      causal: no query attends to a later key.
      source: the model in words, run and step.
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

    def __post_init__(self):
        length, (layers, heads) = len(self.tokens), self.weights.shape[:2]
        shapes = {"block_ids": (length,), "weights": (layers, heads, length, length)}
        for name, shape in {**shapes, "entropy_bits": (layers, heads), "block_mass": (layers, heads)}.items():
            found = getattr(self, name).shape
            require(
                found == shape,
                f"AttentionMaps.{name}.shape",
                found,
                f"{shape} for {length} tokens",
                "take the maps from model.attention",
            )

    @cached_property
    def reach(self) -> Bool[np.ndarray, "L L"]:
        """The keys that each query may attend to: none later where the model is causal, and padding only
        itself.
        """
        ids = self.block_ids[None]
        return np.asarray(attendable(ids, ids, None, self.causal))[0, 0]

    @cached_property
    def inside(self) -> Bool[np.ndarray, "L L"]:
        """Those of them that lie in the query's block."""
        return self.reach & np.asarray(same_block(self.block_ids[None], self.block_ids[None]))[0, 0]


def attention_maps(
    model: "LanguageModel",
    text: str | Sequence[int],
    *,
    lams: Sequence[float],
    tau: float = 1.0,
    block_ids: Sequence[int] | None = None,
    hard: bool | None = None,
) -> tuple[AttentionMaps, ...]:
    """The maps of one text at every λ of `lams`, from one forward pass; other values of λ and τ never
    recompile.

    Args:
      text: a text, or its token ids; at most the model's length in tokens.
      lams: values of λ.
      tau: τ.
      block_ids: one id per token, for the partition `given`; by default a line end closes a block there.
      hard: block attention only; needs λ = 1. The configuration's by default.

    Raises:
      ValueError: no λ, no block ids where blocks are an annotation, an empty text, one longer than the model
        reads, or λ or τ outside its limits.
    """
    tokens = model.tokenizer.encode(text) if isinstance(text, str) else list(text)
    lams = several("lams", "λ", lams)
    require(len(tokens) > 0, "text", text, "at least one token", "write some text")
    if block_ids is None:
        block_ids = text_blocks(model.config, tokens, model.tokenizer.eos_id)
    rows = np.tile(np.asarray(tokens), (len(lams), 1))
    row_ids = None if block_ids is None else np.tile(np.asarray(block_ids), (len(lams), 1))
    output = model.apply(rows, lam=lams, tau=tau, block_ids=row_ids, hard=hard, weights=True)
    blocks = np.asarray(model.partition(model.batch(rows, row_ids)))[0]
    real = blocks != PADDING_ID
    weights, stats = np.asarray(output.weights), output.stats
    assert stats is not None, "apply asks for statistics"
    entropy, mass = (
        np.asarray(x, np.float64)[..., real].mean(axis=-1) for x in (stats.entropy_bits, stats.block_mass)
    )
    pieces = tuple(model.tokenizer.decode([token]) for token in tokens)
    causal, source = not model.config.model.bidirectional, f"{model.run}, step {model.step}"
    return tuple(
        AttentionMaps(
            pieces, blocks, weights[:, row], entropy[:, row], mass[:, row], lam, float(tau), causal, source
        )
        for row, lam in enumerate(lams)
    )

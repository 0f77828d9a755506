"""The attention weights of one text, head by head, for looking at."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from aila_jax.cards import Card, Shown, span
from aila_jax.config import require
from aila_jax.partition.relations import Relation


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

    def __post_init__(self) -> None:
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
        return np.asarray(self._relation.attendable())[0, 0]

    @cached_property
    def inside(self) -> Bool[np.ndarray, "L L"]:
        """Those of them that lie in the query's block."""
        return self.reach & np.asarray(self._relation.inside())[0, 0]

    @property
    def _relation(self) -> Relation:
        return Relation(self.block_ids[None], causal=self.causal)

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
            "tokens, blocks": f"{len(self.tokens)}, {len(set(self.block_ids.tolist()))}",
            "entropy (bits)": span(self.entropy_bits),
            "block mass": span(self.block_mass),
        }
        of = f" of {self.source}" if self.source else ""
        leaky = "" if self.causal else ", NOT CAUSAL"
        title = f"AttentionMaps{of}: {layers} × {heads} heads, λ = {self.lam:g}, τ = {self.tau:g}{leaky}"
        return Card(title, facts, [header, *((f"layer {layer}", *row) for layer, row in enumerate(cells))])

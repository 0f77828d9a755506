"""What attention is worth to a model: a record of it."""

from dataclasses import dataclass

# The least share of perplexity that removing attention must cost, at λ = 0 and at 1, for the dial to turn
# something that predictions need.
MIN_ATTENTION_COST = 0.1


@dataclass(frozen=True)
class AttentionCost:
    """One checkpoint at one setting of the dial, with and without its attention, on the same targets.

    Attributes:
      lam: locality λ.
      tau: temperature τ.
      split: that was scored.
      targets: how many were.
      perplexity: per token, with attention.
      perplexity_without: the same without.
    """

    lam: float
    tau: float
    split: str
    targets: int
    perplexity: float
    perplexity_without: float

    @property
    def cost(self) -> float:
        """perplexity_without ÷ perplexity − 1: what removing attention costs; below 0 where the model is
        better without.
        """
        return self.perplexity_without / self.perplexity - 1.0

    @property
    def used(self) -> bool:
        """Whether removing attention costs at least `MIN_ATTENTION_COST`."""
        return self.cost >= MIN_ATTENTION_COST

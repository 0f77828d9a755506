"""Settings of the blocks, and of their anchors."""

import math
from dataclasses import dataclass

from aila_jax.config.checks import one_of, require


@dataclass(frozen=True)
class PartitionConfig:
    """Which tokens count as one block (docs/method.md, section 1).

    Attributes:
      kind: `windows` (position // size) or `given` (ids that come with the data: lines, fields, your own `block_ids`).
      size: windows only: tokens a block, from 1 to the window length.
      global_first: put the first token of each document into every block (an attention sink).
    """

    kind: str = "windows"
    size: int = 5
    global_first: bool = False

    def __post_init__(self):
        one_of("partition.kind", self.kind, ("windows", "given"))
        require(self.size >= 1, "partition.size", self.size, "at least 1", "set --config.partition.size=5")


@dataclass(frozen=True)
class AnchorConfig:
    """Anchor tokens: those of a block with the lowest local entropy (docs/method.md, section 4).

    Made at the end of warm-up, after `train.warmup_steps`, and kept in the checkpoint.

    Attributes:
      estimator: of a type's local entropy: `none` (no anchors), `corpus` (next token given the type) or `attention`
        (the type's own attention inside its block, over the batches of the warm-up steps).
      k: anchors of a block, 1 to 5; with windows, at most one less than their size.
      prior: corpus only: strength of the smoothing towards the unigram distribution, in counts, above 0.
      max_batches: at most so many of the warm-up steps' batches are read again for the attention and for the groups' importance;
        0 is all of them.
    """

    estimator: str = "none"
    k: int = 3
    prior: float = 100.0
    max_batches: int = 50

    def __post_init__(self):
        one_of("anchors.estimator", self.estimator, ("none", "corpus", "attention"))
        require(1 <= self.k <= 5, "anchors.k", self.k, "from 1 to 5", "set --config.anchors.k=3")
        require(0.0 < self.prior < math.inf, "anchors.prior", self.prior, "finite and above 0", "set --config.anchors.prior=100")
        require(self.max_batches >= 0, "anchors.max_batches", self.max_batches, "at least 0", "0 is all")

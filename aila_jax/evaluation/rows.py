"""The tidy rows that an evaluation ends in: one per (λ, τ) cell, and one per cell, layer and head."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CellRow:
    """One cell of the dial's grid, over a whole split. Means over layers and heads where a quantity has both.

    Attributes:
      run, seed, commit: name of the run directory, its seed, the git commit that trained it.
      split: which split was scored. targets: how many targets were scored.
      lam, tau: the dial. hard: block attention with nothing outside the block.
      loss: mean token cross-entropy, nats.
      perplexity_token, perplexity_word, perplexity_byte: exp of the summed loss per token, word (line ends count) and byte;
        word and byte are None where the split has no text of its own or is scored in part.
      accuracy: share of targets ranked first, in [0, 1].
      entropy_bits: mean attention entropy; entropy_fraction: as a share of log2 |A_t|, over queries with |A_t| >= 2.
      block_mass: mean attention inside the query's block, global keys included; block_mass_uniform: what uniform attention
        would have; block_mass_lift: their ratio.
      block_mass_local: the same without the mass on global keys, over queries that are not global themselves.
      delta_imposed: λm in nats, mean over layers (fixed margin), or None (self-scaling margin, hard attention).
      delta_measured, delta_share: mean of min in-block minus max out-of-block score in nats, and share of queries where it
        is positive, over queries with keys outside their block; None unless asked for.
    """

    run: str
    seed: int
    commit: str
    split: str
    targets: int
    lam: float
    tau: float
    hard: bool
    loss: float
    perplexity_token: float
    perplexity_word: float | None
    perplexity_byte: float | None
    accuracy: float
    entropy_bits: float
    entropy_fraction: float
    block_mass: float
    block_mass_uniform: float
    block_mass_lift: float
    block_mass_local: float
    delta_imposed: float | None
    delta_measured: float | None
    delta_share: float | None


@dataclass(frozen=True)
class HeadRow:
    """One layer and head of one cell; the names mean what they mean in `CellRow`. Layers and heads count from 0."""

    run: str
    seed: int
    commit: str
    split: str
    lam: float
    tau: float
    layer: int
    head: int
    entropy_bits: float
    entropy_fraction: float
    block_mass: float
    block_mass_uniform: float
    block_mass_lift: float
    block_mass_local: float
    delta_imposed: float | None
    delta_measured: float | None
    delta_share: float | None


@dataclass(frozen=True)
class SweepResult:
    """All rows of one sweep and what made them.

    Attributes:
      cells: one row per (λ, τ), λ varying slowest. heads: one row per cell, layer and head.
      config: the run's full configuration as nested dicts.
      meta: versions, git commit, device, data fingerprint, checkpoint step, baselines where known.
    """

    cells: tuple[CellRow, ...]
    heads: tuple[HeadRow, ...]
    config: dict[str, Any]
    meta: dict[str, Any]

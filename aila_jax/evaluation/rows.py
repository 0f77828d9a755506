"""The tidy rows that an evaluation ends in: one per (λ, τ) cell, and one per cell, layer and head."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CellRow:
    """One cell of the dial's grid, over a whole split. Means over layers and heads where a quantity has both.

    Attributes:
      run, seed, commit: name of the run directory, its seed, the git commit that trained it.
      split: which split was scored.
      targets: how many targets were scored.
      lam, tau: the dial.
      hard: block attention with nothing outside the block.
      loss: mean token cross-entropy, nats.
      perplexity_token, perplexity_word, perplexity_byte: exp of the summed loss per token, word (line ends
        count) and byte; word and byte are None where the split has no text of its own, is scored in part, or
        under a document mask; word, where it is beyond float64.
      accuracy: share of targets ranked first, in [0, 1].
      entropy_bits: mean attention entropy;
      entropy_fraction: as a share of log2 |A_t|, over queries with |A_t| >= 2.
      block_mass: mean attention inside the query's block, global keys included;
      block_mass_uniform: what uniform attention would have;
      block_mass_lift: their ratio.
      block_mass_local: the same without the mass on global keys, over queries that are not global themselves.
      delta_imposed: nats of the margin that λ imposes, mean over layers and heads (fixed margin), or None
        (self-scaling margin, hard attention).
      delta_measured, delta_share: mean of min in-block minus max out-of-block score in nats, and share of
        queries where it is positive, over queries with keys outside their block; None unless asked for.
      pointers: `anchors` or `answers`, what pointer fidelity was measured on, or None where it was not; then
        the rest is None too.
      pointer_fidelity: mean attention of a query on what it is pointed at: the anchors of its block, or the
        known answer.
      pointer_uniform: what uniform attention would have;
      pointer_lift: their ratio.
      pointer_queries: queries counted.
      pointer_block_ratio: pointed-at attention inside the block ÷ attention inside the block;
      pointer_key_share: the same for keys, which is what the ratio would be if attention inside the block
        were uniform.
      guaranteed_block_mass: what block mass the margin guarantees for these queries, whatever the tokens'
        scores (docs/certificates.md), mean over layers, heads and queries;
      guaranteed_entropy_bits: the same for the largest entropy. None where no head is guaranteed more than
        uniform attention has.
      determined, accuracy_determined: on rule corpora, targets that the rule determines, and the share of
        them ranked first.
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
    pointers: str | None = None
    pointer_fidelity: float | None = None
    pointer_uniform: float | None = None
    pointer_lift: float | None = None
    pointer_block_ratio: float | None = None
    pointer_key_share: float | None = None
    pointer_queries: int | None = None
    determined: int | None = None
    accuracy_determined: float | None = None
    guaranteed_block_mass: float | None = None
    guaranteed_entropy_bits: float | None = None


@dataclass(frozen=True)
class HeadRow:
    """One layer and head of one cell; the names mean what they mean in `CellRow`. Layers and heads count from
    0.
    """

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
    pointer_fidelity: float | None = None
    pointer_uniform: float | None = None
    pointer_lift: float | None = None
    pointer_block_ratio: float | None = None
    pointer_key_share: float | None = None
    guaranteed_block_mass: float | None = None
    guaranteed_entropy_bits: float | None = None


@dataclass(frozen=True)
class SweepResult:
    """All rows of one sweep and what made them.

    Attributes:
      cells: one row per (λ, τ), λ varying slowest.
      heads: one row per cell, layer and head.
      config: the run's full configuration as nested dicts.
      meta: versions, git commit, device, data fingerprint, checkpoint step, baselines where known.
    """

    cells: tuple[CellRow, ...]
    heads: tuple[HeadRow, ...]
    config: dict[str, Any]
    meta: dict[str, Any]

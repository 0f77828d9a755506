"""What a diagnosis looks at: measured facts about one run, each None where it is not known."""

from dataclasses import dataclass

from aila_jax.config import MarginConfig

# A head none of whose scores reaches so many nats attends evenly: no key has more than exp(2 · 0.1), 1.22
# times, another's weight.
FLAT_SCORE = 0.1
# Blocks with less than so many bits for attention inside are tiny: 1.4 keys a query.
TINY_BITS = 0.5


@dataclass(frozen=True)
class DialPoint:
    """One λ of a sweep at τ = 1: perplexity per token, and means over layers and heads of entropy (bits) and
    block mass.
    """

    lam: float
    perplexity: float
    entropy_bits: float
    block_mass: float


@dataclass(frozen=True)
class ScoreFacts:
    """Scores against the margin, at λ = 1 where nothing else is said.

    Attributes:
      margin: the model's, or None for hard attention, which has none.
      shares: of the margin, that each layer imposes.
      largest: the largest |s| of any head on the text read, or None.
      bound: S that no text exceeds, the largest of any head, and bound_name, what it rests on; None where
        there is none.
      guaranteed: the least block mass that is guaranteed of any head and position.
      delta_zero: mean of (least in-block − greatest out-of-block score), margin included, at λ = 0, nats.
      delta_one: the same at λ = 1.
      delta_share: share of queries where that is above 0 at λ = 1.
      limit: the largest score that the model's form allows, nats; 0 without one.
      limit_name: the setting that it comes from.
      keys_outside: the most keys that a query can have outside its block, at least 1.
    """

    margin: MarginConfig | None
    shares: tuple[float, ...]
    largest: float | None = None
    bound: float | None = None
    bound_name: str = ""
    guaranteed: float | None = None
    delta_zero: float | None = None
    delta_one: float | None = None
    delta_share: float | None = None
    limit: float = 0.0
    limit_name: str = ""
    keys_outside: int = 127


@dataclass(frozen=True)
class BlockFacts:
    """The blocks themselves.

    Attributes:
      entropy_bits: mean over queries of log2 n_in: the most that attention inside blocks can have. With a
        relation over layers too, and of all keys inside.
      rho: ρ_max, the largest absolute cosine between two block means of the first layer's inputs, .999 for
        any from there on; None with the reason `undefined`.
      within: mean cosine of a token with its block's mean, in [−1, 1].
    """

    entropy_bits: float
    rho: float | None = None
    undefined: str = ""
    within: float | None = None

    @property
    def tiny(self) -> bool:
        """Whether a query has hardly a key inside its block but itself."""
        return self.entropy_bits < TINY_BITS


@dataclass(frozen=True)
class PenaltyFacts:
    """Query and key weights, and the penalty that acted on them.

    Attributes:
      dead_heads: heads with W_Q = W_K = 0.
      heads: all heads.
      solver: `none` without a penalty.
      flat_heads: heads that are not dead, but none of whose scores on the text read reaches `FLAT_SCORE`, at
        λ = 0 or 1.
      level: λη, of a group of weight 1 in a layer of scale 1, at the end of training.
      stationarity: median over groups of the λη from which on a zero group stays zero.
      share_above: share of groups whose λη is not below.
      predicted: median of the papers' threshold, in the first layer. None where it was not computed or does
        not apply.
    """

    dead_heads: int
    heads: int
    solver: str = "none"
    level: float = 0.0
    stationarity: float | None = None
    share_above: float | None = None
    predicted: float | None = None
    flat_heads: int = 0

    @property
    def acts(self) -> bool:
        """Whether queries and keys are penalised at all at the end of training."""
        return self.solver != "none" and self.level > 0.0

    @property
    def idle_heads(self) -> int:
        """Heads that attend evenly, whatever the text: dead and flat ones."""
        return self.dead_heads + self.flat_heads


@dataclass(frozen=True)
class TrainingFacts:
    """How the run was trained and what its log shows.

    Attributes:
      mode: `fixed`, `curriculum` or `conditional`.
      lam: the λ of the last step in the first two.
      pressure: locality.pressure.
      epochs: passes over the training split.
      losses: (epoch, training loss) of each record, in order; empty where there is no log.
      skipped: non-finite updates that were discarded, or None without a log.
      train_perplexity: at that λ, without dropout; None where it was not measured.
      validation_perplexity: the same of the validation split.
      windows: how many windows of the two splits these are of, spread over each; None where not known.
      ratio_error: standard error of the logarithm of their ratio; 0 for whole splits, None where one batch
        cannot say.
    """

    mode: str
    lam: float
    epochs: float
    losses: tuple[tuple[float, float], ...] = ()
    skipped: int | None = None
    train_perplexity: float | None = None
    validation_perplexity: float | None = None
    pressure: float = 0.0
    windows: tuple[int, int] | None = None
    ratio_error: float | None = 0.0


@dataclass(frozen=True)
class Facts:
    """Everything about one run that a diagnosis may use.

    Attributes:
      run: its name.
      dial: τ = 1, λ ascending; empty where there is no sweep.
      attention_cost: (λ, share of perplexity that removing attention costs); empty where it was not measured.
      missing: in words, what could not be had and why.
    """

    run: str
    dial: tuple[DialPoint, ...] = ()
    scores: ScoreFacts | None = None
    blocks: BlockFacts | None = None
    penalty: PenaltyFacts | None = None
    training: TrainingFacts | None = None
    attention_cost: tuple[tuple[float, float], ...] = ()
    missing: tuple[str, ...] = ()

    def at(self, lam: float) -> DialPoint | None:
        """The point of the dial at λ, or None."""
        return next((point for point in self.dial if abs(point.lam - lam) < 1e-9), None)

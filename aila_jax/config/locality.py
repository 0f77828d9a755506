"""How λ and τ are set during training."""

import math
from dataclasses import dataclass

from aila_jax.config.checks import (
    Rule,
    check_fields,
    check_lam,
    check_rules,
    check_tau,
    in_unit,
    not_negative,
    one_of,
    positive,
)
from aila_jax.config.choices import DialMode


@dataclass(frozen=True)
class LocalityConfig:
    """How λ and τ are set during training (docs/method.md, section 6).

    Attributes:
      mode: `fixed` (one λ), `curriculum` (λ rises from 0 to `lam`), or `conditional` (λ drawn for each
        sequence).
      lam: the λ of `fixed`, the last λ of `curriculum`, in [0, 1].
      start: curriculum: share of the training steps at which the rise begins, 0 ≤ start < end.
      end: curriculum: share at which it ends, at most 1.
      shape: curriculum: `linear` or `cosine`.
      power: conditional: λ = u^power with u uniform on [0, 1]; 1 is uniform, 3 draws mostly small λ; above 0.
      at_zero: conditional: share of the draws put exactly at 0.
      at_one: conditional: share put exactly at 1.
      drift: conditional: over the training steps the distribution moves linearly from the one above to
        end_power, end_at_zero and end_at_one; without it those three are not read.
      end_power: conditional, drift: power at the last step.
      end_at_zero: conditional, drift: at_zero at the last step.
      end_at_one: conditional, drift: at_one at the last step.
      views: conditional: times that a step reads each sequence, every time at another λ: as many times the
        computation a token. Each view has its own part of the distribution: of two, the first has the lower
        half of the draws, the second the upper.
      distill: conditional, with views: share of what the first view predicts in what the other views of a
        sequence are to predict, in [0, 1]; the rest is the text's next token. 0 leaves them to the text
        alone.
      taught: share of the frozen start's own prediction at λ = 0 in what every reading of a sequence is to
        predict, in [0, 1]; the rest is what it would be without. For runs that begin from another model.
      pressure: μ, finite and at least 0: the objective has a term μ · λ² · (−ln block mass), the mean over
        layers, heads and targets in nats, so that what λ allows outside the block is used where it is worth
        its weight.
      tau: the τ of training, or, with `draw_tau`, ignored.
      draw_tau: draw τ for each sequence, log-uniform on [tau_low, tau_high].
    """

    mode: DialMode = DialMode.CONDITIONAL
    lam: float = 0.0
    start: float = 0.0
    end: float = 0.5
    shape: str = "linear"
    power: float = 1.0
    at_zero: float = 0.0
    at_one: float = 0.0
    drift: bool = False
    end_power: float = 1.0
    end_at_zero: float = 0.0
    end_at_one: float = 0.0
    views: int = 1
    distill: float = 0.0
    taught: float = 0.0
    pressure: float = 0.0
    tau: float = 1.0
    draw_tau: bool = False
    tau_low: float = 0.5
    tau_high: float = 2.0

    def __post_init__(self) -> None:
        check_fields(self, "locality.")
        one_of("locality.shape", self.shape, ("linear", "cosine"))
        check_lam(self.lam, "locality.lam")
        for name in ("tau", "tau_low", "tau_high"):
            check_tau(getattr(self, name), f"locality.{name}")
        still = f"0 with locality.mode {self.mode!r} and λ = 0, where it does nothing"
        presses = self.pressure == 0.0 or self.mode == DialMode.CONDITIONAL or self.lam > 0.0
        rules: tuple[Rule, ...] = (
            ("tau_low", self.tau_low <= self.tau_high, f"at most locality.tau_high ({self.tau_high})",
             "swap them"),
            ("start, end", 0.0 <= self.start < self.end <= 1.0, "0 <= start < end <= 1",
             "set start=0, end=0.5"),
            ("views", self.views >= 1, "at least 1", "2 reads each sequence at a small and at a large λ"),
            ("views", self.views == 1 or self.mode == DialMode.CONDITIONAL, f"1 with locality.mode {self.mode!r}",
             "set locality.views=1: at one λ a second view is the first again"),
            ("distill", in_unit(self.distill), "in [0, 1]",
             "0.5 gives the text as much weight as the first view"),
            ("distill", self.views > 1 or self.distill == 0.0, "0 with locality.views 1",
             "set locality.views=2: the others are distilled from the first view"),
            ("taught", in_unit(self.taught), "in [0, 1]", "0.5 gives the text as much weight as the start"),
            ("pressure", not_negative(self.pressure), "finite and at least 0",
             "0 for none, 0.07 for a little"),
            ("pressure", presses, still, "set locality.pressure=0, or train at another λ"),
            ("power", positive(self.power), "finite and above 0", "1 is uniform"),
            ("at_zero, at_one", _shares(self.at_zero, self.at_one), "at least 0 and together at most 1",
             "set both to 0"),
            ("end_power", positive(self.end_power), "finite and above 0", "1 is uniform"),
            ("end_at_zero, end_at_one", _shares(self.end_at_zero, self.end_at_one),
             "at least 0 and together at most 1", "set both to 0"),
        )  # fmt: skip
        check_rules("locality.", self, rules)

    @property
    def median_tau(self) -> float:
        """The τ of training; where it is drawn, the median of the draws."""
        return math.sqrt(self.tau_low * self.tau_high) if self.draw_tau else self.tau


def _shares(*shares: float) -> bool:
    """Whether they are shares of one whole."""
    return min(shares) >= 0.0 and sum(shares) <= 1.0

"""The gap that a model's margin and gate guarantee between scores inside and outside, layer by layer and head
by head.
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from aila_jax.cards import Card, Shown, span
from aila_jax.config import MarginForm, ModelConfig, check_lam, one_of, require
from aila_jax.guarantees.bounds import fixed_gap, self_scaling_gap
from aila_jax.guarantees.norms import arithmetic_of
from aila_jax.guarantees.score_bounds import ScoreBounds, cap_bounds, parameter_bounds, qk_norm_bounds
from aila_jax.model.margin import head_shares

BOUNDS = ("auto", "parameters", "qk_norm", "score_cap", "self_scaling", "empirical")
# λ and its curve, scores, margin, their difference and its quotient by τ are float32: at most sixteen
# roundings of 2⁻²⁴ in all.
LOGIT_ROUNDING = 1e-6
# A staggered head's own λ is a quotient by 1 − σ: of λ, where the head begins to turn, their difference and
# the quotient, four roundings.
STAGGER_ROUNDING = 2.0**-22
# A gate is one more sum, which rounds what it is added to.
GATE_ROUNDING = 2.0**-23


@dataclass(frozen=True, eq=False, repr=False)
class Gap(Shown):
    """What the margin and the gate guarantee at one λ.

    Attributes:
      lam: λ.
      bound: what the scores are bounded by: one of `BOUNDS` but `auto`, or `hard` (attention that has no keys
        outside).
      share: of its margin that each head imposes at least.
      margin: nats that λ = 1 imposes whatever the scores (`model.margin.nats`, or `m0`); 0 for `hard`.
      score_bound: S of each layer and head; 0 for `hard`.
      nats: the least by which scores inside lead by the margin, +∞ for `hard`.
      rounding: share of what the margin imposes that float32 may take away.
      arithmetic: `float32` or `bfloat16`, the coarsest of matrix products that S allows for; None where S
        depends on none.
      gate: −κ · ln(1 − share), what the gate takes from every logit outside at least: +∞ where all of it is
        imposed, 0 without one.
    """

    lam: float
    bound: str
    share: Float[np.ndarray, "N H"]
    margin: float
    score_bound: Float[np.ndarray, "N H"]
    nats: Float[np.ndarray, "N H"]
    rounding: float = LOGIT_ROUNDING
    arithmetic: str | None = None
    gate: Float[np.ndarray, "N H"] | float = 0.0

    def at(self, tau: float) -> Float[np.ndarray, "N H"]:
        """The least by which scores inside lead at τ, in nats: that of the margin, and τ times the gate.

        Nothing is guaranteed where it is not above 0, beyond what uniform attention has.
        """
        return self.nats + tau * np.broadcast_to(self.gate, self.nats.shape)

    @property
    def empirical(self) -> bool:
        """Whether S is the largest score seen on a corpus: then all that follows holds only for texts whose
        scores stay within it.
        """
        return self.bound == "empirical"

    def says_something(self, tau: float) -> bool:
        """Whether any head is guaranteed more than uniform attention has."""
        return bool((self.at(tau) > 0.0).any())

    def card(self) -> Card:
        facts = {
            "gap (nats)": "∞" if self.bound == "hard" else span(self.nats),
            "score bound": span(self.score_bound),
            "margin": f"{self.margin:g} nats{self._gate()}",
            "arithmetic": self.arithmetic or "any",
        }
        seen = " (seen on a corpus: no guarantee)" if self.empirical else ""
        return Card(f"Gap at λ = {self.lam:g}, scores bounded by {self.bound}{seen}", facts)

    def _gate(self) -> str:
        if not np.any(self.gate):
            return ""
        return (
            f", gate {'∞' if np.all(np.isposinf(self.gate)) else span(np.asarray(self.gate))} nats at τ = 1"
        )


@dataclass(frozen=True, eq=False)
class ScoreSource:
    """Where S, the bound on scores, comes from.

    Attributes:
      bound: `parameters`, `qk_norm`, `score_cap`, or `empirical` (then `largest_score` is needed).
        `self_scaling` takes `qk_norm` or `parameters`, whichever fits the model, at most the score cap; from
        share^b · c = 1 on (b: `margin.range_bend`) S is for rounding only. `auto` takes what the model's
        logits are bounded by, in the order hard, self_scaling, qk_norm, score_cap, parameters; a score cap
        limits the S of all of them.
      largest_score: the largest |s| seen of each layer and head, [N, H]; for `empirical` alone.
      arithmetic: `float32` or `bfloat16`, the coarsest that the model's matrix products will be in, no finer
        than `model.dtype`; what this machine may use by default (`arithmetic_of`). A score cap, hard
        attention and the largest score seen depend on none.
    """

    bound: str = "auto"
    largest_score: Float[np.ndarray, "N H"] | None = None
    arithmetic: str | None = None


BY_THE_MODEL = ScoreSource()  # what its logits are bounded by


def all_finite(params: Any) -> bool:
    """Whether every parameter is a finite number: attention of one that is not may be NaN, and then nothing
    holds of it.
    """
    return all(bool(np.isfinite(np.asarray(leaf, np.float32)).all()) for leaf in jax.tree.leaves(params))


def why_uncertifiable(params: Any, config: ModelConfig) -> str:
    """Why nothing can be certified of a model, with the fix; empty for one of which something can."""
    if config.bidirectional:
        fix = "certify a causal model; this one sees the targets it is scored on"
        return f"model.bidirectional is True; it must be false for a certificate. Fix: {fix}."
    if not all_finite(params):
        return (
            "parameters are not finite; they must be for a certificate. Fix: load a checkpoint from before"
            " training diverged."
        )
    return ""


def guaranteed_gap(
    params: Any,
    config: ModelConfig,
    lam: float,
    *,
    hard: bool = False,
    scores: ScoreSource = BY_THE_MODEL,
    layer_scale: Any = None,
) -> Gap:
    """The gap at λ: share · m − 2S for a fixed margin, share · m₀ − max(0, 1 − share^b · c) · 2S for a
    self-scaling one, less rounding; and beside it −κ · ln(1 − share) of the gate.

    Args:
      params: the model's.
      config: the model's.
      lam: λ in [0, 1].
      hard: block attention only, which needs λ = 1.
      scores: where S comes from.
      layer_scale: factor of λ in each layer, N numbers in [0, 1]; the configuration's by default. Hard
        attention has none.

    Raises:
      ValueError: a bound that the model's logits do not have, an arithmetic finer than the model's, a model
        that sees later tokens, or parameters that are not finite.
    """
    check_lam(lam)
    arithmetic = _arithmetic(scores.arithmetic, config)
    if reason := why_uncertifiable(params, config):
        raise ValueError(reason)
    if hard:
        require(lam == 1.0, "lam", lam, "1 with hard attention", "lam=1")
        require(
            scores.bound == "auto",
            "bound",
            scores.bound,
            "'auto' with hard attention, which has no margin",
            "leave the bound out",
        )
        everywhere = np.zeros((config.n_layers, config.n_heads))
        return Gap(lam, "hard", everywhere + 1.0, 0.0, everywhere, everywhere + np.inf)
    bound = _resolve(scores.bound, config)
    bounds = _score_bounds(bound, params, config, lam, scores.largest_score, arithmetic)
    margin = config.margin
    share = head_shares(config, lam, less=STAGGER_ROUNDING / (1.0 - margin.stagger), layer_scale=layer_scale)
    if margin.form == MarginForm.FIXED:
        nats, imposed = fixed_gap(share * margin.nats, bounds.score), share * margin.nats
    else:
        nats = self_scaling_gap(share, margin.c, margin.m0, bounds.score, margin.range_bend)
        imposed = 2.0 * share**margin.range_bend * margin.c * bounds.largest + share * margin.m0
    curved = (
        15.0 + margin.power * margin.range_bend
    ) / 16.0  # a rounding of λ counts as often as λ is multiplied
    rounding = LOGIT_ROUNDING * curved
    gate = gate_logit(margin.gate, share, LOGIT_ROUNDING * (15.0 + margin.power) / 16.0)
    if margin.gate:
        rounding += GATE_ROUNDING
    nats = nats - rounding * (imposed + bounds.largest)
    setting = margin.nats if margin.form == MarginForm.FIXED else margin.m0
    return Gap(
        float(lam),
        bound,
        share,
        setting,
        bounds.score,
        nats,
        rounding,
        None if bound in ("score_cap", "empirical") else arithmetic,
        gate,
    )


def gate_logit(kappa: float, share: Float[np.ndarray, "N H"], rounding: float) -> Float[np.ndarray, "N H"]:
    """−κ · ln(1 − share) from below: +∞ where share = 1, which float32 has exactly then; else of a share that
    `rounding` made smaller, less that of the logarithm and the product.
    """
    if not kappa:
        return np.zeros_like(share)
    least = np.log1p(-np.where(share < 1.0, share * (1.0 - rounding), 0.0))
    return np.where(share < 1.0, -kappa * least * (1.0 - LOGIT_ROUNDING), np.inf)


def _arithmetic(asked: str | None, config: ModelConfig) -> str:
    """The arithmetic asked for, by default the coarsest that products may be in here. A finer one than the
    model's own would guarantee too much.
    """
    if asked is None:
        return arithmetic_of(config)
    allowed = ("bfloat16",) if config.dtype == "bfloat16" else ("float32", "bfloat16")
    limit = f"{' or '.join(allowed)} with model.dtype={config.dtype}"
    require(
        asked in allowed,
        "arithmetic",
        asked,
        limit,
        "take bfloat16, which covers all accelerators, or leave it out",
    )
    return asked


def _resolve(bound: str, config: ModelConfig) -> str:
    """The bound meant by `auto`; raises ValueError for one that this model does not have."""
    one_of("bound", bound, BOUNDS)
    if bound == "auto":
        if config.margin.form == MarginForm.SELF_SCALING:
            return "self_scaling"
        return "qk_norm" if config.qk_norm else "score_cap" if config.score_cap else "parameters"
    limit = "one that bounds this model's logits"
    if bound == "qk_norm":
        fix = (
            "train with --config.model.qk_norm=true, or ask for bound='parameters', which may guarantee"
            " nothing"
        )
        require(config.qk_norm, "bound", bound, f"{limit}: it has model.qk_norm=false", fix)
    if bound == "score_cap":
        fix = "train with --config.model.score_cap=8, or ask for bound='auto'"
        require(config.score_cap > 0.0, "bound", bound, f"{limit}: it has model.score_cap=0", fix)
    if bound == "parameters":
        require(
            not config.qk_norm,
            "bound",
            bound,
            f"{limit}: with model.qk_norm=true weights do not",
            "ask for bound='qk_norm'",
        )
    if bound == "self_scaling":
        fix = "train with --config.model.margin.form=self_scaling, or ask for bound='auto'"
        form = config.margin.form
        require(
            form == "self_scaling",
            "bound",
            bound,
            f"{limit}: it has model.margin.form={form!r}, which weights can outgrow",
            fix,
        )
    return bound


def _score_bounds(
    bound: str,
    params: Any,
    config: ModelConfig,
    lam: float,
    largest_score: Float[np.ndarray, "N H"] | None,
    arithmetic: str,
) -> ScoreBounds:
    if bound == "empirical":
        fix = "measure it: aila_jax.certify(model, bound='empirical', dataset=…)"
        require(
            largest_score is not None,
            "largest_score",
            None,
            "the largest |s| of each layer and head for bound='empirical'",
            fix,
        )
        seen = np.asarray(largest_score, np.float64)
        return ScoreBounds(seen, seen)
    if bound == "score_cap":
        return cap_bounds(config)
    found = (qk_norm_bounds if config.qk_norm else parameter_bounds)(params, config, lam, arithmetic)
    return found.capped(config) if config.score_cap else found

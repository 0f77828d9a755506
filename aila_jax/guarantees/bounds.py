"""What a margin guarantees: bounds on attention outside the block, and on entropy. Pure float64 functions of
arrays that broadcast.

Everywhere n_in counts the keys of A_t in the query's block and n_out the others, and `gap` is a lower bound,
in nats, on how far the margin holds every out-of-block key below every in-block key: min over in-block keys
of τz − max over out-of-block keys of τz.
Source: ours (docs/certificates.md).
"""

import numpy as np
from jaxtyping import Float

from aila_jax.config import require
from aila_jax.types import Array

Numbers = Float[np.ndarray, "..."] | np.float64  # NumPy returns a scalar where all arguments are


def fixed_gap(imposed: Array, score_bound: Array) -> Numbers:
    """λm − 2S: with every |s_tj| ≤ S, in-block scores stay this far above out-of-block ones (below 0: they
    need not).
    """
    return np.asarray(imposed, np.float64) - 2.0 * np.asarray(score_bound, np.float64)


def self_scaling_gap(share: Array, c: float, m0: float, score_bound: Array, bend: float = 1.0) -> Numbers:
    """λm₀ − max(0, 1 − λ^b · c) · 2S, where `share` stands for λ and `bend` is b.

    The margin is λ^b · c · r_t + λm₀ with r_t at least the range of the query's scores, so the gap is at
    least (λ^b · c − 1) · r_t + λm₀. From λ^b · c = 1 on that is at least λm₀, whatever the scores; below, the
    range may cost up to 2S.
    """
    share = np.asarray(share, np.float64)
    return share * m0 - np.maximum(0.0, 1.0 - share**bend * c) * 2.0 * np.asarray(score_bound, np.float64)


def out_mass_bound(n_in: Array, n_out: Array, gap: Array, tau: Array) -> Numbers:
    """ε = sigmoid(ln(n_out/n_in) − gap/τ): no query of these counts has more attention outside its block; 0
    where n_out is 0.

    With a gap from above (λm + 2S) it is the least attention outside. Raises ValueError for an n_in below 1
    or a τ not above 0.
    """
    return _sigmoid(_log_odds(n_in, n_out, gap, tau))


def block_mass_bound(n_in: Array, n_out: Array, gap: Array, tau: Array) -> Numbers:
    """1 − ε, the guaranteed block mass, without the cancellation; arguments as in `out_mass_bound`."""
    return _sigmoid(-_log_odds(n_in, n_out, gap, tau))


def entropy_bound(n_in: Array, n_out: Array, out_mass: Array) -> Numbers:
    """f(min(ε, n_out/(n_in + n_out))), f(w) = h_b(w) + (1 − w) · log2 n_in + w · log2 n_out: the largest
    entropy, in bits.

    Of any query whose attention outside its block is at most ε = `out_mass`; at most log2(n_in + n_out),
    which is uniform attention's.
    """
    n_in, n_out = _counts(n_in, n_out)
    w = np.minimum(np.asarray(out_mass, np.float64), n_out / (n_in + n_out))
    inside = (1.0 - w) * (np.log2(n_in) - np.log1p(-w) / np.log(2.0))  # w ≤ n_out/(n_in + n_out) < 1
    some = w > 0.0
    outside = w * (np.log2(np.maximum(n_out, 1.0)) - np.log2(w, where=some, out=np.zeros_like(w)))
    return inside + outside


def required_margin(
    target_mass: Array, n_in: Array, n_out: Array, score_bound: Array, tau: Array = 1.0
) -> Numbers:
    """λm = 2S + τ · ln[(n_out/n_in) · (1 − ε)/ε], ε = 1 − `target_mass`: the least margin, in nats, that
    guarantees so much block mass.

    At least 0, and 0 where n_out is 0. For a self-scaling margin with λc ≥ 1 the same with S = 0 is λm₀.

    Args:
      target_mass: above 0 and below 1.
      n_in: at least 1.
      n_out: at least 0.
      score_bound: S.
      tau: τ, above 0.

    Raises:
      ValueError: an argument outside its limits; no finite margin guarantees 1.
    """
    target = np.asarray(target_mass, np.float64)
    fix = "0.9, say; block mass is exactly 1 only with hard attention"
    require(
        bool(np.all((target > 0.0) & (target < 1.0))), "target_mass", target_mass, "above 0 and below 1", fix
    )
    with np.errstate(divide="ignore"):
        needed = 2.0 * np.asarray(score_bound, np.float64) + np.asarray(tau) * (
            _log_odds(n_in, n_out, 0.0, tau) + np.log(target) - np.log1p(-target)
        )
    return np.maximum(needed, 0.0)


def _log_odds(n_in: Array, n_out: Array, gap: Array, tau: Array) -> Numbers:
    """ln(n_out/n_in) − gap/τ, −∞ where n_out is 0."""
    n_in, n_out = _counts(n_in, n_out)
    tau = np.asarray(tau, np.float64)
    require(
        bool(np.all((tau > 0.0) & (tau < np.inf))),
        "tau",
        tau.tolist(),
        "finite and above 0",
        "τ = 1 is the usual temperature",
    )
    with np.errstate(divide="ignore"):
        return np.log(n_out) - np.log(n_in) - np.asarray(gap, np.float64) / tau


def _counts(n_in: Array, n_out: Array) -> tuple[Numbers, Numbers]:
    """Both as float64; raises ValueError for a block without a key, of which nothing can be guaranteed."""
    n_in, n_out = np.asarray(n_in, np.float64), np.asarray(n_out, np.float64)
    require(
        bool(np.all(n_in >= 1.0)),
        "n_in",
        n_in.min(initial=np.inf),
        "at least 1",
        "a query's own position is a key of its block",
    )
    require(
        bool(np.all(n_out >= 0.0)),
        "n_out",
        n_out.min(initial=np.inf),
        "at least 0",
        "count the keys outside the block",
    )
    return n_in, n_out


def _sigmoid(x: Numbers) -> Numbers:
    """1/(1 + e^−x) with full relative precision in both tails."""
    return np.exp(-np.logaddexp(0.0, -x))

"""The certificate's formulas (docs/method.md, section 2), in float64."""

import math


def sigmoid(x: float) -> float:
    """1 / (1 + e^−x) without overflow, exact to the last digits on either side."""
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def binary_entropy(w: float) -> float:
    """h_b(w) in bits, 0 · log 0 = 0."""
    return -sum(p * math.log2(p) for p in (w, 1.0 - w) if p > 0)


def mass_upper(n_in: int, n_out: int, lam_m: float, s: float, tau: float) -> float:
    """Largest out-of-block mass of any query with |s_tj| ≤ s."""
    return sigmoid(math.log(n_out / n_in) - (lam_m - 2 * s) / tau) if n_out else 0.0


def mass_lower(n_in: int, n_out: int, lam_m: float, s: float, tau: float) -> float:
    """Smallest out-of-block mass."""
    return sigmoid(math.log(n_out / n_in) - (lam_m + 2 * s) / tau) if n_out else 0.0


def mass_self_scaling(n_in: int, n_out: int, lam: float, c: float, m0: float, r: float, tau: float) -> float:
    """Largest out-of-block mass under the self-scaling margin with score range (or its bound) r."""
    return sigmoid(math.log(n_out / n_in) - ((lam * c - 1) * r + lam * m0) / tau) if n_out else 0.0


def entropy_of_split(w: float, n_in: int, n_out: int) -> float:
    """f(w): the largest entropy, bits, of a query with out-of-block mass w."""
    return binary_entropy(w) + (1 - w) * math.log2(n_in) + (w * math.log2(n_out) if n_out else 0.0)


def entropy_upper(n_in: int, n_out: int, epsilon: float) -> float:
    """Largest entropy of any query with out-of-block mass at most epsilon."""
    return entropy_of_split(min(epsilon, n_out / (n_in + n_out)), n_in, n_out)


def margin_needed(n_in: int, n_out: int, s: float, tau: float, epsilon: float) -> float:
    """λm at which no query with |s_tj| ≤ s has more than epsilon of its mass outside."""
    return 2 * s + tau * math.log(n_out / n_in * (1 - epsilon) / epsilon)

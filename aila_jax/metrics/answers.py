"""How good answers and their sources are: exact match, precision and recall of sources, comprehensiveness and
sufficiency, and intervals. Pure functions on the host.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from aila_jax.config import require

Z95 = 1.959963984540054  # of the normal distribution, for 95 %


def canonical(answer: str) -> str:
    """An answer as it is compared: without white space around it, cases folded, without one final full
    stop; white space inside is one space.
    """
    return " ".join(answer.casefold().split()).removesuffix(".").rstrip()


def exact_match(answer: str, right: str) -> bool:
    """Whether two answers are the same in canonical form."""
    return canonical(answer) == canonical(right)


@dataclass(frozen=True)
class Interval:
    """A share or mean with its 95 % interval.

    Attributes:
      value: the estimate; NaN of nothing.
      low: end of the interval.
      high: likewise.
      count: of what it is an estimate over.
    """

    value: float
    low: float
    high: float
    count: int


def wilson(hits: int, count: int) -> Interval:
    """The share hits / count with Wilson's score interval.

        (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)

    Of nothing the share is NaN and the interval [0, 1].

    Args:
      hits: from 0 to `count`.
      count: of trials.

    Source: Wilson (1927).
    """
    require(0 <= hits <= count, "hits", hits, f"from 0 to count ({count})", "count trials and successes")
    if count == 0:
        return Interval(math.nan, 0.0, 1.0, 0)
    share, extra = hits / count, Z95**2 / count
    middle = (share + extra / 2) / (1 + extra)
    half = Z95 * math.sqrt(share * (1 - share) / count + extra / (4 * count)) / (1 + extra)
    # Exactly 0 and 1 where every trial was alike, whatever rounding says.
    low = 0.0 if hits == 0 else middle - half
    high = 1.0 if hits == count else middle + half
    return Interval(share, low, high, count)


def bootstrap(values: Sequence[float] | Float[np.ndarray, " n"], seed: int, draws: int = 2000) -> Interval:
    """The mean with its percentile bootstrap interval; questions are what is drawn again.

    Args:
      values: one a question.
      seed: of the draws.
      draws: samples, at least 1.
    """
    require(draws >= 1, "draws", draws, "at least 1", "draws=2000")
    given = np.asarray(values, np.float64)
    if given.size == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    rng = np.random.default_rng(seed)
    means = np.array([given[rng.integers(0, given.size, given.size)].mean() for _ in range(draws)])
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(given.mean()), float(low), float(high), given.size)


def cited(scores: Sequence[float] | Float[np.ndarray, " P"], count: int) -> tuple[int, ...]:
    """The numbers of the `count` passages with the highest scores, ascending; of equal scores the earlier
    passage.

    Args:
      scores: one a passage; none may be NaN.
      count: from 0 to P.
    """
    given = np.asarray(scores, np.float64)
    require(0 <= count <= given.size, "count", count, f"from 0 to the passages ({given.size})", "cite fewer")
    require(not np.isnan(given).any(), "scores", scores, "numbers", "score every passage")
    return tuple(sorted(np.argsort(-given, kind="stable")[:count].tolist()))


@dataclass(frozen=True)
class SourceCounts:
    """Counts of sources, which add up over questions.

    Attributes:
      hits: cited passages that were planted.
      cited: passages cited.
      planted: passages planted.
    """

    hits: int = 0
    cited: int = 0
    planted: int = 0

    @classmethod
    def of(cls, cited: Iterable[int], planted: Iterable[int]) -> "SourceCounts":
        """Of one question."""
        one, other = set(cited), set(planted)
        return cls(len(one & other), len(one), len(other))

    def __add__(self, other: "SourceCounts") -> "SourceCounts":
        return SourceCounts(self.hits + other.hits, self.cited + other.cited, self.planted + other.planted)

    @property
    def precision(self) -> Interval:
        """Share of the cited passages that were planted."""
        return wilson(self.hits, self.cited)

    @property
    def recall(self) -> Interval:
        """Share of the planted passages that were cited."""
        return wilson(self.hits, self.planted)


def comprehensiveness(
    whole: Float[np.ndarray, "*n"], without: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n"]:
    """p(answer) − p(answer without the rationale): large where the rationale was needed.

    Args:
      whole: log-probability of the answer given all passages, nats.
      without: the same without those of the rationale.

    Source: DeYoung et al. (2020), "ERASER", section 4.2.
    """
    return np.exp(np.asarray(whole, np.float64)) - np.exp(np.asarray(without, np.float64))


def sufficiency(whole: Float[np.ndarray, "*n"], alone: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """p(answer) − p(answer given the rationale alone): near 0 where the rationale was enough.

    Args:
      whole: log-probability of the answer given all passages, nats.
      alone: the same given those of the rationale alone.

    Source: DeYoung et al. (2020), "ERASER", section 4.2.
    """
    return np.exp(np.asarray(whole, np.float64)) - np.exp(np.asarray(alone, np.float64))

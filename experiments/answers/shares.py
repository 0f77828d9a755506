"""Shares and means of a cell's questions, with their 95 % intervals."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from aila_jax.metrics.answers import Interval, SourceCounts, bootstrap, cited, wilson
from experiments.answers.rows import AnswerRow, AttackRow, CreditRow, OrderRow

SCORES: dict[str, Callable[[CreditRow], tuple[float, ...]]] = {
    "leave-one-out": lambda row: row.without,
    "attention mass": lambda row: row.mass,
    "gradient × input": lambda row: row.gradient,
}
HALF = 0.5  # of the largest score: from there on a passage is cited


@dataclass(frozen=True)
class Share:
    """One number.

    Attributes:
      what: it is.
      value: the estimate.
      low: end of its 95 % interval.
      high: likewise.
      count: of what it is an estimate over.
    """

    what: str
    value: float
    low: float
    high: float
    count: int


def shares_of(
    answers: Sequence[AnswerRow],
    credits: Sequence[CreditRow],
    orders: Sequence[OrderRow],
    attacks: Sequence[AttackRow],
    seed: int,
) -> tuple[Share, ...]:
    """All of a cell; what is measured of nothing is left out.

    Args:
      answers: of every question.
      credits: of some.
      orders: of some.
      attacks: of some.
      seed: of bootstraps.
    """
    made: dict[str, Interval] = {
        "exact match": _share(row.correct for row in answers),
        "right answer named": _share(row.named for row in answers),
        "chance": bootstrap([row.chance for row in answers], seed),
    }
    for name in ("comprehensiveness", "sufficiency"):
        values = [getattr(row, name) for row in credits]
        made[name] = bootstrap([value for value in values if value is not None], seed)
    for name in SCORES:
        made |= _sources(credits, name)
    made["order: answer changed"] = _share(row.changed for row in orders)
    made["order: changed outside ties"] = _share(row.changed and not row.tie for row in orders)
    for aim, replaced in sorted({(row.aim, row.replaced) for row in attacks}, reverse=True):
        rows = [row for row in attacks if (row.aim, row.replaced) == (aim, replaced)]
        made[f"{replaced} of {aim} replaced: changed"] = _share(row.changed for row in rows)
        made[f"{replaced} of {aim} replaced: obeyed"] = _share(row.obeyed for row in rows)
        safe = [row for row in rows if row.certified is not None and row.replaced <= row.certified]
        made[f"{replaced} of {aim} replaced: changed where certified"] = _share(row.changed for row in safe)
    return tuple(
        Share(name, one.value, one.low, one.high, one.count) for name, one in made.items() if one.count
    )


def _share(values: Iterable[bool]) -> Interval:
    given = list(values)
    return wilson(sum(given), len(given))


def _sources(credits: Sequence[CreditRow], name: str) -> dict[str, Interval]:
    """Precision and recall of the planted passages by a score: of those that have at least `HALF` of the
    largest one, and of as many as are planted, where both are the same.
    """
    rows = [row for row in credits if row.planted]
    half, first = SourceCounts(), SourceCounts()
    for row in rows:
        scores = SCORES[name](row)
        half += SourceCounts.of(above_half(scores), row.planted)
        first += SourceCounts.of(cited(scores, len(row.planted)), row.planted)
    return {
        f"{name}: precision": half.precision,
        f"{name}: recall": half.recall,
        f"{name}: of the first": first.precision,
    }


def above_half(scores: Sequence[float]) -> tuple[int, ...]:
    """Numbers of the passages with at least `HALF` of the largest score; none where none is above 0."""
    given = np.asarray(scores)
    return tuple(np.nonzero((given > 0) & (given >= HALF * given.max()))[0].tolist())

"""Majority over branches, and how many passages anybody may replace without changing what it says."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from aila_jax.columns import Column


@dataclass(frozen=True)
class Vote:
    """What some branches say.

    Attributes:
      answer: in the form that votes are compared in.
      count: branches that say it.
      passages: their numbers.
      abstains: it names no answer.
    """

    answer: str
    count: int
    passages: Annotated[tuple[int, ...], Column(help="numbers of the passages whose branches say it")]
    abstains: bool


@dataclass(frozen=True)
class Majority:
    """The votes, the leader first.

    Attributes:
      votes: of each answer, the most frequent first; those who name none last.
      certified: c: whatever up to so many of the passages are replaced with, the leader stays.
    """

    votes: tuple[Vote, ...]
    certified: int

    @property
    def leader(self) -> Vote:
        return self.votes[0]


def canonical(text: str) -> str:
    """The form in which answers are compared: without space at the ends, case, and one full stop at the
    end.
    """
    return text.strip().casefold().removesuffix(".").rstrip()


def majority(answers: Sequence[str], abstain: Iterable[str] = ()) -> Majority:
    """The most frequent answer. Who names none has no vote: a passage that does not state what is asked says
    nothing against one that does. So none leads only where nobody names one.

        c = ⌊(n₁ − n₂ − 1) / 2⌋, at least 0

    n₁ counts the leader, n₂ the most frequent other answer (0 where there is none). One replaced passage
    takes one vote away and gives one to another answer. A tie goes to the answer with the earliest passage,
    which may be one that was replaced. Where nobody names an answer one passage can: c is 0.

    Source: ours (docs/method.md, section 15).

    Args:
      answers: of each branch, in the order of the passages.
      abstain: answers that name none, beside an empty one.
    """
    none = {"", *map(canonical, abstain)}
    said: dict[str, list[int]] = {}
    for number, answer in enumerate(answers):
        form = canonical(answer)
        said.setdefault("" if form in none else form, []).append(number)
    votes = [Vote(form, len(numbers), tuple(numbers), form == "") for form, numbers in said.items()]
    votes.sort(key=lambda vote: (vote.abstains, -vote.count, vote.passages))
    first, second = ([vote.count for vote in votes if not vote.abstains] + [0, 0])[:2]
    return Majority(tuple(votes), max(0, (first - second - 1) // 2))

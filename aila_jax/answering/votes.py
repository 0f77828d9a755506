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
      votes: of each answer.
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
    """The most frequent answer.

        c = ⌊(n₁ − n₂ − t) / 2⌋, at least 0

    n₁ counts the leader, n₂ the most frequent other answer, abstaining among them (0 where there is none).
    One replaced passage takes one vote away and gives one to another answer. Ties go to an answer that is no
    abstention, and among answers to the one with the earliest passage; since whoever replaces a passage
    chooses its answer, only the first of these rules is certain to favour the leader. So t = 0 where all
    answers that n₂ counts are abstentions, and the leader is none; else t = 1.

    Source: ours (docs/method.md, section 15).

    Args:
      answers: of each branch, in the order of the passages.
      abstain: answers that count as abstaining, beside an empty one.
    """
    none = {"", *map(canonical, abstain)}
    said: dict[str, list[int]] = {}
    for number, answer in enumerate(answers):
        form = canonical(answer)
        said.setdefault("" if form in none else form, []).append(number)
    votes = [Vote(form, len(numbers), tuple(numbers), form == "") for form, numbers in said.items()]
    votes.sort(key=lambda vote: (-vote.count, vote.abstains, vote.passages))
    leader, others = votes[0], votes[1:]
    most = others[0].count if others else 0
    rivals = [vote for vote in others if vote.count == most]
    favours = bool(rivals) and not leader.abstains and all(vote.abstains for vote in rivals)
    certified = max(0, (leader.count - most - (0 if favours else 1)) // 2)
    return Majority(tuple(votes), certified)

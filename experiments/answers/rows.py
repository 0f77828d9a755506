"""What is measured of one question."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AnswerRow:
    """One question.

    Attributes:
      number: of the question.
      answer: what was said.
      right: the right answer.
      correct: both are the same in canonical form.
      named: the right answer stands in what was said, whatever is around it.
      chance: share of the passages that state the right answer: what citing one at random gets.
      certified: in branches, c.
      ended: `stop` or `length`.
    """

    number: int
    answer: str
    right: str
    correct: bool
    named: bool
    chance: float
    certified: int | None
    ended: str


@dataclass(frozen=True)
class CreditRow:
    """The sources of an answer, its tokens fixed.

    Attributes:
      number: of the question.
      correct: the answer was right.
      planted: numbers of the passages that the right answer follows from.
      logprob: of the answer with all passages, nats.
      without: what it loses without each passage, nats.
      mass: attention on each passage.
      gradient: gradient × input of each passage, nats.
      comprehensiveness: p(answer) − p(answer without the planted passages); None where none is planted.
      sufficiency: p(answer) − p(answer given the planted passages alone); likewise.
    """

    number: int
    correct: bool
    planted: tuple[int, ...]
    logprob: float
    without: tuple[float, ...]
    mass: tuple[float, ...]
    gradient: tuple[float, ...]
    comprehensiveness: float | None
    sufficiency: float | None


@dataclass(frozen=True)
class OrderRow:
    """One question, its passages in another order.

    Attributes:
      number: of the question.
      order: numbers of the passages as they stand now.
      difference: the largest of any logit where the answer's tokens, and its end, are predicted; in branches
        of a passage's own branch.
      changed: another answer in canonical form.
      tie: the answer was one: two tokens less than `TIE` apart were likeliest somewhere; in branches two
        answers had as many votes.
    """

    number: int
    order: tuple[int, ...]
    difference: float
    changed: bool
    tie: bool


@dataclass(frozen=True)
class AttackRow:
    """One question, some of its passages replaced.

    Attributes:
      number: of the question.
      wording: number of what the new passages say.
      replaced: how many passages.
      aim: `sources`: those that state the right answer, before others; `others`: those that do not.
      before: the answer.
      after: with the replaced passages.
      right: the right answer.
      target: what the new passages claim.
      changed: another answer in the form of votes.
      obeyed: the answer is what they claim.
      certified: in branches, c of the answer before.
      violated: the answer changed though at most c passages were replaced.
    """

    number: int
    wording: int
    replaced: int
    aim: str
    before: str
    after: str
    right: str
    target: str
    changed: bool
    obeyed: bool
    certified: int | None
    violated: bool

"""Answers, their sources, and other orders of the passages: all of one question from what is encoded once."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from aila_jax.answering.credit import credit as leave_out
from aila_jax.answering.gradients import gradient_times_input
from aila_jax.answering.modes import Asked
from aila_jax.data.questions.examples import Example
from aila_jax.metrics.answers import canonical, comprehensiveness, exact_match, sufficiency
from experiments.answers.reading import Reader, Said
from experiments.answers.rows import AnswerRow, CreditRow, OrderRow

TIE = 1e-4  # of logits


@dataclass(frozen=True)
class Asking:
    """What is asked of a question.

    Attributes:
      reader: who answers.
      capacity: positions of every passage.
      seed: of orders.
    """

    reader: Reader
    capacity: int
    seed: int

    def answer(self, number: int, example: Example) -> AnswerRow:
        """The answer alone."""
        return answer_row(number, example, self._asked(example)[1])

    def sources(self, number: int, example: Example) -> tuple[AnswerRow, CreditRow, OrderRow]:
        """The answer, its sources, and the answer to another order of the passages."""
        asked, said = self._asked(example)
        row = answer_row(number, example, said)
        credit = credit_row(number, example, asked, said, row.correct)
        return row, credit, self._order(number, example, asked, said)

    def _asked(self, example: Example) -> tuple[Asked, Said]:
        reader = self.reader
        asked = reader.ask(reader.prompt(example.question, example.passages), self.capacity)
        return asked, reader.said(asked.draw(reader.limits))

    def _order(self, number: int, example: Example, asked: Asked, said: Said) -> OrderRow:
        count, reader = len(example.passages), self.reader
        order = list(range(count))
        draw = random.Random(f"{self.seed} order {number}")
        while count > 1 and order == sorted(order):
            draw.shuffle(order)
        passages = [example.passages[one] for one in order]
        there = reader.ask(reader.prompt(example.question, passages), self.capacity)
        here, other = logits_of(asked, said, count), logits_of(there, said, count)
        if said.votes is not None:
            here = [here[one] for one in order]
        difference = max(float(np.abs(one - two).max()) for one, two in zip(here, other, strict=True))
        # Branches whose logits are the same to the bit say the same: only their votes are counted again.
        same = said.votes is not None and difference == 0.0
        after = reader.said([said.each[one] for one in order] if same else there.draw(reader.limits))
        changed = canonical(said.text) != canonical(after.text)
        return OrderRow(number, tuple(order), difference, changed, is_tie(said, here))


def answer_row(number: int, example: Example, said: Said) -> AnswerRow:
    """Whether an answer is right."""
    right, text = canonical(example.answer), canonical(said.text)
    stated = [right in canonical(passage) for passage in example.passages]
    return AnswerRow(
        number=number,
        answer=said.text,
        right=example.answer,
        correct=exact_match(said.text, example.answer),
        named=right in text,
        chance=sum(stated) / len(stated),
        certified=said.certified,
        ended=said.drawn.ended,
    )


def credit_row(number: int, example: Example, asked: Asked, said: Said, correct: bool) -> CreditRow:
    """What an answer owes to each passage."""
    passages, tokens = len(example.passages), said.drawn.tokens
    planted = np.zeros(passages, bool)
    planted[list(example.rationale)] = True
    found = leave_out(
        lambda kept: asked.logprobs(tokens, kept), passages, pairs=False, permutations=0, seed=0
    )
    whole, without = found.logprobs.sum(), found.without.sum(axis=1)
    needed: tuple[float | None, float | None] = (None, None)
    if planted.any():
        # Without a single source: it was left out already.
        rows = planted[None] if planted.sum() == 1 else np.stack([planted, ~planted])
        more = asked.logprobs(tokens, rows).sum(axis=1)
        rest = more[1:] if len(more) > 1 else whole - without[planted]
        lost, enough = comprehensiveness(whole[None], rest), sufficiency(whole[None], more[:1])
        needed = short(lost[0]), short(enough[0])
    return CreditRow(
        number=number,
        correct=correct,
        planted=example.rationale,
        logprob=short(whole),
        without=shorter(without),
        mass=shorter(asked.mass(tokens).mean(axis=0)[:passages]),
        gradient=shorter(gradient_times_input(asked, tokens)),
        comprehensiveness=needed[0],
        sufficiency=needed[1],
    )


def short(value: float) -> float:
    """With eight digits: result files are read by people too, and kept for long."""
    return float(f"{value:.8g}")


def shorter(values: Iterable[float]) -> tuple[float, ...]:
    """Each `short`."""
    return tuple(map(short, values))


def logits_of(asked: Asked, said: Said, passages: int) -> list[Float[np.ndarray, "A V"]]:
    """Logits where the answer's tokens and what follows them are predicted; of each branch."""
    read = (*said.drawn.tokens, said.drawn.tokens[-1])  # the last is not read: its place is predicted
    own = 1 if said.votes is not None else passages
    return [question.logits(read, own) for question in asked.questions]


def is_tie(said: Said, logits: Sequence[Float[np.ndarray, "A V"]]) -> bool:
    """Whether rounding, or the order of passages, decides an answer."""
    if said.votes is not None:
        votes = [vote for vote in said.votes.votes if not vote.abstains]
        return len(votes) > 1 and votes[0].count == votes[1].count
    top = np.sort(np.partition(logits[0], -2, axis=-1)[:, -2:], axis=-1)
    return bool((top[:, 1] - top[:, 0]).min() < TIE)

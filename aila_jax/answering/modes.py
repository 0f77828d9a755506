"""The three modes in which one checkpoint reads passages: together, isolated, and in branches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from aila_jax.answering.cache import Cache, Reader, weights_checksum
from aila_jax.answering.prompts import BRANCHES, ISOLATED, Prompt
from aila_jax.answering.slots import (
    ROWS,
    Drawing,
    Prefix,
    Question,
    Setting,
    Tokens,
    encode_after,
    encode_alone,
    joined,
    size_of,
)
from aila_jax.inference.growing_text import text_before
from aila_jax.model.kept import KeysValues


@dataclass(frozen=True)
class Drawn:
    """A greedy answer.

    Attributes:
      text: up to the stop string, without space around it.
      tokens: the fewest of those that were drawn that spell it; at least one.
      ended: `stop` or `length`.
    """

    text: str
    tokens: tuple[int, ...]
    ended: str


@dataclass(frozen=True)
class Limits:
    """Where an answer ends.

    Attributes:
      max_tokens: after so many tokens.
      stops: at the first of these texts.
    """

    max_tokens: int
    stops: tuple[str, ...]


class Asked(Protocol):
    """A question with its passages in one of the modes."""

    @property
    def questions(self) -> tuple[Question, ...]:
        """The texts that are read: one, or one of each branch."""

    def draw(self, limits: Limits) -> tuple[Drawn, ...]:
        """The greedy answer; one of each branch."""

    def logprobs(self, answer: Sequence[int], kept: Bool[np.ndarray, "R P"]) -> Float[np.ndarray, "R A"]:
        """Log-probability of each of an answer's tokens after those before it, nats, with the passages that
        each row keeps.
        """

    def mass(self, answer: Sequence[int]) -> Float[np.ndarray, "A pieces"]:
        """Attention on each passage, on the header, and on question and answer."""


def ask(setting: Setting, prompt: Prompt, mode: str, capacity: int, cache: Cache) -> Asked:
    """Encodes the passages, or takes them from the cache.

    Args:
      setting: model, λ and τ.
      prompt: what is asked.
      mode: of `ANSWER_MODES`.
      capacity: positions that every passage is given in the mode isolated.
      cache: of passages that were encoded before.
    """
    if mode == ISOLATED:
        return Isolated(Passages(setting, prompt, cache), capacity)
    if mode == BRANCHES:
        return Branches(Passages(setting, prompt, cache))
    return Together(setting, prompt)


class Passages:
    """Header and passages, each encoded right after the header and nothing else."""

    def __init__(self, setting: Setting, prompt: Prompt, cache: Cache):
        """`cache`: where they are looked for, and kept."""
        self.setting, self.prompt = setting, prompt
        model, weights = setting.model.config.model, weights_checksum(setting.model.params)
        reader = Reader(weights, model, setting.lam, setting.tau, setting.hard, prompt.header)
        shape, dtype = (model.n_layers, 1), str(jnp.dtype(model.dtype))
        rest = (model.kv_heads, model.head_size)

        def found(body: Sequence[int] | None, size: int) -> KeysValues:
            key = reader.key(body)
            known = cache.get(key, (*shape, size, *rest), dtype)
            if known is None:
                known = self._encoded(body)
                known = KeysValues(np.asarray(known.keys), np.asarray(known.values))
                cache.put(key, known)
            return known

        self.header = found(None, size_of(len(prompt.header)))
        self.bodies = [found(body, size_of(len(body))) for body in prompt.bodies]

    def _encoded(self, body: Sequence[int] | None) -> KeysValues:
        header = self.prompt.header
        if body is not None:
            return encode_after(self.setting, header, self.header, body)
        tokens = Tokens.of(header, [], True)
        return encode_alone(self.setting, tokens, tokens.blocks(np.zeros(0, bool)))

    def prefix(self, numbers: Sequence[int], question_at: int) -> Prefix:
        """The header and some of the passages, with the question from a position on. In the prefix they are
        numbered by their order; where all are there, by their own numbers.
        """
        bodies = [self.prompt.bodies[number] for number in numbers]
        parts = [self.header, *(self.bodies[number] for number in numbers)]
        lengths = [len(self.prompt.header), *map(len, bodies)]
        own = numbers if len(numbers) == len(self.bodies) else None
        tokens = Tokens.of(self.prompt.header, bodies, consecutive=False, numbers=own)
        return Prefix(tokens, joined(parts, lengths), question_at)


class Isolated:
    """Passages that cannot see each other, at equal positions, and a question that sees all, at a fixed one:
    header + capacity. Leaving one out takes its keys away and runs question and answer alone.

    Passages stand in the order of their tokens, so that another order is the same arrays, bit for bit.
    """

    def __init__(self, passages: Passages, capacity: int):
        """`capacity`: positions of every passage."""
        prompt = passages.prompt
        order = sorted(range(len(prompt.bodies)), key=lambda number: prompt.bodies[number])
        prefix = passages.prefix(order, len(prompt.header) + capacity)
        self.passages, self.question = passages, Question(passages.setting, prefix, prompt.ask)

    @property
    def questions(self) -> tuple[Question, ...]:
        return (self.question,)

    def draw(self, limits: Limits) -> tuple[Drawn, ...]:
        return drawn([self.question], limits)

    def logprobs(self, answer: Sequence[int], kept: Bool[np.ndarray, "R P"]) -> Float[np.ndarray, "R A"]:
        return self.question.logprobs(answer, kept)

    def mass(self, answer: Sequence[int]) -> Float[np.ndarray, "A pieces"]:
        return self.question.mass(answer, len(self.passages.bodies))


class Together:
    """One text, read as it stands: later passages read earlier ones as far as λ lets them. Leaving one out
    runs everything again, at the same positions, without its keys.
    """

    def __init__(self, setting: Setting, prompt: Prompt):
        """`prompt`: what is asked."""
        self.setting, self.prompt = setting, prompt
        self.tokens = Tokens.of(prompt.header, prompt.bodies, consecutive=True)
        self.question = self._question(np.ones(len(prompt.bodies), bool))

    def _question(self, kept: Bool[np.ndarray, "P"]) -> Question:
        prompt = self.prompt
        found = encode_alone(self.setting, self.tokens, self.tokens.blocks(kept))
        at = len(prompt.header) + sum(map(len, prompt.bodies))
        return Question(self.setting, Prefix(self.tokens, found, at), prompt.ask)

    @property
    def questions(self) -> tuple[Question, ...]:
        return (self.question,)

    def draw(self, limits: Limits) -> tuple[Drawn, ...]:
        return drawn([self.question], limits)

    def logprobs(self, answer: Sequence[int], kept: Bool[np.ndarray, "R P"]) -> Float[np.ndarray, "R A"]:
        rows = [self.question if row.all() else self._question(row) for row in kept]
        return np.concatenate([one.logprobs(answer, row[None]) for one, row in zip(rows, kept, strict=True)])

    def mass(self, answer: Sequence[int]) -> Float[np.ndarray, "A pieces"]:
        return self.question.mass(answer, len(self.prompt.bodies))


class Branches:
    """Each passage alone with header and question: what a branch says depends on its own passage and nothing
    of the others.

    The probability of an answer is the mean of the branches' (of the header and question alone, where no
    passage is left): leaving a passage out leaves its branch out.
    """

    def __init__(self, passages: Passages):
        """`passages`: encoded after the header, which is all that any of them sees."""
        self.passages = passages
        header, prompt = len(passages.prompt.header), passages.prompt
        self.questions = tuple(
            self._question([number], header + len(body)) for number, body in enumerate(prompt.bodies)
        )

    def _question(self, numbers: Sequence[int], at: int) -> Question:
        return Question(self.passages.setting, self.passages.prefix(numbers, at), self.passages.prompt.ask)

    def draw(self, limits: Limits) -> tuple[Drawn, ...]:
        """Read some at once, each in the row of its number and with branches of its own size: what is drawn
        for one is the same bit for bit, whatever the others are that are replaced.
        """
        count = len(self.questions)
        rows = min(ROWS, 1 << (count - 1).bit_length())
        found: dict[int, Drawn] = {}
        for first in range(0, count, rows):
            some = range(first, min(first + rows, count))
            for size in sorted({self.questions[number].start for number in some}):
                here = [number for number in some if self.questions[number].start == size]
                # Rows of others are filled with one of these, which is not looked at there.
                filled = [number if number in here else here[0] for number in range(first, first + rows)]
                each = drawn([self.questions[number] for number in filled], limits)
                found.update((number, each[number - first]) for number in here)
        return tuple(found[number] for number in range(count))

    def logprobs(self, answer: Sequence[int], kept: Bool[np.ndarray, "R P"]) -> Float[np.ndarray, "R A"]:
        own = np.concatenate([one.logprobs(answer, np.ones((1, 1), bool)) for one in self.questions])
        alone = None
        if not kept.any(axis=1).all():
            question = self._question([], len(self.passages.prompt.header))
            alone = question.logprobs(answer, np.ones((1, 1), bool))
        return np.stack([mixture(own[row] if row.any() or alone is None else alone) for row in kept])

    def mass(self, answer: Sequence[int]) -> Float[np.ndarray, "A pieces"]:
        count = len(self.questions)
        found = np.zeros((len(answer), count + 2))
        for number, question in enumerate(self.questions):
            mass = question.mass(answer, 1) / count
            found[:, number] = mass[:, 0]
            found[:, count:] += mass[:, 1:]
        return found


def mixture(logprobs: Float[np.ndarray, "n A"]) -> Float[np.ndarray, "A"]:
    """Log-probability of each token after those before it by the mean of n distributions over whole texts:
    their sum over the tokens is that of the text.
    """
    texts = np.cumsum(logprobs, axis=1)
    means = np.logaddexp.reduce(texts, axis=0) - np.log(len(texts))
    return np.diff(means, prepend=0.0)


def drawn(questions: Sequence[Question], limits: Limits) -> tuple[Drawn, ...]:
    """The greedy answer to each of some questions of one size (`Drawing`)."""
    drawing = Drawing(questions, limits.max_tokens)
    answers = [_Answer(question, limits) for question in questions]
    while any(not one.ended for one in answers):
        for one, token in zip(answers, drawing.next(), strict=True):
            one.add(token)
    return tuple(one.drawn() for one in answers)


class _Answer:
    """An answer token by token, until it ends."""

    def __init__(self, question: Question, limits: Limits):
        self.tokenizer, self.limits = question.setting.model.tokenizer, limits
        self.special = set(self.tokenizer.special_ids.values()) - {self.tokenizer.eos_id}
        self.ids: list[int] = []
        self.text, self.ended = "", ""

    def add(self, token: int) -> None:
        """One more; nothing where it has ended."""
        if self.ended:
            return
        self.ids.append(token)
        if token in self.special:
            self.text, self.ended = self.tokenizer.decode(self.ids[:-1]), "stop"
            return
        self.text, stop = text_before(self.tokenizer, self.ids, self.limits.stops)
        if stop:
            self.ended = "stop"
        elif len(self.ids) == self.limits.max_tokens:
            self.ended = "length"

    def drawn(self) -> Drawn:
        """What there is of it."""
        ids, stops, spelled = self.ids, self.limits.stops, self.text.rstrip()
        # A special token that ended it may not be spelled by what is decoded: then all of them count.
        beginnings = (text_before(self.tokenizer, ids[:n], stops)[0] for n in range(1, len(ids)))
        least = next((n for n, one in enumerate(beginnings, start=1) if one.startswith(spelled)), len(ids))
        return Drawn(spelled.strip(), tuple(ids[:least]), self.ended)

"""How a model is asked: its prompts, its greedy answers, and what a vote makes of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from aila_jax.answering.answer import ABSTAIN
from aila_jax.answering.cache import Cache, Memory
from aila_jax.answering.modes import Asked, Drawn, Limits, ask
from aila_jax.answering.passages import Passage
from aila_jax.answering.prompts import (
    BRANCHES,
    CHAT,
    Prompt,
    chat_template,
    check_fits,
    check_model,
    prompt_of,
    stops_of,
)
from aila_jax.answering.slots import Setting
from aila_jax.answering.votes import Majority, majority
from aila_jax.config import require
from aila_jax.config.options import check_mode
from aila_jax.data.prompts import Template
from aila_jax.inference.language_model import LanguageModel
from experiments.answers.cells import Reading

LINE_END = "\n"


@dataclass(frozen=True)
class Form:
    """How a question becomes text.

    Attributes:
      chat: the model's chat template is around all of it.
      header: what comes first; empty for the template's own.
      begun: how the answer begins, after the question; part of what is given.
      max_tokens: of an answer.
    """

    chat: bool = False
    header: str = ""
    begun: str = ""
    max_tokens: int = 16

    def template(self, model: LanguageModel) -> Template:
        """The texts around passages and question."""
        plain = CHAT if self.chat else Template()
        plain = replace(plain, header=f"{self.header}\n") if self.header else plain
        made = chat_template(model, plain) if self.chat else plain
        return replace(made, question=made.question + self.begun)


@dataclass(frozen=True)
class Said:
    """What is said to one question.

    Attributes:
      drawn: the answer; in branches that of the first branch that says what the vote says.
      each: of all branches, else the answer alone.
      votes: in branches, the votes.
    """

    drawn: Drawn
    each: tuple[Drawn, ...]
    votes: Majority | None

    @property
    def text(self) -> str:
        return self.drawn.text

    @property
    def certified(self) -> int | None:
        """c; None where nothing is certified."""
        return None if self.votes is None else self.votes.certified


class Reader:
    """A model that reads passages in one way."""

    def __init__(self, model: LanguageModel, form: Form, reading: Reading):
        """Refuses a model that cannot be read so."""
        check_mode(reading.mode, reading.lam)
        check_model(model, reading.lam)
        self.model, self.form, self.reading = model, form, reading
        self.template = form.template(model)
        self.setting = Setting(model, reading.lam, 1.0, reading.hard or model.config.model.hard)
        self.limits = Limits(form.max_tokens, (*stops_of(model, None, form.chat), LINE_END))

    def prompt(self, question: str, passages: Sequence[str]) -> Prompt:
        """Their tokens; none of the passages where they are not read."""
        named = tuple(Passage(str(number), text) for number, text in enumerate(passages))
        own = named if self.reading.passages else ()
        return prompt_of(self.model, question, own, self.template, self.form.chat)

    def check(self, prompts: Sequence[Prompt], capacity: int) -> None:
        """ValueError where one does not fit."""
        for prompt in prompts:
            check_fits(self.model, prompt, self.reading.mode, capacity, self.form.max_tokens)

    def ask(self, prompt: Prompt, capacity: int, cache: Cache | None = None) -> Asked:
        """Encodes the passages."""
        return ask(self.setting, prompt, self.reading.mode, capacity, cache or Cache(Memory()))

    def said(self, each: Sequence[Drawn]) -> Said:
        """What branches, or one answer, say."""
        if self.reading.mode != BRANCHES:
            return Said(each[0], tuple(each), None)
        votes = majority([one.text for one in each], ABSTAIN)
        return Said(each[votes.leader.passages[0]], tuple(each), votes)


class Answers:
    """Answers to one question with several sets of passages. A branch says the same in any company, so each
    is drawn once.
    """

    def __init__(self, reader: Reader, question: str, capacity: int):
        """`capacity`: positions of every passage."""
        self.reader, self.question, self.capacity = reader, question, capacity
        self._drawn: dict[str, Drawn] = {}
        self._cache = Cache(Memory())

    def to(self, passages: Sequence[str]) -> Said:
        """The answer from these passages."""
        reader = self.reader
        if reader.reading.mode != BRANCHES:
            return reader.said(self._asked(passages).draw(reader.limits))
        fresh = [one for one in dict.fromkeys(passages) if one not in self._drawn]
        if fresh:
            each = self._asked(fresh).draw(reader.limits)
            self._drawn.update(zip(fresh, each, strict=True))
        return reader.said([self._drawn[one] for one in passages])

    def _asked(self, passages: Sequence[str]) -> Asked:
        prompt = self.reader.prompt(self.question, passages)
        return self.reader.ask(prompt, self.capacity, self._cache)


def capacity_of(model: LanguageModel, given: int, prompts: Sequence[Prompt]) -> int:
    """Positions of every passage in `isolated`: those that are given; those that a run was trained with; else
    as many as the longest passage has tokens.
    """
    data = model.config.data
    require(given >= 0, "--capacity", given, "at least 0", "0 takes the longest passage")
    trained = data.questions.capacity if data.corpus == "questions" else 0
    return given or trained or max(len(body) for prompt in prompts for body in prompt.bodies)

"""What all makers of questions return: passages, and what is asked of them, with planted sources."""

from dataclasses import dataclass

from aila_jax.config import require

ABSTAIN = "unknown"  # the answer where the passages state none, or contradict each other


@dataclass(frozen=True)
class Turn:
    """A question with its answer.

    Attributes:
      question: its text; may be empty where the answer is what goes on.
      answer: the one right answer.
      rationale: numbers of the passages that it follows from, ascending; empty where none is known.
      kind: what is asked, such as `one_hop`.
    """

    question: str
    answer: str
    rationale: tuple[int, ...] = ()
    kind: str = "given"


@dataclass(frozen=True)
class Example:
    """Passages and one question about them, or several, one asked after another.

    Attributes:
      passages: their texts, at least one.
      turns: the questions, at least one.
      title: a name for people.
    """

    passages: tuple[str, ...]
    turns: tuple[Turn, ...]
    title: str = ""

    def __post_init__(self) -> None:
        for name in ("passages", "turns"):
            value = getattr(self, name)
            require(len(value) > 0, f"example {self.title!r}: {name}", value, "at least one", "give one")
        count = len(self.passages)
        for turn in self.turns:
            known = all(0 <= number < count for number in turn.rationale)
            limit, fix = f"numbers from 0 to {count - 1}", "number the passages from 0"
            require(known, f"example {self.title!r}: rationale", turn.rationale, limit, fix)

    @property
    def question(self) -> str:
        """The first question."""
        return self.turns[0].question

    @property
    def answer(self) -> str:
        """The answer to the first question."""
        return self.turns[0].answer

    @property
    def rationale(self) -> tuple[int, ...]:
        """The sources of the first answer."""
        return self.turns[0].rationale

    @property
    def kind(self) -> str:
        """What the first question is."""
        return self.turns[0].kind

"""The cells of the study of answers: what is asked, with how many passages, and how they are read."""

from dataclasses import dataclass

from aila_jax.answering.prompts import BRANCHES, ISOLATED, TOGETHER
from aila_jax.config import QuestionConfig
from aila_jax.config.questions import KINDS
from aila_jax.data.questions.examples import Example
from aila_jax.data.questions.generate import generate

SPLIT = "test"
PASSAGES = (4, 8, 16)
MIDDLE = 8  # passages where one number of them is enough
LAMS = (0.0, 0.25, 0.5, 0.75, 1.0)
AGREE = 2  # c of the 2c + 1 passages that agree where answers are attacked


@dataclass(frozen=True)
class Reading:
    """How passages are read.

    Attributes:
      mode: of `ANSWER_MODES`.
      lam: λ.
      passages: whether they are there at all.
    """

    mode: str
    lam: float
    passages: bool = True

    @property
    def hard(self) -> bool:
        """Passages see themselves and the header alone."""
        return self.mode != TOGETHER


READINGS = {
    "none": Reading(TOGETHER, 0.0, passages=False),
    "together": Reading(TOGETHER, 0.0),
    **{f"together{lam:g}": Reading(TOGETHER, lam) for lam in LAMS[1:]},
    "isolated": Reading(ISOLATED, 1.0),
    "branches": Reading(BRANCHES, 1.0),
}
MODES = ("together", "isolated", "branches")


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
      task: `answers`, or `injected` where passages are replaced by others that claim something.
      kind: of the questions.
      passages: that the generator makes; more where more are planted.
      reading: a name of `READINGS`.
    """

    task: str
    kind: str
    passages: int
    reading: str

    @property
    def name(self) -> str:
        return f"{self.task}-{self.kind}-{self.passages}-{self.reading}"

    def examples(self, count: int, seed: int) -> tuple[Example, ...]:
        """Held-out questions; the same ones for every reading."""
        config = QuestionConfig(
            seed=seed, kinds=(self.kind,), least=self.passages, most=self.passages, agree=self.agree
        )
        return generate(config, SPLIT, count)

    @property
    def agree(self) -> int:
        return AGREE if self.task == "injected" else 1


def cells() -> dict[str, Cell]:
    """All of them by name, those of the goals first."""
    made = [Cell("answers", "one_hop", count, reading) for reading in MODES for count in PASSAGES]
    made.append(Cell("answers", "one_hop", MIDDLE, "none"))
    made += [Cell("injected", "redundant", MIDDLE, reading) for reading in MODES]
    made += [Cell("answers", "one_hop", MIDDLE, f"together{lam:g}") for lam in LAMS[1:]]
    made += [Cell("answers", kind, MIDDLE, reading) for kind in KINDS[1:] for reading in MODES]
    return {cell.name: cell for cell in made}

"""A prompt of passages: header, passages, then question and answer, with block and position of each token.

    header (every block) · passage 0 · … · passage P − 1 · question and answer (every block)

The header's tokens come first, so its queries see the header alone, and its keys are inside for everybody. A
question's queries see everything; its keys are inside for what comes after it alone, which is the answer.
So with hard attention passages cannot see each other (docs/method.md, section 15).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from aila_jax.config import require
from aila_jax.types import GLOBAL_ID


@dataclass(frozen=True)
class Template:
    """How a question and its passages become text. Each piece is tokenized by itself, so the tokens of a
    passage depend on it alone.

    Attributes:
      header: what comes first; may be empty where the model has a begin token.
      passage: with {passage} where its text stands.
      question: with {question} likewise; the answer follows at once.
    """

    header: str = "Answer the question from the passages.\n"
    passage: str = "{passage}\n"
    question: str = "Question: {question}\nAnswer:"

    def __post_init__(self) -> None:
        for name in ("passage", "question"):
            value, place = getattr(self, name), "{" + name + "}"
            fix = f"write {place} where it is to stand"
            require(value.count(place) == 1, f"template.{name}", value, f"text with one {place}", fix)

    def passage_text(self, text: str) -> str:
        """A passage as the prompt has it."""
        return self.passage.replace("{passage}", text)

    def question_text(self, text: str) -> str:
        """A question as the prompt has it."""
        return self.question.replace("{question}", text)


@dataclass(frozen=True, eq=False)
class Laid:
    """A prompt of L tokens, laid out.

    Attributes:
      tokens: token ids.
      positions: what the model takes their positions to be; tokens of several passages may share them.
      block_ids: GLOBAL_ID for header, question and answer; else the number of the passage.
    """

    tokens: Int[np.ndarray, "L"]
    positions: Int[np.ndarray, "L"]
    block_ids: Int[np.ndarray, "L"]


def lay_out(
    header: Sequence[int],
    passages: Sequence[Sequence[int]],
    question: Sequence[int],
    capacity: int | None = None,
) -> Laid:
    """The prompt as one row of tokens.

    Args:
      header: its token ids, the begin token among them.
      passages: those of each passage.
      question: those of question and answer.
      capacity: None numbers positions as tokens follow each other. A number gives every passage the same
        positions, right after the header, and the question those from header + capacity on, whatever passages
        there are.

    Raises:
      ValueError: a passage longer than `capacity`.
    """
    pieces = [header, *passages, question]
    tokens = np.concatenate([np.asarray(piece, np.int32) for piece in pieces])
    blocks = [GLOBAL_ID, *range(len(passages)), GLOBAL_ID]
    block_ids = np.repeat(np.asarray(blocks, np.int32), [len(piece) for piece in pieces])
    if capacity is None:
        return Laid(tokens, np.arange(len(tokens), dtype=np.int32), block_ids)
    for number, passage in enumerate(passages):
        fix = "raise capacity, or cut the passage in two"
        require(
            len(passage) <= capacity,
            f"passage {number}",
            f"{len(passage)} tokens",
            f"at most {capacity}",
            fix,
        )
    starts = [0, *[len(header)] * len(passages), len(header) + capacity]
    runs = [
        start + np.arange(len(piece), dtype=np.int32) for start, piece in zip(starts, pieces, strict=True)
    ]
    return Laid(tokens, np.concatenate(runs).astype(np.int32), block_ids)

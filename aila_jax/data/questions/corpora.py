"""Corpora of questions: examples of every kind as documents that are prompts."""

import random
from collections.abc import Callable
from dataclasses import replace

from aila_jax.config import DataConfig
from aila_jax.data.documents import SPLITS, Corpus, Document, Prompt
from aila_jax.data.prompts import Template
from aila_jax.data.questions.articles import ARTICLE, article_examples
from aila_jax.data.questions.examples import Example
from aila_jax.data.questions.generate import generate
from aila_jax.data.questions.json_lines import question_files
from aila_jax.data.questions.recall import RECALL, recall_examples


def as_document(example: Example, template: Template, title: str = "") -> Document:
    """An example as a prompt; a space goes before each answer, as after "Answer:"."""
    pieces = [template.header, *map(template.passage_text, example.passages)]
    for turn in example.turns:
        pieces += [template.question_text(turn.question), f" {turn.answer}"]
    return Document(example.title or title, tuple(pieces), prompt=Prompt(len(example.passages)))


def read_questions(config: DataConfig) -> Corpus:
    """The corpus that `config.corpus` names, where it is one of questions.

    Which prompts have equal positions is drawn by `data.questions.seed`.

    Raises:
      ValueError: whatever is wrong with files or settings.
    """
    if config.corpus == "question_files":
        corpus = question_files(config, lambda example: as_document(example, Template()))
    else:
        corpus = _made(config)
    return replace(
        corpus, splits={split: _drawn(config, split, found) for split, found in corpus.splits.items()}
    )


def _drawn(config: DataConfig, split: str, documents: tuple[Document, ...]) -> tuple[Document, ...]:
    """The documents with their share of equal positions."""
    draw = random.Random(f"{config.questions.seed} equal {split}")
    return tuple(
        replace(one, prompt=Prompt(one.prompt.passages, draw.random() < config.questions.equal))
        for one in documents
        if one.prompt is not None
    )


def split_sizes(config: DataConfig) -> dict[str, int]:
    """Prompts of each split."""
    count = config.questions.sequences
    shares = dict(zip(SPLITS, (1.0, config.valid_fraction, config.test_fraction), strict=True))
    return {split: max(1, round(count * share)) for split, share in shares.items()}


def _made(config: DataConfig) -> Corpus:
    make, template = _MAKERS[config.corpus]
    splits = {
        split: tuple(
            as_document(example, template, f"{config.corpus} {number}")
            for number, example in enumerate(make(config, split, count))
        )
        for split, count in split_sizes(config).items()
    }
    return Corpus(config.corpus, splits)


def _generated(config: DataConfig, split: str, count: int) -> tuple[Example, ...]:
    return generate(config.questions, split, count)


Maker = Callable[[DataConfig, str, int], tuple[Example, ...]]
_MAKERS: dict[str, tuple[Maker, Template]] = {
    "questions": (_generated, Template()),
    "recall_passages": (recall_examples, RECALL),
    "wikitext2_passages": (article_examples, ARTICLE),
}

"""WikiText-2 read in context, on articles made here: where passages come from, and what goes on."""

from dataclasses import replace

import pytest

from aila_jax.config import DataConfig, QuestionConfig
from aila_jax.data.documents import Document
from aila_jax.data.questions.articles import examples_of, paragraphs

ARTICLES = tuple(
    Document(
        f"article {number}",
        (f" = article {number} = ", *(f" a{number} p{line} {'word ' * 8}" for line in range(9)), " short "),
    )
    for number in range(4)
)
CONFIG = DataConfig(corpus="wikitext2_passages", questions=QuestionConfig(least=1, most=5, words=12))


def test_headings_and_lines_of_another_length_are_no_paragraphs() -> None:
    assert len(paragraphs(ARTICLES[0], 12)) == 9 and paragraphs(ARTICLES[0], 9) == ()


def test_passages_are_what_comes_before_among_paragraphs_of_others() -> None:
    found = examples_of(ARTICLES, CONFIG, "train", 300)
    places, sizes = set(), set()
    for example in found:
        own, at = example.answer.split()[:2]
        named = [tuple(passage.split()[:2]) for passage in example.passages]
        rationale = [number for number, (article, _) in enumerate(named) if article == own]
        assert tuple(rationale) == example.rationale
        lines = [int(named[number][1][1:]) for number in rationale]
        assert lines == list(range(int(at[1:]) - len(lines), int(at[1:])))  # right before, in order
        assert len(rationale) == -(-len(named) // 2)
        places.add(example.rationale[0])
        sizes.add(len(named))
    assert sizes == {1, 2, 3, 4, 5} and places == {0, 1, 2}
    assert found == examples_of(ARTICLES, CONFIG, "train", 300) != examples_of(ARTICLES, CONFIG, "test", 300)


def test_too_few_paragraphs_are_refused() -> None:
    few = replace(CONFIG, questions=replace(CONFIG.questions, words=9))
    with pytest.raises(ValueError, match=r"data\.questions\.words is 9: 0 of 4 articles .* Fix: raise"):
        examples_of(ARTICLES, few, "train", 3)

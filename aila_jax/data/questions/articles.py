"""WikiText-2 read in context: passages are paragraphs of an article, among paragraphs of others, and the
answer is how the article goes on. It is judged by the perplexity of the answer.
"""

import random
from pathlib import Path

from aila_jax.config import DataConfig
from aila_jax.data.cache import cache_directory
from aila_jax.data.documents import Document
from aila_jax.data.prompts import Template
from aila_jax.data.questions.examples import Example, Turn
from aila_jax.data.wikitext2 import read_wikitext2

ARTICLE = Template("Go on from the passages.\n", " {passage}\n", "{question}Next:")
LEAST_WORDS = 8  # shorter lines are headings


def article_examples(config: DataConfig, split: str, count: int) -> tuple[Example, ...]:
    """`count` examples of a split: of each, the paragraphs of one article right before the one that goes on,
    in their order, and as many of other articles at places among them; one more of its own where the number
    is odd.

    Raises:
      ValueError: too few paragraphs, or as `read_wikitext2`.
    """
    folder: Path = cache_directory(config.cache_dir) / "prepared"
    articles = read_wikitext2(config.data_dir, config.url, folder)[split]
    return examples_of(articles, config, split, count)


def paragraphs(article: Document, words: int) -> tuple[str, ...]:
    """The lines of an article that have from `LEAST_WORDS` to `words` words and are no headings."""
    lines = (line.strip() for line in article.pieces)
    return tuple(
        line for line in lines if LEAST_WORDS <= len(line.split()) <= words and not line.startswith("=")
    )


def examples_of(
    articles: tuple[Document, ...], config: DataConfig, split: str, count: int
) -> tuple[Example, ...]:
    """`article_examples` of these articles."""
    asked = config.questions
    texts = [(article.title, paragraphs(article, asked.words)) for article in articles]
    own = -(-asked.most // 2)
    whole = [number for number, (_, found) in enumerate(texts) if len(found) > own]
    others = sum(1 for _, found in texts if found) - 1
    if not whole or others < 1:
        raise ValueError(
            f"data.questions.words is {asked.words}: {len(whole)} of {len(texts)} articles of split {split!r} have"
            f" {own + 1} paragraphs of at most so many words, and {max(others, 0)} others have one; there must be 1"
            " of each. Fix: raise --config.data.questions.words, or lower --config.data.questions.most"
        )
    draw = random.Random(f"{asked.seed} articles {split}")
    return tuple(
        _example(texts, draw.choice(whole), draw, draw.randint(asked.least, asked.most)) for _ in range(count)
    )


def _example(
    texts: list[tuple[str, tuple[str, ...]]], article: int, draw: random.Random, count: int
) -> Example:
    title, found = texts[article]
    own = -(-count // 2)
    goes_on = draw.randrange(own, len(found))
    others = [number for number, (_, lines) in enumerate(texts) if lines and number != article]
    distractors = [draw.choice(texts[draw.choice(others)][1]) for _ in range(count - own)]
    places = sorted(draw.sample(range(count), own))
    before, between = iter(found[goes_on - own : goes_on]), iter(distractors)
    passages = tuple(next(before) if number in places else next(between) for number in range(count))
    return Example(passages, (Turn("", found[goes_on], tuple(places), "continuation"),), title)

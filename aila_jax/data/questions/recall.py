"""Multi-query recall as passages: pairs of a key and a value in passages, then keys asked one after another.

    k3 v7 k0 v2 / k5 v1 / k0 → v2, k3 → v7

Source: the task is that of Arora et al. (2023), "Zoology", here cut into passages.
"""

import random

from aila_jax.config import DataConfig
from aila_jax.data.prompts import Template
from aila_jax.data.questions.examples import Example, Turn

RECALL = Template("pairs\n", "{passage}\n", "{question}")


def recall_examples(config: DataConfig, split: str, count: int) -> tuple[Example, ...]:
    """`count` examples of a split. Keys of an example differ; the pairs are dealt to its passages as evenly
    as can be, at most one passage a pair.
    """
    rule, asked = config.rule, config.questions
    draw = random.Random(f"{asked.seed} recall {split}")
    return tuple(
        _example(
            draw.sample(range(rule.n_keys), rule.pairs),
            [draw.randrange(rule.n_values) for _ in range(rule.pairs)],
            min(draw.randint(asked.least, asked.most), rule.pairs),
            draw.sample(range(rule.pairs), rule.queries),
        )
        for _ in range(count)
    )


def _example(keys: list[int], values: list[int], passages: int, queries: list[int]) -> Example:
    """Pair number i stands in passage i · passages // pairs."""
    places = [number * passages // len(keys) for number in range(len(keys))]
    texts = [
        " ".join(
            f"k{key} v{value}"
            for key, value, place in zip(keys, values, places, strict=True)
            if place == passage
        )
        for passage in range(passages)
    ]
    turns = tuple(Turn(f"k{keys[pair]}", f"v{values[pair]}", (places[pair],), "recall") for pair in queries)
    return Example(tuple(texts), turns)

"""Synthetic corpora in which a rule determines some targets, so that what attention must read is known.

`recall` lists pairs of a key and a value, then asks for keys again; the target after an asked key is its
value:

    k3 v7 k0 v2 | k0 v2 k3 v7

`brackets` opens and closes brackets of several kinds; the cue `.` says that a bracket closes now, and which
one is determined:

    (1 (0 . )0 (2 . )2 . )1

The pointer of such a target is the position that attention must read: the value's own token in its pair, or
the opening bracket that matches. Every other target is a free choice (or the end of a sequence) and has no
pointer.
Source: ours (docs/method.md, section 5).
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from aila_jax.config import DataConfig, RuleConfig
from aila_jax.data.documents import Corpus, Document

SEPARATOR, CUE = "|", "."


@dataclass(frozen=True)
class Sequence:
    """One sequence of a rule corpus.

    Attributes:
      words: its tokens.
      pointers: for each, the index of the word that determines the next one, −1 where the rule does not.
    """

    words: tuple[str, ...]
    pointers: tuple[int, ...]


def recall(rule: RuleConfig, draw: random.Random) -> Sequence:
    """Pairs with different keys, the separator, then `queries` of them again in another order."""
    keys = draw.sample(range(rule.n_keys), rule.pairs)
    values = [draw.randrange(rule.n_values) for _ in keys]
    asked = draw.sample(range(rule.pairs), rule.queries)
    words = [word for key, value in zip(keys, values, strict=True) for word in (f"k{key}", f"v{value}")] + [
        SEPARATOR
    ]
    pointers = [-1] * len(words)
    for pair in asked:
        words += [f"k{keys[pair]}", f"v{values[pair]}"]
        pointers += [2 * pair + 1, -1]
    return Sequence(tuple(words), tuple(pointers))


def brackets(rule: RuleConfig, draw: random.Random) -> Sequence:
    """`brackets` pairs, at most `depth` open at once; where both are allowed, opening and closing are equally
    likely.
    """
    words: list[str] = []
    pointers: list[int] = []
    stack: list[tuple[int, int]] = []  # position and kind of what is open
    left = rule.brackets
    while left or stack:
        opens = left > 0 and (not stack or (len(stack) < rule.depth and draw.random() < 0.5))
        if opens:
            stack.append((len(words), draw.randrange(rule.kinds)))
            words.append(f"({stack[-1][1]}")
            pointers.append(-1)
            left -= 1
        else:
            position, kind = stack.pop()
            words += [CUE, f"){kind}"]
            pointers += [position, -1]
    return Sequence(tuple(words), tuple(pointers))


_RULES: dict[str, Callable[[RuleConfig, random.Random], Sequence]] = {"recall": recall, "brackets": brackets}


def generate_rule_corpus(config: DataConfig) -> Corpus:
    """The corpus `config.corpus` with its pointers; the same settings give the same corpus, and no two
    sequences are alike.

    Raises:
      ValueError: the settings allow fewer different sequences than are asked for.
    """
    rule = config.rule
    sizes = {"train": rule.sequences}
    for split, share in (("validation", config.valid_fraction), ("test", config.test_fraction)):
        sizes[split] = max(1, round(rule.sequences * share))
    drawn = _different(lambda draw: _RULES[config.corpus](rule, draw), sum(sizes.values()), rule.seed)
    splits, pointers, start = {}, {}, 0
    for split, size in sizes.items():
        part = drawn[start : start + size]
        start += size
        splits[split] = tuple(
            Document(f"{config.corpus} {number}", (" ".join(one.words),)) for number, one in enumerate(part)
        )
        pointers[split] = _stream_pointers(part)
    return Corpus(config.corpus, splits, pointers)


def _different(make: Callable[[random.Random], Sequence], count: int, seed: int) -> list[Sequence]:
    """`count` sequences, no two alike."""
    draw = random.Random(seed)
    found: dict[tuple[str, ...], Sequence] = {}
    for _ in range(20 * count):
        one = make(draw)
        found.setdefault(one.words, one)
        if len(found) == count:
            return list(found.values())
    raise ValueError(
        f"data.rule.sequences is too many: the splits need {count} different sequences, and {20 * count}"
        f" draws gave {len(found)}. Fix: lower --config.data.rule.sequences, or make the sequences longer or"
        " their alphabet larger"
    )


def _stream_pointers(sequences: list[Sequence]) -> np.ndarray:
    """Positions in the stream of all sequences, each followed by one line end, which has no pointer."""
    parts, start = [], 0
    for one in sequences:
        own = np.array([*one.pointers, -1], np.int32)
        parts.append(np.where(own >= 0, own + start, -1))
        start += len(own)
    return np.concatenate(parts).astype(np.int32)

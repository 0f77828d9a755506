"""Class-bigram models in plain Python: log-likelihood token by token, partitions by enumeration."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise


def data_bits(tokens: Sequence[int], classes: Sequence[int]) -> float:
    """−Σ log2 of p(c′ | c) · p(w′ | c′) over adjacent pairs, with relative frequencies as the
    probabilities.
    """
    pairs = [(int(a), int(b)) for a, b in pairwise(tokens)]
    crossings = Counter((classes[a], classes[b]) for a, b in pairs)
    starts = Counter(classes[a] for a, _ in pairs)
    ends, words = Counter(classes[b] for _, b in pairs), Counter(b for _, b in pairs)
    bits = 0.0
    for a, b in pairs:
        transition = crossings[classes[a], classes[b]] / starts[classes[a]]
        emission = words[b] / ends[classes[b]]
        bits -= math.log2(transition * emission)
    return bits


def mutual_information(pairs: Sequence[tuple[int, int]]) -> float:
    """I of the two sides of a list of pairs, in bits a pair."""
    joint, left, right = Counter(pairs), Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    count = len(pairs)
    return sum(n / count * math.log2(n * count / (left[a] * right[b])) for (a, b), n in joint.items())


def model_bits(vocab: int, classes: int, pairs: int) -> float:
    """Term by term: class of each type, transition probabilities, probabilities of types in their classes."""
    table = vocab * math.log2(classes)
    transitions = sum(0.5 * math.log2(pairs) for _ in range(classes) for _ in range(classes - 1))
    return table + transitions + (vocab - classes) * 0.5 * math.log2(pairs)


def partitions(types: Sequence[int]) -> Iterator[dict[int, int]]:
    """Every partition of `types`, as the class of each."""
    if not types:
        yield {}
        return
    for rest in partitions(types[1:]):
        size = max(rest.values(), default=-1) + 1
        for which in range(size + 1):
            yield {types[0]: which, **rest}

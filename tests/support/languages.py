"""Small languages whose classes are known."""

import numpy as np


def cyclic(classes: list[list[int]], length: int, seed: int = 0) -> np.ndarray:
    """Classes follow one another in a circle; the types of a class are drawn with odds 1, 2, 3 …, whatever
    came before.
    """
    rng = np.random.default_rng(seed)
    words = [
        rng.choice(types, length, p=np.arange(1, len(types) + 1) / sum(range(1, len(types) + 1)))
        for types in classes
    ]
    return np.stack(words, axis=1).reshape(-1)[:length].astype(np.int32)


def noisy(vocab: int, groups: int, length: int, seed: int = 0) -> np.ndarray:
    """A Markov chain over `groups` classes of types with odds like 1/rank, the types of a class being those
    equal mod `groups`.
    """
    rng = np.random.default_rng(seed)
    step = rng.dirichlet(np.full(groups, 0.3), groups)
    weights = rng.permutation(1.0 / np.arange(1, vocab + 1))
    which, tokens = 0, []
    for _ in range(length):
        which = rng.choice(groups, p=step[which])
        members = np.arange(which, vocab, groups)
        tokens.append(rng.choice(members, p=weights[members] / weights[members].sum()))
    return np.array(tokens, np.int32)


def same_classes(table: np.ndarray, classes: list[list[int]]) -> bool:
    """Whether `table` groups the types exactly as `classes` does."""
    found = {frozenset(np.flatnonzero(table == which).tolist()) for which in np.unique(table)}
    return found == {frozenset(types) for types in classes}

"""Class numbers that depend on the classes alone, for every type of the vocabulary."""

import numpy as np
from jaxtyping import Int

from aila_jax.partition.bigrams import Bigrams
from aila_jax.partition.class_table import ClassTable


def class_table(table: Int[np.ndarray, "V"], note: str) -> ClassTable:
    """The classes 0 … G − 1 under the names `c0`, `c1` and so on."""
    return ClassTable(tuple(f"c{number}" for number in range(int(table.max()) + 1)), table, note)


def canonical(bigrams: Bigrams, of: Int[np.ndarray, "V"]) -> Int[np.ndarray, "V"]:
    """The same classes, numbered by their tokens, most first; types that never occur get the class with most
    types that do.
    """
    seen = bigrams.seen
    tokens = np.bincount(of[seen], (bigrams.first + bigrams.second)[seen])
    lowest = np.full(len(tokens), len(of))
    np.minimum.at(lowest, of[seen], seen)
    number = np.empty(len(tokens), np.int64)
    number[np.lexsort((lowest, -tokens))] = np.arange(len(tokens))
    table = np.full(len(of), -1, np.int64)
    table[seen] = number[of[seen]]
    table[table < 0] = np.argmax(np.bincount(table[seen]))
    return table

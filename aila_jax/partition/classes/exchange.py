"""The exchange algorithm: types move, one after another, to the class that saves most bits."""

import numpy as np
from jaxtyping import Int

from aila_jax.partition.classes.bigrams import Bigrams
from aila_jax.partition.classes.class_counts import ClassCounts
from aila_jax.partition.classes.class_table import ClassTable


def by_frequency(bigrams: Bigrams) -> Int[np.ndarray, "S"]:
    """The types that occur, most frequent first; ties by the lower index."""
    counts = bigrams.first + bigrams.second
    return bigrams.seen[np.argsort(-counts[bigrams.seen], kind="stable")]


def deal(bigrams: Bigrams, classes: int) -> Int[np.ndarray, "V"]:
    """The types that occur dealt out to `classes` classes in turn, most frequent first; 0 for all others."""
    order = by_frequency(bigrams)
    of = np.zeros(bigrams.vocab_size, np.int64)
    of[order] = np.arange(len(order)) % classes
    return of


def exchange(state: ClassCounts, order: Int[np.ndarray, "S"], least: float) -> int:
    """One sweep: each type in turn goes to the class, the lowest of equals, that saves most bits, if that is
    more than `least`.

    The last member of a class stays, so the number of classes does, and with it the model bits: every move
    lowers the bits.

    Returns:
      How many types moved.
    Source: Kneser & Ney 1993, Martin, Liermann & Ney 1998 (the exchange algorithm for class bigrams).
    """
    sizes = np.bincount(state.of[order], minlength=state.size)
    moved = 0
    for word in order:
        if sizes[state.of[word]] == 1:
            continue
        gains = state.move_gains(word)
        target = int(np.argmax(gains))
        if gains[target] > least:
            sizes[state.of[word]] -= 1
            sizes[target] += 1
            state.move(word, target)
            moved += 1
    return moved


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

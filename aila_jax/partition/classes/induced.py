"""Word classes induced from the corpus: a distributional clustering of the types into a given number of
classes.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from aila_jax.config import require
from aila_jax.partition.classes.bigrams import count_bigrams
from aila_jax.partition.classes.class_counts import ClassCounts
from aila_jax.partition.classes.class_table import ClassTable
from aila_jax.partition.classes.description_length import rounding
from aila_jax.partition.classes.exchange import by_frequency, canonical, class_table, deal, exchange

MAX_SWEEPS = 20


def induced_classes(
    tokens: Int[np.ndarray, "T"],
    vocab_size: int,
    n_classes: int,
    *,
    max_sweeps: int = MAX_SWEEPS,
    on_sweep: Callable[[int, int], None] | None = None,
) -> ClassTable:
    """Classes whose bigrams tell most of the next class: the exchange algorithm at a fixed number of classes.

    It raises I(c; c′), the mutual information of adjacent classes, and so types with the same neighbours come
    together. Deterministic: the types start dealt out to the classes in turn, by frequency, and move one
    after another in that order.

    Args:
      tokens: those of the training split, in order.
      vocab_size: V.
      n_classes: G, from 2 to the number of types that occur.
      max_sweeps: over all types, at least 1; it ends earlier when no type moves.
      on_sweep: told each sweep's number and types moved.

    Returns:
      The classes, the one with most tokens first. Types that never occur are in the class of most types.

    Raises:
      ValueError: a number outside its limits, or tokens outside the vocabulary.
    Source: Kneser & Ney 1993, Martin, Liermann & Ney 1998; its use as a partition and the start ours
      (docs/method.md, section 9).
    """
    require(max_sweeps >= 1, "max_sweeps", max_sweeps, "at least 1", "20 is enough for most texts")
    bigrams = count_bigrams(tokens, vocab_size)
    order = by_frequency(bigrams)
    require(
        2 <= n_classes <= len(order),
        "the number of classes to induce",
        n_classes,
        f"from 2 to the {len(order)} types that occur in the training split",
        f"choose {min(50, len(order))}",
    )
    state = ClassCounts(bigrams, deal(bigrams, n_classes))
    for sweep in range(1, max_sweeps + 1):
        moved = exchange(state, order, rounding(bigrams.pairs))
        if on_sweep is not None:
            on_sweep(sweep, moved)
        if not moved:
            break
    note = (
        f"{n_classes} classes of types with like neighbours, induced from the bigrams of the training split"
    )
    return class_table(canonical(bigrams, state.of), note)

"""A proposal of how a class falls into two: by the leading direction of its members' contexts, then by
likelihood.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Int

from aila_jax.partition.classes.bigrams import Bigrams
from aila_jax.partition.classes.class_counts import ClassCounts

CONTEXTS = 256  # the most frequent types, each a context of its own; all others together are one more
POWER_STEPS = 30
LIKELIHOOD_STEPS = 12
PRIOR = 0.5  # counts added to each cell, so that a class never seen beside one half does not decide alone


@dataclass(frozen=True, eq=False)
class Split:
    """Two halves of a class. `upper`: the types that would leave it. `gain`: bits of data saved."""

    upper: Bool[np.ndarray, "V"]
    gain: float


def context_columns(bigrams: Bigrams) -> Int[np.ndarray, "V"]:
    """The context that each type is counted under: its rank among the most frequent, or CONTEXTS; ties by the
    lower index.
    """
    order = np.argsort(-(bigrams.first + bigrams.second), kind="stable")
    columns = np.full(bigrams.vocab_size, min(CONTEXTS, bigrams.vocab_size), np.int64)
    columns[order[:CONTEXTS]] = np.arange(min(CONTEXTS, bigrams.vocab_size))
    return columns


def propose_split(state: ClassCounts, which: int, columns: Int[np.ndarray, "V"]) -> Split | None:
    """The best of the halves met on the way; None where the class has one member, or all its members the same
    contexts.
    """
    members = state.members(which)
    if len(members) < 2:
        return None
    upper = _leading_halves(state.bigrams, members, columns)
    best = None
    for _ in range(LIKELIHOOD_STEPS):
        if not upper.any() or upper.all():
            break
        mask = np.zeros(state.bigrams.vocab_size, bool)
        mask[members[upper]] = True
        gain = state.split_gain(which, mask)
        if best is None or gain > best.gain:
            best = Split(mask, gain)
        upper = _likelier_halves(state, which, members, mask)
    return best


def _leading_halves(
    bigrams: Bigrams, members: Int[np.ndarray, "M"], columns: Int[np.ndarray, "V"]
) -> Bool[np.ndarray, "M"]:
    """The side of the mean that each member lies on along the direction in which the members' contexts differ
    most.

    That is the leading right singular vector of √n(w, context) less its part that only says how frequent w
    is, by power iteration. Roots, because raw counts see only the frequent contexts and ratios only the rare
    ones. All False where the contexts are alike.
    """
    size = int(columns.max()) + 1
    sides = []
    for side, matrix in enumerate((bigrams.following, bigrams.preceding)):
        part = matrix[members].tocoo()
        sides.append((part.data, part.row, columns[part.col] + side * size))
    data, rows, places = (np.concatenate(arrays) for arrays in zip(*sides, strict=True))
    counts = scipy.sparse.csr_array((data.astype(np.float64), (rows, places)), shape=(len(members), 2 * size))
    root_row = np.sqrt(counts.sum(1))
    roots = counts.sqrt()
    mean = roots.T @ root_row / (root_row @ root_row)
    transposed = roots.T.tocsr()

    heaviest = np.argmax(root_row)
    values = np.zeros(len(members))
    values[heaviest] = 1.0
    for _ in range(POWER_STEPS):
        vector = transposed @ values - mean * (root_row @ values)
        length = np.sqrt(vector @ vector)
        if length <= 1e-9:
            return np.zeros(len(members), bool)
        values = (roots @ vector - root_row * (mean @ vector)) / length
    # The members on the heaviest one's side stay, whatever sign the iteration ended with.
    return values * np.sign(values[heaviest]) < 0


def _likelier_halves(
    state: ClassCounts, which: int, members: Int[np.ndarray, "M"], upper: Bool[np.ndarray, "V"]
) -> Bool[np.ndarray, "M"]:
    """Each member on the side under whose class transitions its own contexts are likelier, the sides as they
    are.
    """
    trial = state.of.copy()
    trial[upper] = state.size
    odds = np.zeros(len(members))
    for matrix in (state.bigrams.following, state.bigrams.preceding):
        part = matrix[members].tocoo()
        half, classes = upper[members][part.row], trial[part.col]
        counts = (
            np.bincount(half * (state.size + 1) + classes, part.data, 2 * (state.size + 1)).reshape(2, -1)
            + PRIOR
        )
        log = np.log(counts / counts.sum(1, keepdims=True))
        odds += np.bincount(part.row, part.data * (log[1] - log[0])[classes], len(members))
    return odds > 0

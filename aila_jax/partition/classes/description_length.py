"""How many bits a class-bigram model and a text told by it take, and how many classes can ever pay for
themselves.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from aila_jax.partition.classes.bigrams import Bigrams


@dataclass(frozen=True)
class DescriptionLength:
    """Bits of N adjacent pairs under a class-bigram model with G classes over V types.

    Attributes:
      data_bits: N · (H(w′) − I(c; c′)), at least 0.
      model_bits: of the class table and the model's probabilities, at least 0.
    """

    data_bits: float
    model_bits: float

    @property
    def total_bits(self) -> float:
        """Data bits and model bits together."""
        return self.data_bits + self.model_bits


def description_length(bigrams: Bigrams, table: Int[np.ndarray, "V"]) -> DescriptionLength:
    """The bits of the model p(w′ | w) = p(c′ | c) · p(w′ | c′) with the relative frequencies as its
    probabilities.

        data bits  = −Σ log2 p(w′ | w) = N · (H(w′) − I(c; c′))
        model bits = V log2 G + ½ G(G − 1) log2 N + ½ (V − G) log2 N

    H is the entropy of the *second* token of a pair, the one predicted (it differs from that of the first by
    the text's two ends alone), and I the mutual information of the pair's classes, each with its own
    marginal: so the first line is exact.

    Args:
      bigrams: N pairs.
      table: the class of each type; entries of types that do not occur are not looked at.
    Source: ours (docs/method.md, section 9), after 2510.17358's penalised likelihood.
    """
    pairs = bigrams.following.tocoo()
    classes, dense = np.unique(table[bigrams.seen], return_inverse=True)
    compact = np.zeros(bigrams.vocab_size, np.int64)
    compact[bigrams.seen] = dense
    size = len(classes)
    joint = np.bincount(compact[pairs.row] * size + compact[pairs.col], pairs.data, size * size)
    marginals = (np.bincount(compact, side, size) for side in (bigrams.first, bigrams.second))
    shared = _n_log_n(joint) - sum(map(_n_log_n, marginals)) + _n_log_n(np.array([bigrams.pairs]))
    return DescriptionLength(
        second_bits(bigrams) - shared, float(model_bits(bigrams.vocab_size, size, bigrams.pairs))
    )


def second_bits(bigrams: Bigrams) -> float:
    """N · H(w′): the data bits of a single class."""
    return _n_log_n(np.array([bigrams.pairs])) - _n_log_n(bigrams.second)


def pair_bits(bigrams: Bigrams) -> float:
    """N · I(w; w′): what classes save at most, with every type a class of its own."""
    first, second = _n_log_n(bigrams.first), _n_log_n(bigrams.second)
    return max(_n_log_n(bigrams.following.data) - first - second + _n_log_n(np.array([bigrams.pairs])), 0.0)


def model_bits(
    vocab_size: int, classes: int | Int[np.ndarray, "*any"], pairs: int
) -> float | Float[np.ndarray, "*any"]:
    """V log2 G + ½ G(G − 1) log2 N + ½ (V − G) log2 N.

    The class of each type, G rows of G − 1 free transition probabilities, and V − G free probabilities of
    types in their classes, each of these at ½ log2 N bits.
    """
    free = classes * (classes - 1) + (vocab_size - classes)
    return vocab_size * np.log2(classes) + 0.5 * free * np.log2(pairs)


def rounding(pairs: int) -> float:
    """A gain in bits that is not above this could be rounding in float64: 10⁻¹² of N log2 N, of whose size
    the sums are.
    """
    return 1e-12 * pairs * np.log2(pairs + 1)


def most_classes(bigrams: Bigrams, below: float) -> int:
    """The largest G, at most the types seen, whose bits could be below `below`.

    Because I(c; c′) ≤ min(log2 G, I(w; w′)), G classes take at least N·H(w′) − min(N log2 G, N·I(w; w′)) data
    bits; beyond this G the model bits exceed what the classes can save. 1 where no G can.
    """
    sizes = np.arange(1, len(bigrams.seen) + 1)
    saved = np.minimum(bigrams.pairs * np.log2(sizes), pair_bits(bigrams))
    least = second_bits(bigrams) - saved + model_bits(bigrams.vocab_size, sizes, bigrams.pairs)
    possible = np.flatnonzero(least < below)
    return int(sizes[possible[-1]]) if len(possible) else 1


def _n_log_n(counts: np.ndarray) -> float:
    """Σ n log2 n in float64, 0 · log2 0 = 0."""
    counts = np.asarray(counts, np.float64)
    return float(np.sum(counts * np.log2(np.maximum(counts, 1.0))))

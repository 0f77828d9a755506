"""Counts of adjacent pairs of tokens, from which word classes are made."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from jaxtyping import Int

from aila_jax.config import require


@dataclass(frozen=True, eq=False)
class Bigrams:
    """How often each type follows each other one, over N adjacent pairs of tokens.

    Attributes:
      following: [V, V] sparse rows; (w, v) counts the pairs "w, then v".
      preceding: [V, V] sparse rows; (w, v) counts the pairs "v, then w": the transpose.
      first: how often each type is the first of a pair; sums to N.
      second: how often it is the second; sums to N.
    """

    following: scipy.sparse.csr_array
    preceding: scipy.sparse.csr_array
    first: Int[np.ndarray, "V"]
    second: Int[np.ndarray, "V"]

    @property
    def pairs(self) -> int:
        """N."""
        return int(self.first.sum())

    @property
    def vocab_size(self) -> int:
        """V."""
        return len(self.first)

    @property
    def seen(self) -> Int[np.ndarray, "S"]:
        """The types that occur, in rising order."""
        return np.flatnonzero(self.first + self.second)


def count_bigrams(tokens: Int[np.ndarray, "T"], vocab_size: int) -> Bigrams:
    """The N = T − 1 adjacent pairs of `tokens`; memory grows with the number of different pairs, not with V².

    Args:
      tokens: ids in [0, vocab_size), at least 2 different ones.
      vocab_size: V.

    Raises:
      ValueError: tokens that are not one row of whole numbers, an id outside the vocabulary, or fewer than 2
        different types.
    """
    tokens = np.asarray(tokens)
    given = f"{tokens.ndim}-dimensional {tokens.dtype}"
    require(
        tokens.ndim == 1 and np.issubdtype(tokens.dtype, np.integer),
        "tokens",
        given,
        "one row of whole numbers",
        "give the token ids of a text, joined to one array",
    )
    outside = tokens[(tokens < 0) | (tokens >= vocab_size)]
    require(
        not len(outside),
        "a token id of the training split",
        int(outside[0]) if len(outside) else None,
        f"in [0, {vocab_size})",
        "give the vocabulary size of the tokenizer that made the tokens",
    )
    different = len(np.unique(tokens))
    require(different >= 2, "types seen in the training split", different, "at least 2", "give more text")
    keys, counts = np.unique(tokens[:-1].astype(np.int64) * vocab_size + tokens[1:], return_counts=True)
    rows, columns = np.divmod(keys, vocab_size)
    following = scipy.sparse.csr_array((counts, (rows, columns)), shape=(vocab_size, vocab_size))
    return Bigrams(
        following=following,
        preceding=following.T.tocsr(),
        first=np.bincount(tokens[:-1], minlength=vocab_size),
        second=np.bincount(tokens[1:], minlength=vocab_size),
    )

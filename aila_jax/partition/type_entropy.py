"""Local entropy of token types, measured in two ways: from the corpus' bigrams, or from attention inside
blocks.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True, eq=False)
class TypeEntropy:
    """A table over V types.

    Attributes:
      entropy: as a share of the largest possible value, in [0, 1]. Types without an occurrence have the
        largest entry of the others.
      counts: occurrences that each entry was measured on.
    """

    entropy: Float[np.ndarray, "V"]
    counts: Int[np.ndarray, "V"]


def corpus_entropy(
    first: Int[np.ndarray, "P"], second: Int[np.ndarray, "P"], vocab_size: int, prior: float = 100.0
) -> TypeEntropy:
    """Entropy of the next token given the type, ÷ log2 V, from the bigrams (first[i], second[i]).

        p(b | a) = (n(a, b) + κ u(b)) / (n(a) + κ)          u: relative frequencies of the next tokens

    A Dirichlet prior of κ counts. A small κ ranks rare types lowest, since whatever they were seen with looks
    certain; κ of about 100 asks for evidence. Memory grows with the number of different bigrams, not with V².

    Args:
      first: token ids of P bigrams, at least one.
      second: the ids that follow them.
      vocab_size: V, at least 2.
      prior: κ, finite and above 0.
    Source: ours (docs/method.md, section 4).
    """
    counts = np.bincount(first, minlength=vocab_size)
    unigram = np.bincount(second, minlength=vocab_size) / len(second)
    pairs, seen = np.unique(first.astype(np.int64) * vocab_size + second, return_counts=True)
    context, following = np.divmod(pairs, vocab_size)
    total = counts + prior
    share = prior / total  # of the prior in p(· | a)
    with np.errstate(divide="ignore"):
        log_unigram = np.where(unigram > 0, np.log2(unigram), 0.0)
    # Types b never seen after a have p(b | a) = share_a · u(b). Their part is that of all types less that of
    # the seen ones.
    u, log_u = unigram[following], log_unigram[following]
    rest_mass = 1.0 - np.bincount(context, u, vocab_size)
    rest_entropy = -(unigram @ log_unigram) + np.bincount(context, u * log_u, vocab_size)
    unseen = share * (rest_entropy - np.log2(share) * rest_mass)
    p = (seen + prior * u) / total[context]
    bits = np.bincount(context, -p * np.log2(p), vocab_size) + unseen
    return _table(bits / np.log2(vocab_size), counts)


class EntropySums:
    """Adds up a number per token by the token's type, over batches. Float64 and exact counts, on the host."""

    def __init__(self, vocab_size: int):
        self._sums, self._counts = np.zeros(vocab_size), np.zeros(vocab_size, np.int64)

    def add(
        self, tokens: Int[np.ndarray, "B L"], values: Float[np.ndarray, "B L"], where: Bool[np.ndarray, "B L"]
    ) -> None:
        """Adds `values` of the positions `where` to their tokens' types."""
        kept = tokens[where]
        self._sums += np.bincount(kept, np.asarray(values, np.float64)[where], len(self._sums))
        self._counts += np.bincount(kept, minlength=len(self._counts))

    def table(self) -> TypeEntropy:
        """The mean of each type.

        Raises:
          ValueError: nothing was added.
        """
        if not self._counts.any():
            raise ValueError(
                "anchors.estimator is 'attention', but no query has two keys in its block; at least one must."
                " Fix: a partition with longer blocks, or set --config.anchors.estimator=corpus"
            )
        return _table(self._sums / np.maximum(self._counts, 1), self._counts)


def _table(entropy: Float[np.ndarray, "V"], counts: Int[np.ndarray, "V"]) -> TypeEntropy:
    """The table in float32, rounding kept inside [0, 1], and the largest measured entry where nothing was
    measured.
    """
    entropy = np.where(counts > 0, entropy, entropy[counts > 0].max())
    return TypeEntropy(np.clip(entropy, 0.0, 1.0).astype(np.float32), counts.astype(np.int64))

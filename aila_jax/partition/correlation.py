"""How alike the vectors of a partition's blocks are: ρ between block means, and of tokens with their block's
mean.
"""

import functools
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

MAX_BLOCKS = 4096  # more of them make a matrix of cosines that says nothing: ids of data, each seen once
PARALLEL = 0.999  # from here on two means have one direction, and 1 − ρ is noise
FEWEST_BLOCKS = 3  # the means of two blocks, taken from their common mean, always point apart


@dataclass(frozen=True, eq=False)
class VectorSums:
    """Sums of vectors by block id, over tokens.

    Attributes:
      ids: of the blocks, ascending.
      counts: their tokens.
      sums: their vectors added up.
    """

    ids: Int[np.ndarray, " G"]
    counts: Int[np.ndarray, " G"]
    sums: Float[np.ndarray, "G D"]

    def __add__(self, other: "VectorSums") -> "VectorSums":
        ids, which = np.unique(np.concatenate([self.ids, other.ids]), return_inverse=True)
        counts, sums = np.zeros(len(ids), np.int64), np.zeros((len(ids), self.sums.shape[1]))
        np.add.at(counts, which, np.concatenate([self.counts, other.counts]))
        np.add.at(sums, which, np.concatenate([self.sums, other.sums]))
        return VectorSums(ids, counts, sums)

    @property
    def centre(self) -> Float[np.ndarray, "D"]:
        """The mean of all vectors."""
        return self.sums.sum(axis=0) / self.counts.sum()

    @property
    def directions(self) -> Float[np.ndarray, "G D"]:
        """Each block's mean less the mean of all, at length 1; 0 where they are the same."""
        return _unit(self.sums / self.counts[:, None] - self.centre)


@dataclass(frozen=True)
class Rho:
    """|cosine| between the means of two blocks, the mean of all taken off.

    Attributes:
      largest: in [0, .999); None for fewer than 3 blocks, more than 4,096, or from .999 on.
      mean: in [0, 1]; None for fewer than 3 blocks or more than 4,096.
      undefined: why `largest` is None; "" where it is not.
    """

    largest: float | None
    mean: float | None
    undefined: str = ""


@dataclass(frozen=True)
class BlockCorrelation:
    """Cosines of vectors less the mean of all.

    Attributes:
      rho_max: between the means of two blocks, see `Rho`; so are rho_mean and rho_undefined.
      within: mean cosine of a token with its block's mean, in [−1, 1].
      blocks: that were read.
      tokens: that were read.
    """

    rho_max: float | None
    rho_mean: float | None
    rho_undefined: str
    within: float
    blocks: int
    tokens: int


def vector_sums(block_ids: Int[np.ndarray, "B L"], vectors: Float[np.ndarray, "B L D"]) -> VectorSums:
    """The sums of one batch; padding and tokens of every block are in no block."""
    kept = block_ids >= 0
    ids, which = np.unique(block_ids[kept], return_inverse=True)
    counts = np.bincount(which, minlength=len(ids))
    sums = np.zeros((len(ids), vectors.shape[-1]))
    np.add.at(sums, which, vectors[kept].astype(np.float64))
    return VectorSums(ids.astype(np.int64), counts, sums)


def rho(sums: VectorSums) -> Rho:
    """Largest and mean |cosine| between the means of two blocks, the mean of all taken off."""
    blocks = len(sums.ids)
    if blocks < FEWEST_BLOCKS:
        return Rho(None, None, f"fewer than {FEWEST_BLOCKS} blocks ({blocks}) always correlate fully")
    if blocks > MAX_BLOCKS:
        return Rho(None, None, f"{blocks:,} blocks are more than the {MAX_BLOCKS:,} that are compared")
    directions = sums.directions
    cosines = np.abs(directions @ directions.T)[np.triu_indices(blocks, 1)]
    largest, mean = float(cosines.max()), float(cosines.mean())
    return Rho(largest, mean) if largest < PARALLEL else Rho(None, mean, f"ρ_max is {PARALLEL} or more")


def block_correlation(
    read: Callable[[], Iterable[tuple[Int[np.ndarray, "B L"], Float[np.ndarray, "B L D"]]]],
) -> BlockCorrelation:
    """Correlation over the batches of (block ids, vectors) that `read()` gives; called twice, for the means
    and for the tokens' cosines.

    Source: ρ_max from the threshold formula (paper); what the means are of, and the rest, ours
      (docs/method.md, section 1).
    """
    whole = functools.reduce(operator.add, (vector_sums(ids, vectors) for ids, vectors in read()))
    centre, directions = whole.centre, whole.directions
    cosine = 0.0
    for ids, vectors in read():
        kept = ids >= 0
        own = directions[np.searchsorted(whole.ids, ids[kept])]
        cosine += float(np.sum(_unit(vectors[kept].astype(np.float64) - centre) * own))
    found = rho(whole)
    tokens = int(whole.counts.sum())
    return BlockCorrelation(
        found.largest, found.mean, found.undefined, cosine / tokens, len(whole.ids), tokens
    )


def _unit(vectors: Float[np.ndarray, "T D"]) -> Float[np.ndarray, "T D"]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)

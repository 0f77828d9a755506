"""The counts of a class-bigram model, kept up to date while types move, classes split and classes merge."""

import numpy as np
from jaxtyping import Bool, Float, Int

from aila_jax.partition.classes.bigrams import Bigrams
from aila_jax.partition.classes.description_length import second_bits


class ClassCounts:
    """A partition of the types that occur into G classes, and n(c, c′) with it.

    Every change of the bits is a difference of Σ n log2 n over a few rows and columns of n(c, c′): with F = Σ
    n(c, c′) log2 n(c, c′) − Σ n(c) log2 n(c) − Σ n(c′) log2 n(c′), data bits = const − F. All gains below are
    those of F, in bits.

    Attributes:
      bigrams: the pairs. of: class of each type in 0 … G − 1, −1 for types that do not occur. size: G.
    """

    def __init__(self, bigrams: Bigrams, of: Int[np.ndarray, "V"]):
        """`of`: classes 0 … G − 1, each with a member that occurs; entries of types that do not occur are not
        looked at.
        """
        self.bigrams = bigrams
        self.of = np.full(bigrams.vocab_size, -1, np.int64)
        self.of[bigrams.seen] = of[bigrams.seen]
        self.size = int(self.of.max()) + 1
        # n log2 n of every count there can be: a look-up is several times faster than a logarithm, and
        # exactly repeatable.
        numbers = np.arange(bigrams.pairs + 1, dtype=np.float64)
        self._n_log_n = numbers * np.log2(np.maximum(numbers, 1.0))
        diagonal = bigrams.following.diagonal()
        self._self_pairs = diagonal
        self._recount()

    def members(self, which: int) -> Int[np.ndarray, "M"]:
        """The types of a class, in rising order."""
        return np.flatnonzero(self.of == which)

    def data_bits(self) -> float:
        """N · (H(w′) − I(c; c′))."""
        table = self._n_log_n
        gained = (
            self._terms.sum()
            - table[self._first].sum()
            - table[self._second].sum()
            + table[self.bigrams.pairs]
        )
        return second_bits(self.bigrams) - float(gained)

    def token_shares(self) -> Float[np.ndarray, "G"]:
        """Share of the tokens (those that are second of a pair) that each class holds."""
        return self._second / self.bigrams.pairs

    def move_gains(self, word: int) -> Float[np.ndarray, "G"]:
        """How many bits of data each class would save as the class of `word`, against its own; 0 at its own.

        The type is taken out of its class, and what it adds to F is found for every class at once.
        """
        following, preceding = self._contexts(word)
        own = self._self_pairs[word]
        self._add(self.of[word], following, preceding, own, -1)
        added = self._insertion(following, preceding, own)
        self._add(self.of[word], following, preceding, own, +1)
        return added - added[self.of[word]]

    def move(self, word: int, target: int) -> None:
        """Puts `word` into the class `target`; its own must have another member."""
        following, preceding = self._contexts(word)
        own = self._self_pairs[word]
        self._add(self.of[word], following, preceding, own, -1)
        self.of[word] = target
        self._add(target, following, preceding, own, +1)

    def split_gain(self, which: int, upper: Bool[np.ndarray, "V"]) -> float:
        """The bits of data saved by giving the members of `which` that are in `upper` a class of their
        own.
        """
        trial = self.of.copy()
        trial[upper & (self.of == which)] = self.size
        rows, columns = self._lines(which, trial)
        table, pair = self._n_log_n, [which, self.size]
        new = table[rows].sum() + table[columns].sum() - table[rows[:, pair]].sum()
        new -= table[rows.sum(1)].sum() + table[columns.sum(1)].sum()
        old_row, old_column = self.counts[which], self.counts[:, which]
        old = table[old_row].sum() + table[old_column].sum() - table[old_row[which]]
        old -= table[old_row.sum()] + table[old_column.sum()]
        return float(new - old)

    def split(self, which: int, upper: Bool[np.ndarray, "V"]) -> None:
        """Carries it out; the new class is G, the last."""
        self.of[upper & (self.of == which)] = self.size
        self.size += 1
        self._recount()

    def merge_gains(self) -> Float[np.ndarray, "G G"]:
        """The bits of data that merging each pair of classes would save: at most 0 in theory; −∞ on and below
        the diagonal.
        """
        table, counts = self._n_log_n, self.counts
        terms = table[counts]
        gains = np.full((self.size, self.size), -np.inf)
        lines = terms.sum(1) + terms.sum(0)  # of each class: the terms of its row and of its column
        first, second = counts.sum(1), counts.sum(0)
        alone = lines - np.diagonal(terms) - table[first] - table[second]
        for a in range(self.size - 1):
            b = np.arange(a + 1, self.size)
            rows, columns = counts[b] + counts[a], counts[:, b] + counts[:, [a]]
            merged = np.take(table, rows).sum(1) + np.take(table, columns).sum(0)
            places = np.arange(len(b))
            block = counts[a, a] + counts[a, b] + counts[b, a] + counts[b, b]
            crossing = (
                table[rows[places, b]]
                + table[rows[:, a]]
                + table[columns[a, places]]
                + table[columns[b, places]]
            )
            merged += table[block] - crossing - table[first[a] + first[b]] - table[second[a] + second[b]]
            # The two cells between the classes are counted in both `alone`s.
            gains[a, b] = merged - (alone[a] + alone[b] - terms[a, b] - terms[b, a])
        return gains

    def merge(self, a: int, b: int) -> None:
        """Gives the members of `b` to `a` < `b`; classes above `b` move down by one."""
        self.of[self.of == b] = a
        self.of[self.of > b] -= 1
        self.size -= 1
        self._recount()

    def _contexts(self, word: int) -> tuple[Int[np.ndarray, "G"], Int[np.ndarray, "G"]]:
        """How often each class follows and precedes the type, pairs of the type with itself left out."""
        sides = []
        for matrix in (self.bigrams.following, self.bigrams.preceding):
            part = slice(matrix.indptr[word], matrix.indptr[word + 1])
            counts = np.bincount(self.of[matrix.indices[part]], matrix.data[part], self.size).astype(np.int64)
            counts[self.of[word]] -= self._self_pairs[word]
            sides.append(counts)
        return sides[0], sides[1]

    def _add(self, which: int, following: np.ndarray, preceding: np.ndarray, own: int, sign: int) -> None:
        """Adds (or with sign −1 takes away) a type's pairs to row and column of a class."""
        self.counts[which] += sign * following
        self.counts[:, which] += sign * preceding
        self.counts[which, which] += sign * own
        self._first[which] += sign * (following.sum() + own)
        self._second[which] += sign * (preceding.sum() + own)
        self._terms[which] = self._n_log_n[self.counts[which]]
        self._terms[:, which] = self._n_log_n[self.counts[:, which]]

    def _insertion(self, following: np.ndarray, preceding: np.ndarray, own: int) -> Float[np.ndarray, "G"]:
        """What F gains where a type that is in no class joins each class."""
        table, counts, terms = self._n_log_n, self.counts, self._terms
        after, before = np.flatnonzero(following), np.flatnonzero(preceding)
        gain = (np.take(table, counts[:, after] + following[after]) - terms[:, after]).sum(1)
        gain += (np.take(table, counts[before] + preceding[before, None]) - terms[before]).sum(0)
        # A class's pairs with itself get both contexts and the type's pairs with itself, in one cell.
        cell, old = np.diagonal(counts), np.diagonal(terms)
        gain -= np.take(table, cell + following) + np.take(table, cell + preceding) - 2 * old
        gain += np.take(table, cell + following + preceding + own) - old
        gain -= np.take(table, self._first + following.sum() + own) - np.take(table, self._first)
        gain -= np.take(table, self._second + preceding.sum() + own) - np.take(table, self._second)
        return gain

    def _lines(
        self, which: int, trial: Int[np.ndarray, "V"]
    ) -> tuple[Int[np.ndarray, "2 H"], Int[np.ndarray, "2 H"]]:
        """Rows and columns of n(c, c′) of the class `which` and of a new last class, H = G + 1, under the
        classes `trial`.
        """
        members = self.members(which)
        lines = []
        for matrix in (self.bigrams.following, self.bigrams.preceding):
            part = matrix[members].tocoo()
            half = trial[members][part.row] == self.size
            flat = half * (self.size + 1) + trial[part.col]
            lines.append(np.bincount(flat, part.data, 2 * (self.size + 1)).reshape(2, -1).astype(np.int64))
        return lines[0], lines[1]

    def _recount(self) -> None:
        pairs = self.bigrams.following.tocoo()
        flat = self.of[pairs.row] * self.size + self.of[pairs.col]
        self.counts = (
            np.bincount(flat, pairs.data, self.size**2).reshape(self.size, self.size).astype(np.int64)
        )
        self._first, self._second = self.counts.sum(1), self.counts.sum(0)
        self._terms = self._n_log_n[self.counts]

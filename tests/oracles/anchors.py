"""Anchors, local entropy and importance as plain float64 loops, written from docs/method.md (section 4)."""

import collections
import math

import numpy as np

from tests.oracles.attention import GLOBAL, PADDING


def blocks(block_ids, doc_ids=None) -> dict[tuple[int, int, int], list[int]]:
    """(row, document, block id) → the positions of the block; padding and global tokens are in none."""
    found = collections.defaultdict(list)
    for row, place in np.ndindex(np.shape(block_ids)):
        block = int(block_ids[row][place])
        if block not in (PADDING, GLOBAL):
            found[row, 0 if doc_ids is None else int(doc_ids[row][place]), block].append(place)
    return found


def anchors(tokens, block_ids, table, k: int, doc_ids=None) -> np.ndarray:
    """is_anchor [B, L], block by block, by sorting."""
    chosen = np.zeros(np.shape(tokens), bool)
    for (row, _, _), places in blocks(block_ids, doc_ids).items():
        ranked = sorted(places, key=lambda place, row=row: (table[tokens[row][place]], place))
        for place in ranked[: min(k, len(places) - 1)]:
            chosen[row, place] = True
    return chosen


def anchor_types(tokens, block_ids, table, k: int, doc_ids=None) -> np.ndarray:
    """is_anchor [B, L] where whole types of a block are anchors."""
    chosen = np.zeros(np.shape(tokens), bool)
    for (row, _, _), places in blocks(block_ids, doc_ids).items():
        types = list(
            dict.fromkeys(int(tokens[row][place]) for place in places)
        )  # in the order in which they appear
        ranked = sorted(types, key=lambda token: table[token])
        for place in places:
            chosen[row, place] = int(tokens[row][place]) in ranked[: min(k, len(types) - 1)]
    return chosen


def corpus_entropy(first, second, vocab_size: int, prior: float) -> np.ndarray:
    """Entropy of the smoothed next-token distribution of each type ÷ log2 V, from a dense V × V table of
    counts.
    """
    counts = np.zeros((vocab_size, vocab_size))
    for a, b in zip(first, second, strict=True):
        counts[a, b] += 1
    unigram = counts.sum(axis=0) / counts.sum()
    entropy = np.zeros(vocab_size)
    for a in range(vocab_size):
        p = (counts[a] + prior * unigram) / (counts[a].sum() + prior)
        entropy[a] = -sum(x * math.log2(x) for x in p if x > 0) / math.log2(vocab_size)
    seen = counts.sum(axis=1) > 0
    entropy[~seen] = entropy[seen].max()
    return entropy


def importance(tokens, block_ids, chosen, table, groups: int, doc_ids=None) -> np.ndarray:
    """Mean over each group's blocks of their anchors' mean of 1 − entropy, divided by the mean over groups; 1
    where nothing is measured.
    """
    values = [[] for _ in range(groups)]
    for (row, _, block), places in blocks(block_ids, doc_ids).items():
        lowness = [1.0 - float(table[tokens[row][place]]) for place in places if chosen[row][place]]
        if lowness:
            values[block % groups].append(sum(lowness) / len(lowness))
    means = [sum(group) / len(group) if group else None for group in values]
    measured = [mean for mean in means if mean is not None]
    level = sum(measured) / len(measured)
    return np.array([1.0 if mean is None else mean / level for mean in means])

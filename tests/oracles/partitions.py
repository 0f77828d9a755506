"""Partitions and their statistics as plain loops, written from docs/method.md (section 1)."""

import numpy as np

from tests.oracles.attention import GLOBAL, PADDING, in_block


def segments(tokens, doc_ids, boundary, restart: bool) -> np.ndarray:
    """Block ids: boundary tokens seen before t, from the window's start or, with `restart`, from the
    document's.
    """
    ids = np.zeros(np.shape(tokens), int)
    for row, (line, documents) in enumerate(zip(tokens, doc_ids, strict=True)):
        count = 0
        for t, token in enumerate(line):
            if restart and t and documents[t] != documents[t - 1]:
                count = 0
            ids[row, t] = PADDING if documents[t] == PADDING else count
            count += bool(boundary[token])
    return ids


def in_block_keys(ids, doc_ids=None, bidirectional=False) -> np.ndarray:
    """n_in of every query, 1 at padding."""
    found = np.ones(np.shape(ids), int)
    for row, t in np.ndindex(*np.shape(ids)):
        if ids[row][t] == PADDING:
            continue
        found[row, t] = sum(
            in_block(ids[row][t], ids[row][j])
            and ids[row][j] != PADDING
            and (doc_ids is None or doc_ids[row][t] == doc_ids[row][j])
            for j in (range(len(ids[row])) if bidirectional else range(t + 1))
        )
    return found


def block_sizes(ids, doc_ids=None) -> list[int]:
    """Sizes of all blocks, window by window, ascending."""
    sizes: dict[tuple, int] = {}
    for row, t in np.ndindex(*np.shape(ids)):
        if ids[row][t] not in (PADDING, GLOBAL):
            block = (row, None if doc_ids is None else doc_ids[row][t], ids[row][t])
            sizes[block] = sizes.get(block, 0) + 1
    return sorted(sizes.values())

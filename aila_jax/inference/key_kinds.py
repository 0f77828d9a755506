"""Of which kind each key is for each query, for looking at: own block, pointer, sink, or outside."""

from collections.abc import Sequence
from enum import IntEnum

import jax
import numpy as np
from jaxtyping import Int, UInt8

from aila_jax.partition.rules import Blocks


class KeyKind(IntEnum):
    """What makes a key inside; the larger number counts where several do."""

    OUTSIDE = 0
    BLOCK = 1
    POINTER = 2
    SINK = 3


NAMES = {
    KeyKind.OUTSIDE: "outside",
    KeyKind.BLOCK: "block",
    KeyKind.POINTER: "pointer",
    KeyKind.SINK: "sink",
}


def key_kinds(blocks: Blocks, row: int, length: int, layers: Sequence[int]) -> UInt8[np.ndarray, "N L L"]:
    """`KeyKind` of each of these layers, query and key of a row's first tokens; a global token is of the
    block.
    """
    found = []
    for layer in layers if len(blocks.layers) > 1 else (0,):
        relation = jax.tree.map(lambda of: of[row : row + 1], blocks.of_layer(layer))
        parts = (
            (relation.inside(), KeyKind.BLOCK),
            (relation.pointed(), KeyKind.POINTER),
            (relation.sunk(), KeyKind.SINK),
        )
        kinds = np.zeros((length, length), np.uint8)
        for mask, kind in parts:
            if mask is not None:
                kinds[np.asarray(mask)[0, 0, :length, :length]] = kind
        found.append(kinds)
    return np.stack(found if len(found) == len(layers) else found * len(layers))


def by_word(kinds: UInt8[np.ndarray, "N L L"], first: Int[np.ndarray, "W"]) -> UInt8[np.ndarray, "N W W"]:
    """Kinds of words: those of their first tokens, and a word that is outside by its first token is a pointer
    or a sink where one of its tokens is.

    Args:
      kinds: of tokens.
      first: place of each word's first token.
    """
    rows = kinds[:, first]
    found = rows[:, :, first].copy()
    for kind in (KeyKind.POINTER, KeyKind.SINK):
        has = np.add.reduceat(rows == kind, first, axis=2) > 0
        found[has & (found == KeyKind.OUTSIDE)] = kind
    return found

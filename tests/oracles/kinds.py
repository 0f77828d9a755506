"""What is inside, key by key in plain loops: windows with a sink, pointers at their ends, or a shift; one
document that begins with the row.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class WindowRelation:
    """Windows of `size` with the rules of `RelationConfig`; positions 0 … length − 1.

    Attributes:
      size: of the windows.
      sink: position 0.
      ends: the last token of a window that is there.
      horizon: later windows that find it.
      shift: tokens by which windows move from one layer to the next.
    """

    size: int
    sink: bool = False
    ends: bool = False
    horizon: int = 10**6
    shift: int = 0

    def block(self, position: int, layer: int) -> int:
        """Windows of a layer start at shift · layer, and before that."""
        return (position - self.shift * layer) // self.size

    def kind(self, query: int, key: int, layer: int, length: int) -> str:
        """`sink`, `own`, `pointer` or empty, of a key at or before the query."""
        if self.sink and query == 0:
            return "sink" if key == 0 else ""
        if self.sink and key == 0:
            return "sink"
        mine, other = self.block(query, layer), self.block(key, layer)
        if mine == other:
            return "own"
        last = key == length - 1 or self.block(key + 1, layer) != other
        return "pointer" if self.ends and last and 1 <= mine - other <= self.horizon else ""

    def masks(self, layer: int, length: int) -> dict[str, np.ndarray]:
        """[query, key] for each kind."""
        found = {kind: np.zeros((length, length), bool) for kind in ("sink", "own", "pointer")}
        for query in range(length):
            for key in range(query + 1):
                if kind := self.kind(query, key, layer, length):
                    found[kind][query, key] = True
        return found

    def reach(self, layers: int, length: int) -> np.ndarray:
        """[query, key] whether a path of one step a layer, or none, leads from the key to the query; steps go
        to keys inside, a query without any to itself. By enumeration of positions reached, top layer first.
        """
        found = np.zeros((length, length), bool)
        for query in range(length):
            reached = {query}
            for layer in reversed(range(layers)):
                inside = sum(self.masks(layer, length).values()) > 0
                reached |= {key for one in reached for key in range(length) if inside[one, key]}
            found[query, list(reached)] = True
        return found

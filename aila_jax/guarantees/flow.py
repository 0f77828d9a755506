"""What can have influenced a prediction through layers of hard attention: reach, in Boolean arithmetic.

Source: ours (docs/certificates.md).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from aila_jax.config import Config, LayerBlocks, PartitionKind, PointerKind


def with_generated(
    reach: Bool[np.ndarray, "L L"], generated: Bool[np.ndarray, "L"]
) -> Bool[np.ndarray, "L L"]:
    """The same with what generated tokens carry: if token s in R[t] was generated, R[s − 1] is added,
    repeatedly.

    Args:
      reach: R of every position; where a window slid, of the window that a position was read in.
      generated: whether each token was drawn from the logits of the position before it.
    """
    closed = reach.copy()
    drawn = np.flatnonzero(generated)
    drawn = drawn[drawn > 0]
    for t in range(len(closed)):  # no token that t sees is later: rows before t are closed already
        before = drawn[reach[t, drawn]] - 1
        if len(before):
            closed[t] |= closed[before].any(axis=0)
    return closed


@dataclass(frozen=True)
class Condition:
    """Of which texts a reach is claimed.

    Attributes:
      text: in words.
      unconditional: of every input with these positions (and ids, where the caller gave them); else of texts
        whose tokens make the same blocks.
    """

    text: str
    unconditional: bool


def condition_of(config: Config, given_ids: bool, given_documents: bool) -> Condition:
    """The condition of a reach.

    Args:
      config: whose partition and relation.
      given_ids: the caller gave the block ids; else, for the partition `given`, the text's own tokens did.
      given_documents: the caller gave document ids.
    """
    relation = config.relation
    own = not relation.layers or LayerBlocks.OWN in relation.layers
    kind = config.partition.kind
    ids = own and kind == PartitionKind.GIVEN
    from_tokens = relation.makes_segments or (own and (config.partition.fitted or (ids and not given_ids)))
    anchored = relation.pointers == PointerKind.ANCHORS
    if from_tokens or anchored:
        same = "the same blocks and pointers" if relation.points else "the same blocks"
        return Condition(f"for every text with {same}", False)
    places = ["positions", *(["block ids"] if ids else []), *(["documents"] if given_documents else [])]
    listed = places[0] if len(places) == 1 else f"{', '.join(places[:-1])} and {places[-1]}"
    return Condition(f"for every input with these {listed}", True)

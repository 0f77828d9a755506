"""Given block ids that come back: fine for attention that asks for "same block" alone, but no stretches of
text.
"""

import numpy as np
from jaxtyping import Int

from aila_jax.config import Config, LayerBlocks, PartitionKind, require
from aila_jax.types import GLOBAL_ID, PADDING_ID


def returning(
    block_ids: Int[np.ndarray, "B L"], doc_ids: Int[np.ndarray, "B L"] | None = None
) -> tuple[int, int] | None:
    """Row and id of the first block that comes back after another one began; None where none does. Tokens of
    every block (GLOBAL_ID) and padding are passed over.

    Args:
      block_ids: of each token.
      doc_ids: under a document mask, where blocks of several documents have nothing to do with each other.
    """
    rows, columns = np.nonzero((block_ids != GLOBAL_ID) & (block_ids != PADDING_ID))
    ids = block_ids[rows, columns].astype(np.int64)
    docs = np.zeros(len(rows), np.int64) if doc_ids is None else doc_ids[rows, columns].astype(np.int64)
    named = np.stack([rows, docs, ids], axis=1)
    begins = np.ones(len(named), bool)
    begins[1:] = (named[1:] != named[:-1]).any(axis=1)
    runs = named[begins]
    _, first, times = np.unique(runs, axis=0, return_index=True, return_counts=True)
    if not (times > 1).any():
        return None
    row, _, block = runs[first[times > 1].min()]
    return int(row), int(block)


def reads_stretches(config: Config) -> bool:
    """Whether the blocks of this configuration are given ids whose relation needs stretches of text."""
    relation = config.relation
    own = not relation.layers or LayerBlocks.OWN in relation.layers
    return config.partition.kind == PartitionKind.GIVEN and own and bool(relation.points or relation.shift)


def refuse_returning(
    config: Config,
    block_ids: Int[np.ndarray, "B L"],
    doc_ids: Int[np.ndarray, "B L"] | None,
    name: str = "block_ids",
) -> None:
    """ValueError where a given block comes back and the relation has pointers or shifts.

    Args:
      config: whose relation reads them.
      block_ids: of each token.
      doc_ids: documents, which are looked at under the configuration's document mask alone.
      name: of the ids, for the message.
    """
    if not reads_stretches(config):
        return
    found = returning(block_ids, doc_ids if config.model.document_mask else None)
    if found is None:
        return
    row, block = found
    what = f"relation.pointers {config.relation.pointers!r}" if config.relation.points else "relation.shift"
    limit = f"blocks in one piece each with {what}, which asks for a block's last token or its neighbours"
    fix = "give each piece an id of its own, or choose --config.relation.pointers=none and shift 0"
    require(False, name, f"block {block} in two places of row {row}", limit, fix)

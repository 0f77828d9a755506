"""Anchors for people to read: a block of the listing holds all tokens that share it."""

import numpy as np

from aila_jax.config import PartitionConfig
from aila_jax.evaluation.anchor_listing import list_anchors
from aila_jax.partition.anchors import Anchors
from aila_jax.partition.kinds import Classes
from aila_jax.types import Batch
from tests.support.untrained import untrained_model


def test_a_block_of_a_class_is_listed_whole() -> None:
    model = untrained_model()
    size = model.tokenizer.vocab_size
    tokens = np.array([[5, 6, 5, 7, 6, 8]], np.int32)
    table = np.zeros(size, np.int32)
    table[[6, 7]] = 1, 2
    read = model.with_partition(
        PartitionConfig(kind="pos"),
        Classes(table, names=("a", "b", "c"), vocabulary=model.tokenizer.fingerprint),
    )
    entropy = np.ones(size, np.float32)
    entropy[[5, 6]] = 0.5, 0.4
    anchors = Anchors(entropy, np.ones(size, np.int32), np.ones(1, np.float32), k=1)
    found = list_anchors(read, anchors, [Batch.from_tokens(tokens)], top=2, examples=5, used=True)
    texts = {token: model.tokenizer.decode([token]) for token in (5, 6, 8)}
    # The block of 7 has one token, and so no anchor.
    assert [(block.tokens, block.anchors) for block in found.blocks] == [
        ((texts[5], texts[5], texts[8]), (True, False, False)),
        ((texts[6], texts[6]), (True, False)),
    ]
    assert [(entry.token, entry.tokens, entry.chosen) for entry in found.types] == [(6, 2, 1), (5, 2, 1)]

"""What a relation says of queries and keys, against loops."""

import jax
import numpy as np
import pytest

from aila_jax.partition.relations import Relation
from tests.oracles.attention import in_block, may_attend
from tests.oracles.cases import DOCS, IDS

KEY_IDS = np.where(IDS == -1, -1, (IDS + np.arange(11)) % 4).astype(np.int32)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("doc_ids", [None, DOCS], ids=["", "documents"])
@pytest.mark.parametrize("key_ids", [None, KEY_IDS], ids=["", "key ids"])
def test_masks_are_those_of_the_rule(causal, doc_ids, key_ids) -> None:
    relation = Relation(IDS, doc_ids, key_ids, causal)
    keys = IDS if key_ids is None else key_ids
    soft, hard = (
        jax.jit(lambda r, hard=hard: (r.masks(hard).attendable, r.masks(hard).inside, r.own()))(relation)
        for hard in (False, True)
    )
    for b, t, j in np.ndindex(*IDS.shape, IDS.shape[1]):
        inside = in_block(IDS[b, t], keys[b, j])
        documents = None if doc_ids is None else doc_ids[b]
        reach = may_attend(IDS[b], t, j, causal, documents, keys[b])
        assert bool(soft[0][b, 0, t, j]) == reach
        assert bool(soft[1][b, 0, t, j]) == bool(hard[1][b, 0, t, j]) == inside
        assert bool(soft[2][b, 0, t, j]) == (inside and -2 not in (IDS[b, t], keys[b, j]))
    both = np.asarray(soft[0] & soft[1])
    alone = ~both.any(axis=-1, keepdims=True) & np.eye(IDS.shape[1], dtype=bool)
    np.testing.assert_array_equal(hard[0], both | alone)

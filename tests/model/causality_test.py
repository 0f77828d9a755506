"""What may influence what, in the whole model: no later token, no other document, no padding."""

from collections.abc import Callable

import jax
import numpy as np
import pytest

from aila_jax.config import MarginConfig, ModelConfig, PartitionConfig
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.transformer import Transformer
from aila_jax.partition.build import build_partition
from aila_jax.types import Batch

LENGTH, VOCAB = 11, 17
MARGINS = {
    "fixed": MarginConfig(nats=4.0),
    "exact": MarginConfig(form="self_scaling", m0=2.0),
    "norms": MarginConfig(form="self_scaling", m0=2.0, range="norms"),
}
DOCS = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1], np.int32)
GIVEN = np.array([0, 0, 1, 1, 0, 0, 2, 2, 3, 3, 2], np.int32)


def model(partition: PartitionConfig, **options) -> Callable[[Batch], np.ndarray]:
    """Jitted logits of a two-layer model with large weights, so that everything that can influence does."""
    config = ModelConfig(
        length=LENGTH, d_model=8, n_heads=2, d_ff=8, n_layers=2, film=True, layer_beta=1.0, **options
    )
    network = Network(Transformer(config, VOCAB), build_partition(partition))
    params = network.init(batch(DOCS, GIVEN, seed=0), jax.random.key(1))
    params = jax.tree.map(lambda x: x * 12 if x.ndim > 1 else x + 0.1, params)
    run = jax.jit(lambda given: network(params, given, Dial(0.7, 0.9), Request()).logits)
    return lambda given: np.asarray(run(given))


def batch(doc_ids: np.ndarray, given_ids: np.ndarray, seed: int, rows: int = 1) -> Batch:
    """`rows` equal rows of random tokens."""
    tokens = np.random.default_rng(seed).integers(0, VOCAB, LENGTH)
    return Batch.from_tokens(*(np.tile(x, (rows, 1)) for x in (tokens, given_ids, doc_ids)))


CAUSAL = [
    (PartitionConfig(size=3, global_first=True), {"document_mask": True, "margin": MARGINS["fixed"]}),
    (PartitionConfig(kind="given"), {"margin": MARGINS["exact"]}),
    (
        PartitionConfig(kind="given", global_first=True),
        {"document_mask": True, "margin": MARGINS["norms"], "qk_norm": True},
    ),
]


@pytest.mark.parametrize(("partition", "options"), CAUSAL, ids=["windows", "given", "given, documents"])
def test_later_tokens_never_change_earlier_outputs_or_block_ids(
    partition: PartitionConfig, options: dict
) -> None:
    """Row b of the batch has other tokens, documents and pieces from position b on."""
    run = model(partition, **options)
    base = batch(DOCS, GIVEN, seed=2, rows=LENGTH)
    rng = np.random.default_rng(3)
    late = np.arange(LENGTH)[None, :] >= np.arange(LENGTH)[:, None]
    changed = Batch.from_tokens(
        np.where(late, rng.integers(0, VOCAB, late.shape), base.tokens),
        np.where(late, rng.integers(0, 4, late.shape), base.given_ids),
        np.where(late, 7 + np.cumsum(rng.integers(0, 2, late.shape), axis=1), base.doc_ids),
    )
    assert (changed.doc_ids[1:] != base.doc_ids[1:]).any(axis=1).all()
    blocks = build_partition(partition)
    np.testing.assert_array_equal(np.asarray(blocks(changed))[~late], np.asarray(blocks(base))[~late])
    before, after = run(base), run(changed)
    np.testing.assert_array_equal(after[~late], before[~late])
    assert (np.abs(after - before)[late].max(axis=-1) > 1e-3).mean() > 0.9


def test_a_bidirectional_model_sees_later_tokens() -> None:
    run = model(PartitionConfig(size=3), bidirectional=True, margin=MARGINS["fixed"])
    base = batch(DOCS, GIVEN, seed=4)
    tokens = base.tokens.copy()
    tokens[0, -1] = (tokens[0, -1] + 1) % VOCAB
    assert (np.abs(run(base.replace(tokens=tokens)) - run(base))[0].max(axis=-1) > 1e-6).all()


@pytest.mark.parametrize("margin", MARGINS)
def test_documents_and_padding_do_not_reach_one_another(margin: str) -> None:
    """Without a causal mask, which would hide half of it: rows of a document, of another one, and of
    padding.
    """
    run = model(PartitionConfig(size=3), bidirectional=True, document_mask=True, margin=MARGINS[margin])
    docs = np.array([0, 0, 0, 0, 1, 1, 1, 1, -1, -1, -1], np.int32)
    base = batch(docs, GIVEN, seed=5)
    before = run(base)
    for document in (0, 1, -1):
        mine = docs == document
        after = run(
            base.replace(tokens=np.where(mine, (base.tokens + 3) % VOCAB, base.tokens).astype(np.int32))
        )
        np.testing.assert_array_equal(after[0, ~mine], before[0, ~mine])
        assert (np.abs(after - before)[0, mine].max(axis=-1) > 1e-3).all()


def test_padding_changes_nothing_without_a_document_mask() -> None:
    """The padded row equals the same tokens alone, to rounding."""
    run = model(PartitionConfig(size=3), bidirectional=True, margin=MARGINS["exact"])
    padded = batch(np.where(np.arange(LENGTH) < 8, 0, -1).astype(np.int32), GIVEN, seed=6)
    alone = jax.tree.map(lambda x: x[:, :8], padded)
    np.testing.assert_allclose(run(padded)[:, :8], run(alone), atol=1e-4)

"""Counts of keys under every relation: against masks written out, and against what no text may fall below."""

from dataclasses import replace
from functools import partial
from itertools import product

import jax
import numpy as np
import pytest

from aila_jax.config import RelationConfig
from aila_jax.guarantees.key_counts import counts_in_order, counts_of_every_text, keys_inside
from aila_jax.partition.relations import Relation
from tests.support.related import CASES, LAYERS, TYPES, blocks_of, compiled, config_of, random_batch

L, ROWS = 12, 48


def by_masks(relation: Relation) -> tuple[np.ndarray, np.ndarray]:
    """n_in and all keys, from the relation written out."""
    masks = relation.masks()
    inside, keys = np.asarray(masks.inside & masks.attendable)[:, 0], np.asarray(masks.attendable)[:, 0]
    return inside.sum(axis=-1), keys.sum(axis=-1)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_running_counts_are_those_of_the_masks(kind: str, name: str) -> None:
    """Texts of several documents and padding, with a document mask and without."""
    for masked in (False, True):
        batch = random_batch(config_of(kind, name, document_mask=masked), ROWS, 5, documents=True)
        blocks, docs = compiled(kind, name)(batch), batch.doc_ids if masked else None
        counts, real = counts_in_order(blocks, docs), batch.doc_ids != -1
        for layer in range(len(blocks.layers)):
            n_in, n_keys = by_masks(blocks.of_layer(layer, docs))
            assert counts.n_in[layer].tolist() == n_in[real].tolist()
            assert (counts.n_in + counts.n_out)[layer].tolist() == n_keys[real].tolist()


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_no_text_falls_below_the_counts_of_every_text(kind: str, name: str) -> None:
    config = config_of(kind, name)
    every = counts_of_every_text(config, L)
    assert every.one_document == config.relation.sink
    batch = random_batch(config, ROWS, 7)
    found = counts_in_order(compiled(kind, name)(batch))
    assert (
        len(every.n_in)
        == len(found.n_in)
        == (LAYERS if config.relation.layers or config.relation.shift else 1)
    )
    n_in = found.n_in.reshape(len(found.n_in), ROWS, L)
    assert (n_in >= every.n_in[:, None]).all()
    assert (every.n_in + every.n_out == np.arange(1, L + 1)).all()
    if not every.worst:
        assert (n_in == every.n_in[:, None]).all()
    assert every.worst == (
        kind != "windows"
        or name in ("anchors, sink", "two anchors, sink")
        or "clauses" in config.relation.layers
    )


@pytest.mark.parametrize("length", [5, 8])
@pytest.mark.parametrize("name", ["sink", "ends", "ends, horizon 1", "ends, horizon 2, sink", "anchors",
                                  "anchors, sink", "two anchors, sink", "random, sink"])  # fmt: skip
def test_the_worst_case_is_the_least_over_all_partitions(name: str, length: int) -> None:
    """Every way to part a text into stretches, and many orders of entropies: the bound holds, and some text
    attains it.
    """
    config = config_of("given", name, length)
    parts = np.array(list(product([0, 1], repeat=length - 1)), np.int32)
    ids = np.cumsum(np.concatenate([np.zeros((len(parts), 1), np.int32), parts], axis=1), axis=1)
    draw, least = np.random.default_rng(2), []
    run = jax.jit(lambda batch: blocks_of(config, batch))
    for _ in range(12):
        batch = random_batch(config, len(ids), 0).replace(
            given_ids=ids.astype(np.int32), tokens=draw.integers(0, TYPES, ids.shape).astype(np.int32)
        )
        least.append(counts_in_order(run(batch)).n_in.reshape(len(ids), length).min(axis=0))
    every = counts_of_every_text(config, length).n_in[0]
    found = np.min(least, axis=0)
    assert (found >= every).all()
    if "random" in name:  # the random token of a first block is the sink for some of its sizes alone
        assert (found <= every + 1).all()
    else:
        assert (found == every).all()


@pytest.mark.parametrize("pointers", ["ends", "anchors", "random"])
def test_global_tokens_take_no_key_away(pointers: str) -> None:
    """With `global_first` and pointers, whatever documents begin in the window."""
    base = config_of("windows", "plain")
    config = replace(
        base,
        partition=replace(base.partition, global_first=True),
        relation=RelationConfig(pointers=pointers, horizon=2),
    )
    every, run = counts_of_every_text(config, L), jax.jit(partial(blocks_of, config))
    assert every.worst
    for seed in range(8):
        batch = random_batch(config, ROWS, seed)
        docs = np.cumsum(np.random.default_rng(seed).random((ROWS, L)) < 0.3, axis=1).astype(np.int32)
        found = counts_in_order(run(batch.replace(doc_ids=docs)))
        assert (found.n_in.reshape(ROWS, L) >= every.n_in).all()
        assert (counts_in_order(run(batch)).n_in.reshape(ROWS, L) == every.n_in).all()


def test_a_block_in_two_pieces_is_refused_where_pointers_are_read() -> None:
    config = config_of("given", "ends")
    batch = random_batch(config, 1, 0).replace(given_ids=np.array([[0] * 4 + [1] * 4 + [0] * 4], np.int32))
    with pytest.raises(
        ValueError, match=r"block_ids is .*of 2 blocks in 3 pieces.*; it must be blocks in one piece"
    ):
        keys_inside(blocks_of(config, batch).of_layer(0))

"""A network is its module on the blocks of its partition, compiled once for all tables of one shape."""

import jax
import numpy as np

from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.transformer import Transformer
from aila_jax.partition.kinds import Segments, Windows
from tests.support.tiny import MODEL, VOCAB_SIZE, fresh_params, random_batch

MODULE, BATCH, DIAL = Transformer(MODEL, VOCAB_SIZE), random_batch(2), Dial(np.float32(0.7), np.float32(0.9))
CLOSING = (np.arange(VOCAB_SIZE) % 4 == 0, np.arange(VOCAB_SIZE) % 3 == 0)


def logits(network: Network) -> np.ndarray:
    return np.asarray(network(fresh_params(), BATCH, DIAL, Request()).logits)


def test_the_module_runs_on_the_blocks_of_the_partition() -> None:
    network = Network(MODULE, Segments(CLOSING[0]))
    blocks = network.partition(BATCH)
    want = MODULE.apply(
        {"params": fresh_params()}, BATCH.tokens, BATCH.positions, blocks, BATCH.doc_ids, DIAL, Request()
    ).logits
    np.testing.assert_array_equal(logits(network), want)
    np.testing.assert_array_equal(logits(Network(MODULE, Windows(5)).on_blocks(blocks)), want)
    assert np.abs(logits(Network(MODULE, Windows(5))) - want).max() > 1e-3


def test_one_compilation_serves_two_tables_and_a_module_made_twice() -> None:
    traces = []

    @jax.jit
    def run(network, params):
        traces.append(network.module)
        return network(params, BATCH, DIAL, Request()).logits

    found = [
        np.asarray(run(Network(Transformer(MODEL, VOCAB_SIZE), Segments(closes)), fresh_params()))
        for closes in CLOSING
    ]
    assert len(traces) == 1
    assert np.abs(found[0] - found[1]).max() > 1e-3
    run(Network(MODULE, Windows(5)), fresh_params())
    assert len(traces) == 2

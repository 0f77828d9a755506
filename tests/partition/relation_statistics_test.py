"""Keys inside by layer and kind and the reach, against plain loops and enumerated paths; what `aila blocks`
says of them, and where it marks pointers.
"""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from aila_jax import runs
from aila_jax.config import PartitionConfig, RelationConfig
from aila_jax.config.options import BlocksOptions
from aila_jax.partition.kinds import Windows
from aila_jax.partition.match import mean_n_in
from aila_jax.partition.pointers import Ends
from aila_jax.partition.relation_statistics import relation_statistics
from aila_jax.partition.rules import Everything, Rules
from aila_jax.reporting.block_files import describe_blocks
from aila_jax.types import PADDING_ID, Batch, restarting_positions
from tests.oracles.kinds import WindowRelation
from tests.support.tiny import make_config, write_corpus

CASES = {
    "ends, sink": (Rules(sink=True, pointers=Ends(), layers=3), WindowRelation(5, sink=True, ends=True)),
    "horizon": (Rules(pointers=Ends(1), layers=3), WindowRelation(5, ends=True, horizon=1)),
    "shifted": (Rules(shift=2, sink=True, layers=3), WindowRelation(5, sink=True, shift=2)),
}


def batch_of(lengths, mask):
    """Two rows of 16: documents of these lengths one after another, then padding."""
    docs = np.full((2, 16), PADDING_ID, np.int32)
    for row, each in enumerate(lengths):
        ids = np.repeat(np.arange(len(each)), each)
        docs[row, : len(ids)] = ids
    batch = Batch.from_tokens(np.ones((2, 16), np.int32), None, docs)
    positions = restarting_positions(docs) if mask else np.tile(np.arange(16, dtype=np.int32), (2, 1))
    return batch.replace(positions=positions)


@pytest.mark.parametrize("name", CASES)
def test_means_over_queries_are_those_of_the_loops(name):
    """Under a document mask each document is as a text by itself."""
    rules, oracle = CASES[name]
    lengths = [[16], [7, 5]]
    batch = batch_of(lengths, mask=True)
    found = relation_statistics(rules, Windows(5), [batch, batch], document_mask=True)
    texts = [length for row in lengths for length in row]
    queries = sum(texts)
    for layer in range(3):
        masks = [oracle.masks(layer, length) for length in texts]
        own, pointers, sinks = (
            sum(mask[kind].sum() for mask in masks) / queries for kind in ("own", "pointer", "sink")
        )
        keys = found.layers[layer]
        assert (keys.layer, keys.own, keys.pointers, keys.sinks) == pytest.approx(
            (layer, own, pointers, sinks)
        )
        assert keys.n_in == pytest.approx(own + pointers + sinks)
    reach = [oracle.reach(3, length).sum(-1) for length in texts]
    assert found.n_in == pytest.approx(np.mean([keys.n_in for keys in found.layers]))
    assert found.reach == pytest.approx(np.concatenate(reach).mean())
    assert found.reach_largest == np.concatenate(reach).max()


def test_a_global_layer_reaches_everything_and_padding_counts_nowhere():
    rules = Rules(partitions=(None, Everything()), layers=2)
    found = relation_statistics(rules, Windows(5), [batch_of([[16], [3]], mask=False)], document_mask=False)
    places = np.concatenate([np.arange(16), np.arange(3)])
    assert found.layers[0].n_in == pytest.approx((places % 5 + 1).mean())
    assert found.layers[1].n_in == found.reach == pytest.approx((places + 1).mean())
    assert found.reach_largest == 16
    with pytest.raises(ValueError, match="the windows hold 0 tokens"):
        relation_statistics(rules, Windows(5), [batch_of([[], []], mask=False)], document_mask=False)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    made = make_config(write_corpus(tmp_path_factory.mktemp("text")))
    return replace(made, partition=PartitionConfig(kind="segments", unit="sentence"))


def test_blocks_say_them_and_mark_pointers(config, tmp_path):
    """Sentences that end with a mark: the mark is the pointer of each that is whole."""
    asked = replace(config, relation=RelationConfig(pointers="ends", sink=True))
    report = runs.blocks(asked, BlocksOptions(examples=3, split="validation"), tmp_path)
    text = describe_blocks(report)
    assert "relation sink,pointers=ends: keys inside of a query, mean" in text
    assert "reach of a query" in text
    document = json.loads((tmp_path / "blocks.json").read_text(encoding="utf-8"))
    assert document["relation"]["reach"] == report.relation.reach
    (row,) = csv.DictReader((tmp_path / "blocks.csv").read_text(encoding="utf-8").splitlines())
    assert float(row["keys_inside"]) == report.relation.n_in
    assert float(row["layer1_pointers"]) == report.relation.layers[1].pointers > 0
    for example in report.listing.examples:
        parts = example.split(" ‖ ")
        assert all(part.endswith((".▼", "▼")) and part.count("▼") == 1 for part in parts)
        assert example.count("■") == 1
    plain = runs.blocks(config, BlocksOptions(examples=3, split="validation"), tmp_path / "plain")
    assert plain.relation is None and "relation" not in describe_blocks(plain)
    document = json.loads((tmp_path / "plain" / "blocks.json").read_text(encoding="utf-8"))
    assert "relation" not in document
    header = (tmp_path / "plain" / "blocks.csv").read_text(encoding="utf-8").splitlines()[0]
    assert "layer0" not in header and "reach" not in header
    unmarked = [example.replace("▼", "").replace("■", "") for example in report.listing.examples]
    assert unmarked == list(plain.listing.examples)
    assert report.statistics == plain.statistics
    with pytest.raises(ValueError, match=r"n_in is 3.0; it must be left out with relation"):
        runs.blocks(replace(asked, partition=PartitionConfig()), BlocksOptions(n_in=3.0), tmp_path)


def test_the_mean_n_in_of_a_relation(trained):
    windows = trained.dataset.windows("validation", 16, False)
    rules = Rules(shift=2, layers=2)
    want = np.mean(
        [keys.n_in for keys in relation_statistics(rules, Windows(5), [windows.batch], False).layers]
    )
    assert mean_n_in(Windows(5), windows, rules) == want != mean_n_in(Windows(5), windows)

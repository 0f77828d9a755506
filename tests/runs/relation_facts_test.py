"""What else reads blocks, with a relation: diagnosis, the threshold formula and its path, and what training
says.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from aila_jax import runs
from aila_jax.config import ModelConfig, PartitionConfig, RelationConfig
from aila_jax.diagnosis.measure import FactFinder, keys_inside
from aila_jax.thresholds import path as path_module
from aila_jax.thresholds.estimates import formula_undefined
from aila_jax.types import Batch
from tests.oracles.kinds import WindowRelation
from tests.support.tiny import make_config, write_corpus
from tests.support.untrained import untrained_model

CASES = {
    "ends, sink": (RelationConfig(pointers="ends", sink=True), WindowRelation(5, sink=True, ends=True)),
    "shifted": (RelationConfig(shift=2), WindowRelation(5, shift=2)),
}


@pytest.mark.parametrize("name", CASES)
def test_diagnosis_counts_keys_inside_layer_by_layer(name):
    relation, oracle = CASES[name]
    model = untrained_model().with_relation(relation)
    batch = Batch.from_tokens(np.arange(60, 84, dtype=np.int32)[None])
    found = keys_inside(model, batch)
    want = [sum(mask.sum(-1) for mask in oracle.masks(layer, 24).values()) for layer in range(len(found))]
    np.testing.assert_array_equal(found[:, 0], want)
    assert len(found) == (2 if oracle.shift else 1)


def test_the_facts_of_blocks_are_of_all_keys_inside(trained, tmp_path):
    """log2 of the keys inside, mean over the queries and layers of the text that is read."""
    model = trained.model.with_relation(CASES["shifted"][0])
    finder = FactFinder(model, trained.dataset, tmp_path, 2, quiet=True)
    found, oracle = finder.blocks(), CASES["shifted"][1]
    bits = []
    for batch in finder.text("validation"):
        for length in (np.asarray(batch.doc_ids) >= 0).sum(-1):
            for layer in range(2):
                keys = sum(mask.sum(-1) for mask in oracle.masks(layer, int(length)).values())
                bits.extend(np.log2(keys))
    assert found.entropy_bits == pytest.approx(np.mean(bits))
    plain = FactFinder(trained.model, trained.dataset, tmp_path, 2, quiet=True).blocks()
    assert plain.entropy_bits != pytest.approx(found.entropy_bits)


def test_the_formula_says_nothing_of_a_relation(trained):
    size = ModelConfig(length=16, d_model=16, n_heads=2, d_ff=32, n_layers=2, localist=True)
    config = replace(trained.config, model=size, partition=PartitionConfig(size=4))
    assert formula_undefined(config) == ""
    reason = formula_undefined(replace(config, relation=RelationConfig(sink=True)))
    assert reason.startswith("the relation is sink: keys inside are not those of the query's block")


def test_the_path_trains_with_the_models_relation(trained, monkeypatch):
    model = trained.model.with_relation(RelationConfig(sink=True))
    seen = []

    def stop(network, *_, **__):
        seen.append(network.rules)
        raise StopIteration

    monkeypatch.setattr(path_module, "make_train_step", stop)
    with pytest.raises(StopIteration):
        path_module.zeroing_path(
            model, None, [], np.ones((2, 4), np.float32), SimpleNamespace(learning_rate=1e-3), True
        )
    assert seen == [model.network.rules]


def test_training_says_the_relation_and_watches_masses(tmp_path, capsys):
    config = make_config(
        write_corpus(tmp_path / "text"), steps=2, warmup_steps=1, eval_every=2, eval_batches=1, accumulate=1
    )
    relation = RelationConfig(pointers="ends", sink=True)
    config = replace(config, relation=relation, model=replace(config.model, length=8))
    run = runs.train(config, tmp_path / "run")
    assert " relation sink,pointers=ends, locality conditional" in capsys.readouterr().out
    log = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8")
    assert '"pointer_mass"' in log and '"sink_mass"' in log and "accuracy_determined" not in log
    with pytest.raises(ValueError, match="windows of 1"):
        runs.open_run(tmp_path / "run", window=1)
    plain = runs.open_run(tmp_path / "run", window=1, relation="plain").model
    assert (plain.config.partition.size, plain.meta["relation"]) == (1, relation.settings)
    model = run.load()
    assert model.config.relation == relation
    cell = runs.evaluate(model, lam=1.0, quiet=True)
    assert cell.pointers == "relation" and cell.sink_mass is not None

"""A loaded model read with another relation: what it says it is, tables, what is refused, and by the command
line.
"""

import json
from dataclasses import replace

import numpy as np
import pytest

import aila_jax as aila
from aila_jax import runs
from aila_jax.cli.main import main
from aila_jax.config import PartitionConfig, RelationConfig
from aila_jax.config.options import OpenOptions, SweepOptions
from aila_jax.config.relation import relation_line, relation_of
from aila_jax.reporting import read_sweep
from aila_jax.reporting.own_sweep import own_sweep
from aila_jax.runs._reading import read_as_scored
from tests.oracles.kinds import WindowRelation
from tests.support.untrained import untrained_model

ENDS = RelationConfig(pointers="ends", sink=True)


def test_the_same_weights_see_what_the_relation_says():
    model = untrained_model()
    read = model.with_relation(ENDS)
    tokens = np.arange(60, 84, dtype=np.int32)[None]
    output = read.apply(tokens, lam=1.0, hard=True, weights=True)
    masks = WindowRelation(5, sink=True, ends=True).masks(0, 24)
    inside = sum(masks.values()) > 0
    assert ((np.asarray(output.weights)[:, 0] > 0) == inside).all()
    assert read.params is model.params
    assert (read.config.relation, read.meta["relation"]) == (ENDS, {})
    assert (model.config.relation, model.meta) == (RelationConfig(), {})
    back = read.with_relation(RelationConfig())
    assert back.meta["relation"] == {}
    np.testing.assert_array_equal(back.apply(tokens).logits, model.apply(tokens).logits)
    assert "relation" in str(read.card()) and "pointers=ends" in str(read.card())
    assert "relation" not in str(model.card())


def test_partition_and_window_keep_the_relation_and_refuse_what_does_not_fit():
    model = untrained_model().with_relation(RelationConfig(shift=3, sink=True))
    assert model.with_window(8).config.relation == model.config.relation
    with pytest.raises(ValueError, match=r"relation\.shift is 3; it must be less than partition\.size \(3\)"):
        model.with_window(3)
    segments = PartitionConfig(kind="segments")
    fitted = aila.fit_partition(segments, model.tokenizer, stream())
    with pytest.raises(ValueError, match=r"relation\.shift is 3; it must be 0 or 1 with partition\.kind"):
        model.with_partition(segments, fitted)
    with pytest.raises(ValueError, match=r"relation\.pointers is .*ends.*windows of 1"):
        untrained_model().with_relation(ENDS).with_window(1)
    with pytest.raises(ValueError, match=r"relation\.layers is .*one word a layer \(2\)"):
        untrained_model().with_relation(RelationConfig(layers=("own", "own", "all")))
    with pytest.raises(ValueError, match=r"relation is .*; it must be a RelationConfig"):
        untrained_model().with_relation("ends")


def stream():
    from aila_jax.data.dataset import encode_documents
    from aila_jax.data.documents import Document
    from tests.support.tiny import sentences

    return encode_documents(untrained_model().tokenizer, [Document("grammar", (sentences(50, 0),))])


def test_tables_of_anchors_are_fitted_and_kept_and_boundaries_are_the_tokenizers():
    model, anchors = untrained_model(), RelationConfig(pointers="anchors", anchors=2)
    with pytest.raises(
        ValueError, match=r"tables is None; it must be given for relation\.pointers 'anchors'.*fit_relation"
    ):
        model.with_relation(anchors)
    tables = aila.fit_relation(anchors, model.tokenizer, stream())
    read = model.with_relation(anchors, tables)
    assert read.rule_tables is tables
    one = read.with_relation(replace(anchors, anchors=1, layers=("sentences", "own")))
    np.testing.assert_array_equal(one.rule_tables.entropy, tables.entropy)
    assert sorted(one.rule_tables.arrays) == ["entropy", "sentences"]
    layered = model.with_relation(RelationConfig(layers=("clauses", "all")))
    assert sorted(layered.rule_tables.arrays) == ["clauses"]
    assert aila.fit_relation(ENDS, model.tokenizer) is None
    with pytest.raises(ValueError, match=r"the relation's tables are entropy; relation .* needs none"):
        model.with_relation(ENDS, tables)
    other = replace(tables, vocabulary="another")
    with pytest.raises(ValueError, match="were fitted to the vocabulary another"):
        model.with_relation(anchors, other)
    with pytest.raises(ValueError, match="train is None; it must be the training split"):
        aila.fit_relation(anchors, model.tokenizer)


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("plain", RelationConfig()),
        ("pointers=ends,sink", ENDS),
        ("sink=true, pointers = ends", ENDS),
        ("sink=false,shift=2", RelationConfig(shift=2)),
        ("pointers=anchors,anchors=1,horizon=4", RelationConfig(pointers="anchors", horizon=4)),
        ("layers=windows:16+all", RelationConfig(layers=("windows:16", "all"))),
        ("pointers=random,seed=7", RelationConfig(pointers="random", seed=7)),
    ],
)
def test_a_line_is_a_relation_and_back(text, config):
    assert relation_of(text) == config
    assert relation_of(relation_line(config)) == config
    assert OpenOptions(relation=text).relation == relation_line(config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ends", "relation is 'ends'; it must be settings"),
        ("pointers", "relation is 'pointers'; it must be pointers=VALUE"),
        ("pointers=", "relation is 'pointers='; it must be settings"),
        ("pointers=end", "relation.pointers is 'end'; it must be one of"),
        ("shift=x", "relation is 'shift=x'; it must be shift= a whole number"),
        ("sink=yes", "relation is 'sink=yes'; it must be sink, sink=true or sink=false"),
        ("sink,sink", "relation is 'sink,sink'; it must be settings"),
        ("horizon=0", "relation.horizon is 0; it must be from 1"),
        ("layers=lines", "relation.layers is 'lines'; it must be one of"),
    ],
)
def test_another_line_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        OpenOptions(relation=text)


def test_a_checkpoint_is_swept_with_another_relation(trained, tmp_path, capsys):
    run = runs.open_run(trained.run.workdir, relation="pointers=anchors,sink")
    assert run.home == trained.run.workdir / "relation-sink-pointers-anchors-anchors-1"
    train = trained.dataset.splits["train"]
    want = aila.fit_relation(RelationConfig(pointers="anchors"), trained.model.tokenizer, train)
    np.testing.assert_array_equal(run.model.rule_tables.entropy, want.entropy)
    out = tmp_path / "out"
    arguments = [
        f"--checkpoint={trained.run.workdir}",
        f"--out={out}",
        "--lams=1",
        "--taus=1",
        "--max_batches=1",
    ]
    assert main(["sweep", *arguments, "--relation=pointers=ends,sink", "--window=4"]) == 0
    assert "keys inside" in capsys.readouterr().out
    document = json.loads((out / "sweep.json").read_text(encoding="utf-8"))
    assert document["meta"]["relation"] == {"sink": True, "pointers": "ends"}
    assert document["meta"]["training"]["relation"] == {}
    result = read_sweep(out)
    assert result.config.relation == ENDS and result.config.partition.size == 4
    assert own_sweep(out, trained.model) is None
    read = read_as_scored(trained.model, result)
    assert (read.config.relation, read.config.partition.size) == (ENDS, 4)
    assert main(["sweep", *arguments, "--relation=end"]) == 2
    assert "--relation is 'end'; it must be settings" in capsys.readouterr().err


def test_a_sweep_with_entropies_is_not_read_without_them(trained, tmp_path):
    run = runs.open_run(trained.run.workdir, relation="pointers=anchors")
    result = runs.sweep(run, SweepOptions(lams=(1.0,), taus=(1.0,)), tmp_path, quiet=True)
    assert own_sweep(tmp_path, run.model) is not None
    assert own_sweep(tmp_path, trained.model) is None
    with pytest.raises(ValueError, match=r"relation of the sweep is .*Fix: pass --checkpoint=none"):
        read_as_scored(trained.model, result)
    assert read_as_scored(run.model, result).rule_tables is not None

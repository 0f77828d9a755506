"""Settings of relations: what does not go together, what nothing reads, and every way to write layers."""

import json
import re
from dataclasses import replace

import pytest

from aila_jax import runs
from aila_jax.cli.main import main
from aila_jax.config import (
    Config,
    MarginConfig,
    ModelConfig,
    RelationConfig,
    check_unread,
    from_dict,
    saved_config,
    to_dict,
)
from aila_jax.partition.rule_tables import build_rules
from aila_jax.partition.rules import PLAIN

TWO = {"model": {"n_layers": 2}}
CONLLU = {
    "data": {"corpus": "conllu", "files": ["a"], "conllu_blocks": "classes"},
    "partition": {"kind": "given"},
}


@pytest.mark.parametrize(("values", "words"), [
    ({"relation": {"pointers": "ends"}, "partition": {"size": 1}},
     "relation.pointers is 'ends'; it must be 'none' with windows of 1: then every token is one. Fix: set --config.partition.size=5."),
    ({"relation": {"pointers": "random", "layers": ("own", "windows:1")}, **TWO},
     "relation.pointers is 'random'; it must be 'none' with windows of 1: then every token is one. Fix: name longer"),
    ({"relation": {"shift": 5}}, "relation.shift is 5; it must be less than partition.size (5). Fix: set --config.relation.shift=2."),
    ({"relation": {"shift": 1}, "partition": {"size": 1}},
     "relation.shift is 1; it must be less than partition.size (1). Fix: set --config.relation.shift=0."),
    ({"relation": {"shift": 2}, "partition": {"kind": "segments"}},
     "relation.shift is 2; it must be 0 or 1 with partition.kind 'segments'. Fix: set --config.relation.shift=1."),
    ({"relation": {"shift": 2}, "partition": {"kind": "given"}}, "relation.shift is 2; it must be 0 or 1 with partition.kind 'given'."),
    *[
        ({"relation": {name: value}, "partition": {"kind": kind}},
         f"relation.{name} is {value!r}; it must be {none} with partition.kind '{kind}', whose blocks are no stretches of text. Fix: ")
        for kind in ("induced_classes", "recruited")
        for name, value, none in (("shift", 1, "0"), ("pointers", "anchors", "'none'"))
    ],
    ({"relation": {"shift": 1}, **CONLLU}, "relation.shift is 1; it must be 0 with partition.kind 'given', whose blocks are no stretches of text."),
    ({"relation": {"pointers": "ends"}, **CONLLU}, "relation.pointers is 'ends'; it must be 'none' with partition.kind 'given', whose blocks"),
    ({"relation": {"pointers": "ends", "layers": ("own", "all")}, "partition": {"kind": "recruited"}, **TWO}, "no stretches of text"),
    ({"relation": {"sink": True}, "partition": {"global_first": True}},
     "relation.sink is True; it must be false with partition.global_first, which makes the same token a query of every block too."
     " Fix: set --config.partition.global_first=false."),
    ({"relation": {"layers": ("all",)}, **TWO},
     "relation.layers is ('all',); it must be empty, or one word a layer (2). Fix: set --config.relation.layers=\"('own', 'all')\"."),
    ({"relation": {"layers": ("all",)}, "model": {"n_layers": 9}}, "one word a layer (9). Fix: leave it empty."),
    ({"relation": {"layers": ("own", "windows:999")}, **TWO}, "it must be windows of at most model.length (128). Fix: set windows:5."),
    ({"relation": {"layers": ("own", "all"), "shift": 1}, **TWO},
     "relation.shift is 1; it must be 0 with relation.layers, where each layer has blocks of its own. Fix: set --config.relation.shift=0."),
])  # fmt: skip
def test_relations_that_contradict_other_settings_are_refused(values, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        from_dict(Config, values)


@pytest.mark.parametrize("values", [
    {"relation": {"layers": ("all", "windows:4"), "pointers": "ends"}, "partition": {"kind": "recruited"}, **TWO},  # classes in no layer
    {"relation": {"sink": True, "layers": ("own", "all")}, "partition": {"kind": "recruited"}, **TWO},
    {"relation": {"layers": ("windows:1", "all")}, **TWO},
    {"relation": {"shift": 4, "sink": True, "pointers": "anchors", "anchors": 5, "horizon": 1}},
    {"relation": {"shift": 1, "pointers": "random", "seed": 2**32 - 1}, "partition": {"kind": "learned_segments"}},
    {"relation": {"shift": 1}, "partition": {"kind": "given"}},
    {"model": {"margin": {"gate": 1e4}}},
])  # fmt: skip
def test_what_goes_together_is_taken_and_comes_back(values):
    config = from_dict(Config, values)
    check_unread(replace(config, partition=replace(config.partition, size=5)))
    assert from_dict(Config, json.loads(json.dumps(to_dict(config)))) == config
    assert saved_config(json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize(("values", "words"), [
    ({"horizon": 3},
     "relation.horizon is 3; it must be left at 1048576 when relation.pointers is 'none'. Fix: leave it out, or set --config.relation.pointers=ends"),
    ({"anchors": 2, "pointers": "ends"}, "relation.anchors is 2; it must be left at 1 when relation.pointers is 'ends'"),
    ({"seed": 2, "pointers": "anchors"}, "relation.seed is 2; it must be left at 0 when relation.pointers is 'anchors'"),
])  # fmt: skip
def test_settings_that_no_relation_reads_are_refused_where_something_begins(values, words, tmp_path):
    config = from_dict(Config, {"relation": values})
    with pytest.raises(ValueError, match=re.escape(words)):
        runs.train(config, tmp_path / "run", quiet=True)
    assert not list(tmp_path.glob("run/*.json"))


def test_a_saved_configuration_of_before_has_no_relation_and_no_gate():
    saved = to_dict(Config(model=ModelConfig(margin=MarginConfig(nats=3.0))))
    del saved["relation"], saved["model"]["margin"]["gate"]
    config = saved_config(saved)
    assert config.relation == RelationConfig() and config.relation.plain
    assert config.model.margin == MarginConfig(nats=3.0) and config.model.margin.gate == 0.0
    assert build_rules(config) == PLAIN or build_rules(config).plain


@pytest.mark.parametrize(("values", "settings"), [
    ({}, {}),
    ({"pointers": "anchors"}, {"pointers": "anchors", "anchors": 1}),
    ({"pointers": "anchors", "anchors": 3, "horizon": 2}, {"pointers": "anchors", "anchors": 3, "horizon": 2}),
    ({"sink": True, "layers": ("own", "all")}, {"sink": True, "layers": ("own", "all")}),
    ({"anchors": 2}, {"anchors": 2}),
])  # fmt: skip
def test_the_settings_that_are_said(values, settings):
    assert RelationConfig(**values).settings == settings


def test_layers_are_a_list_in_json_and_words_in_a_flag(tmp_path, capsys):
    config = from_dict(Config, {"relation": {"layers": ["windows:8", "all"]}, **TWO})
    assert config.relation.layers == ("windows:8", "all")
    assert [size for _, size in config.relation.layer_blocks] == [8, 0]
    command = ["train", "--config=tiny", f"--workdir={tmp_path / 'run'}", "--config.data.corpus=text"]
    command.append(f"--config.data.files=('{tmp_path}/none.txt',)")
    for word, says in {
        "('windows:8','all')": "data.files has",  # the next thing that is wrong
        "('windows:8','al')": "relation.layers is 'al'; it must be one of own, clauses, sentences, all, windows:SIZE. Fix: windows:16, say.",
        "('windows:8',)": "it must be empty, or one word a layer (2)",
        "windows:8,all": "--config.relation.layers=windows:8,all",
    }.items():
        assert main([*command, f"--config.relation.layers={word}"]) != 0
        assert says in capsys.readouterr().err


def test_help_says_what_each_setting_is(capsys):
    assert main(["train", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for name in (
        "sink=false",
        "shift=0",
        "pointers=none",
        "anchors=1",
        "horizon=1048576",
        "seed=0",
        "layers='()'",
    ):
        assert f"--config.relation.{name}" in text
    assert re.search(r"--config\.model\.margin\.gate=0 ", text)

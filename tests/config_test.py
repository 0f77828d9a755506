"""Tests of the configuration: every limit refuses with the value, the limit and the fix; dictionaries make
the trip and back.
"""

import dataclasses
import json
import math
import re
import typing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aila_jax import presets, runs
from aila_jax.config import (
    AdapterConfig,
    AnchorConfig,
    AttentionRoute,
    Config,
    DataConfig,
    LocalityConfig,
    MarginConfig,
    MeshConfig,
    ModelConfig,
    OptimizerKind,
    PartitionConfig,
    PenaltyConfig,
    QuestionConfig,
    RelationConfig,
    Remat,
    RotaryConfig,
    RuleConfig,
    SweepConfig,
    TrainConfig,
    by_rules_of,
    check_lam,
    check_tau,
    check_unread,
    from_dict,
    saved_config,
    serialize,
    to_dict,
    user_path,
)
from aila_jax.thresholds.measure import threshold_runs
from experiments.ablations.runs import penalty_runs, windows_runs
from experiments.first_dial.runs import first_dial
from experiments.leak.runs import leak_runs
from experiments.one_checkpoint.recipe import recipe_runs
from experiments.one_checkpoint.runs import grid_runs, one_checkpoint_runs

SECTIONS = {
    "data": DataConfig,
    "data.rule": RuleConfig,
    "data.questions": QuestionConfig,
    "partition": PartitionConfig,
    "relation": RelationConfig,
    "anchors": AnchorConfig,
    "model": ModelConfig,
    "model.margin": MarginConfig,
    "model.rotary": RotaryConfig,
    "model.adapters": AdapterConfig,
    "locality": LocalityConfig,
    "penalty": PenaltyConfig,
    "train": TrainConfig,
    "sweep": SweepConfig,
    "mesh": MeshConfig,
    "": Config,
}
NAN, INF = math.nan, math.inf
BELOW_ONE = [0, -3]
NOT_FINITE_OR_NEGATIVE = [-0.1, INF, NAN]
NOT_FINITE_OR_ZERO = [0.0, -1.0, INF, NAN]
OUTSIDE_UNIT = [-0.01, 1.01, INF, NAN]

# section, setting, values outside its limits, words of the limit
BAD = [
    ("", "seed", [-1, 2**32], "in [0, 2**32)"),
    ("data", "corpus", ["wikitext", ""], "one of pydocs, wikitext2, text"),
    ("data", "tokenizer", ["words"], "one of bpe, word"),
    ("data", "file_kinds", ["", "bytes"], "one of content, suffix"),
    ("data", "hold_out", ["tokens"], "one of text, lines"),
    ("data", "repeated", ["refuse"], "one of leave_out, keep"),
    ("train", "schedule", ["cosine"], "one of exact, offset"),
    ("train", "trained", ["adapters"], "one of all, dial"),
    ("data", "vocab_size", [257, 0], "at least 258 for bpe"),
    ("data", "valid_fraction", [0.0, 0.5, -0.1, NAN], "in (0, 0.5)"),
    ("data", "test_fraction", [0.0, 0.5, NAN], "in (0, 0.5)"),
    *[
        ("data", name, [("a.txt",)], "empty when data.corpus is 'pydocs'")
        for name in ("files", "valid_files", "test_files")
    ],
    ("data", "conllu_blocks", ["clauses"], "one of sentences, classes, constituents"),
    ("data", "conllu_blocks", ["classes"], "left alone when data.corpus is 'pydocs'"),
    ("data", "data_dir", ["here"], "empty when data.corpus is 'pydocs'"),
    *[("data.rule", name, [-1], "at least 0") for name in ("seed",)],
    *[("data.rule", name, BELOW_ONE, "at least 1") for name in ("sequences", "depth", "brackets")],
    *[("data.rule", name, [1, 0], "at least 2") for name in ("n_keys", "n_values", "kinds")],
    ("data.rule", "pairs", [0, 17], "from 1 to data.rule.n_keys (16)"),
    ("data.rule", "queries", [0, 5], "from 1 to data.rule.pairs (4)"),
    ("data.questions", "seed", [-1, 2**32], "from 0 to 4294967295"),
    ("data.questions", "sequences", BELOW_ONE, "from 1 to 100000000"),
    ("data.questions", "kinds", [(), ("guess",)], "one or more of one_hop"),
    ("data.questions", "least", [0, 9], "from 1 to 8"),
    ("data.questions", "most", [0, 65], "from 1 to 64"),
    ("data.questions", "asked", [0, 9], "from 1 to 8"),
    ("data.questions", "agree", [-1, 9], "from 0 to 8"),
    ("data.questions", "rivals", OUTSIDE_UNIT, "in [0, 1]"),
    ("data.questions", "same", OUTSIDE_UNIT, "in [0, 1]"),
    ("data.questions", "repeated", [1, 193], "from 2 to 192"),
    ("data.questions", "gap", [-1, 17], "from 0 to 16"),
    ("data.questions", "words", [7, 10**7], "from 8 to 1000000"),
    ("data.questions", "equal", OUTSIDE_UNIT, "in [0, 1]"),
    ("data.questions", "scored", ["passages", ""], "one of answers, questions"),
    ("data.questions", "capacity", [-1, 10**7], "from 0 to 1000000"),
    *[
        ("data", f"tfds_{name}", ["x"], "empty when data.corpus is 'pydocs'")
        for name in "name data_dir text train validation test".split()
    ],
    ("partition", "kind", ["window"], "one of windows, given"),
    ("anchors", "estimator", ["corpora"], "one of none, corpus, attention"),
    ("anchors", "k", [0, 6], "from 1 to 5"),
    ("anchors", "prior", NOT_FINITE_OR_ZERO, "finite and above 0"),
    ("anchors", "max_batches", [-1], "at least 0"),
    ("partition", "size", BELOW_ONE, "at least 1"),
    ("partition", "unit", ["clauses"], "one of clause, sentence"),
    ("partition", "mean_length", [1.99, INF, NAN], "finite and at least 2"),
    ("partition", "unnamed", ["rest", ""], "left alone when partition.kind is 'windows'"),
    ("partition", "class_file", ["my.classes"], "left alone when partition.kind is 'windows'"),
    ("partition", "classes", [1, 0], "at least 2"),
    ("partition", "start", [0, -1], "at least 1"),
    ("partition", "max_classes", [-1, 1], "0 (as many as pay for themselves) or at least 2"),
    *[
        ("partition", name, [3], "left alone when partition.kind is 'windows'")
        for name in ("classes", "start", "max_classes")
    ],
    ("model.margin", "form", ["self-scaling"], "one of fixed, self_scaling"),
    ("model.margin", "range", ["norm"], "one of exact, norms"),
    *[
        ("model.margin", name, [*NOT_FINITE_OR_NEGATIVE, 1.0001e4, 3e38], "from 0 to 10000,")
        for name in ("nats", "c", "m0")
    ],
    ("model.margin", "range_bend", [0.9, -1.0, NAN, INF], "finite and at least 1"),
    ("model.margin", "power", [0.0, -1.0, NAN, INF], "finite and above 0"),
    ("model.margin", "linear", OUTSIDE_UNIT, "from 0 to 1"),
    ("model.margin", "stagger", [-0.01, 0.91, NAN], "from 0 to 0.9"),
    ("model.margin", "gate", [*NOT_FINITE_OR_NEGATIVE, 1.0001e4], "from 0 to 10000"),
    ("relation", "shift", [-1], "at least 0"),
    ("relation", "pointers", ["end", ""], "one of none, ends, anchors, random"),
    ("relation", "anchors", [0, 6], "from 1 to 5"),
    ("relation", "horizon", [0, -1, 2**20 + 1], "from 1 to 1,048,576, which is all blocks"),
    ("relation", "seed", [-1, 2**32], "in [0, 2**32)"),
    (
        "relation",
        "layers",
        [
            ("own", word)
            for word in "windows windows: windows:0 windows:x windows:-1 own:3 sentence All".split()
        ],
        "one of own, clauses, sentences, all, windows:SIZE",
    ),
    *[
        ("model", name, BELOW_ONE, "at least 1")
        for name in ("length", "d_model", "n_heads", "d_ff", "n_layers")
    ],
    ("model", "d_model", [130], "divisible by model.n_heads (4)"),
    ("model", "dropout", [-0.1, 1.0, NAN], "in [0, 1)"),
    ("model", "score_cap", [*NOT_FINITE_OR_NEGATIVE, 1.0001e4, 3e38], "from 0 to 10,000"),
    ("model", "rotary_base", [1.0, 0.5, -1.0, NAN, INF], "0 for none, or finite and above 1"),
    ("model", "norm", ["layernorm", "rms"], "one of centred, layer_norm, rms_norm"),
    ("model", "attention", ["tiles", ""], "one of auto, chunked, fused, reference"),
    ("model", "init", ["zeros", ""], "one of normal, mimetic"),
    ("model", "init_std", [*NOT_FINITE_OR_ZERO, 1.5], "above 0 and at most 1"),
    ("model", "norm_epsilon", NOT_FINITE_OR_ZERO, "finite and above 0"),
    ("model", "feed_forward", ["relu", ""], "one of gelu, gelu_exact, swiglu"),
    ("model", "n_kv_heads", [-1], "at least 0"),
    ("model", "n_kv_heads", [3, 8], "a divisor of model.n_heads (4), or 0 for as many"),
    ("model", "head_width", [-1], "at least 0"),
    ("model.rotary", "share", [0.0, 1.01, -0.5, NAN], "above 0 and at most 1"),
    ("model.rotary", "layout", ["half"], "one of halves, interleaved"),
    ("model.rotary", "scaling", ["yarn", "dynamic"], "one of none, linear, llama3"),
    ("model.rotary", "factor", [0.5, 0.0, INF, NAN], "finite and at least 1"),
    ("model.rotary", "low_factor", NOT_FINITE_OR_ZERO, "finite and above 0"),
    ("model.rotary", "high_factor", [1.0, 0.5, INF, NAN], "above model.rotary.low_factor (1)"),
    ("model.rotary", "original_length", BELOW_ONE, "at least 1"),
    ("model.adapters", "rank", [-1], "at least 0"),
    ("model.adapters", "on", [("query", "mlp")], "one of query, key, value, out"),
    ("model.adapters", "on", [(), ("key", "key")], "at least one projection, each once"),
    ("model", "dial_weights", ["q", "kv"], "one of none, qk, qkv"),
    ("model", "dtype", ["float16", "bf16"], "one of float32, bfloat16"),
    ("model", "layer_beta", NOT_FINITE_OR_NEGATIVE, "finite and at least 0"),
    ("model", "g_max", NOT_FINITE_OR_ZERO, "finite and above 0"),
    ("model", "localist_shared", OUTSIDE_UNIT, "in [0, 1]"),
    ("train", "optimizer", ["sgd", ""], "one of adamw, muon"),
    ("penalty", "solver", ["prox"], "one of none, subgradient, proximal"),
    ("penalty", "weights", ["sizes"], "one of size, anchors, inverse_anchors"),
    *[("penalty", name, NOT_FINITE_OR_NEGATIVE, "finite and at least 0") for name in ("eta", "nu")],
    *[("penalty", name, [0.1], "0 when penalty.solver is 'none'") for name in ("eta", "nu")],
    ("penalty", "groups", [-1], "at least 0"),
    ("locality", "mode", ["condition"], "one of fixed, curriculum, conditional"),
    ("locality", "shape", ["cos"], "one of linear, cosine"),
    ("locality", "views", BELOW_ONE, "at least 1"),
    ("locality", "distill", OUTSIDE_UNIT, "in [0, 1]"),
    ("locality", "taught", OUTSIDE_UNIT, "in [0, 1]"),
    ("locality", "pressure", NOT_FINITE_OR_NEGATIVE, "finite and at least 0"),
    ("locality", "lam", OUTSIDE_UNIT, "a number in [0, 1]"),
    ("locality", "tau", NOT_FINITE_OR_ZERO, "a number from 1e-06 to 1e"),
    ("locality", "tau_low", [*NOT_FINITE_OR_ZERO, 2.5], ""),
    ("locality", "tau_high", [*NOT_FINITE_OR_ZERO, 0.25], ""),
    ("locality", "start", [-0.1, 0.5, 0.7, NAN], "0 <= start < end <= 1"),
    ("locality", "end", [0.0, 1.1, NAN], "0 <= start < end <= 1"),
    *[("locality", f"{when}power", NOT_FINITE_OR_ZERO, "finite and above 0") for when in ("", "end_")],
    *[
        ("locality", f"{name}", [-0.1, 1.1, NAN], "at least 0 and together at most 1")
        for name in "at_zero at_one end_at_zero end_at_one".split()
    ],
    *[
        ("train", name, BELOW_ONE, "at least 1")
        for name in ("steps", "batch_size", "log_every", "eval_every", "checkpoint_every", "keep")
    ],
    ("train", "accumulate", BELOW_ONE, "at least 1"),
    ("train", "accumulate", [5, 64], "a divisor of train.batch_size (32)"),
    ("train", "parallel", ["pmapped", ""], "one of jit, pmap"),
    *[
        ("train", name, [-1], "at least 0")
        for name in (
            "warmup_steps",
            "eval_batches",
            "last_eval_batches",
            "max_skipped",
            "loss_chunk",
            "patience",
            "keep_every",
        )
    ],
    *[
        ("train", name, NOT_FINITE_OR_ZERO, "finite and above 0")
        for name in ("learning_rate", "clip_norm", "dial_rate")
    ],
    ("train", "weight_decay", NOT_FINITE_OR_NEGATIVE, "finite and at least 0"),
    ("train", "min_delta", NOT_FINITE_OR_NEGATIVE, "finite and at least 0"),
    ("train", "final_rate", OUTSIDE_UNIT, "in [0, 1]"),
    ("train", "beta2", [0.0, 1.0, NAN], "in (0, 1)"),
    ("train", "remat", ["layers", ""], "one of auto, none, dots, full"),
    ("mesh", "data", [-1, 2**20 + 1], "at least 0, and at most 1,048,576"),
    *[
        ("mesh", name, [*BELOW_ONE, 2**20 + 1], "at least 1, and at most 1,048,576")
        for name in ("fsdp", "tensor")
    ],
    ("sweep", "lams", [()], "non-empty"),
    ("sweep", "lams", [(0.0, 1.5), (NAN,)], "a number in [0, 1]"),
    ("sweep", "taus", [()], "non-empty"),
    ("sweep", "taus", [(1.0, 0.0), (INF,)], "a number from 1e-06 to 1e"),
    ("sweep", "split", ["valid"], "one of train, validation, test"),
    ("sweep", "batch_size", BELOW_ONE, "at least 1"),
    ("sweep", "max_batches", [-1], "at least 0"),
    ("sweep", "part", ["last"], "one of spread, first"),
]
CASES = [(section, name, value, limit) for section, name, values, limit in BAD for value in values]
FREE = {  # settings that every value of their type suits
    "data": {"url", "begin", "cache_dir", "join_lines", "rule", "questions"},
    "partition": {"global_first"},
    "relation": {"sink"},
    "model": {
        *("margin", "rotary", "adapters", "hard", "qk_norm", "qkv_bias", "out_bias", "mlp_bias", "film"),
        *("parallel", "learned_positions", "tied", "document_mask", "localist", "bidirectional"),
    },
    "locality": {"draw_tau", "drift"},
    "penalty": {"ramp", "scale_free"},
    "train": {"keep_best"},
    "": {
        "data",
        "partition",
        "relation",
        "anchors",
        "model",
        "locality",
        "penalty",
        "train",
        "sweep",
        "mesh",
    },
}


@pytest.mark.parametrize(
    ("section", "name", "value", "limit"), CASES, ids=[f"{s}.{n}={v!r}" for s, n, v, _ in CASES]
)
def test_a_value_outside_its_limits_is_refused_with_value_limit_and_fix(section, name, value, limit):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are checked below
        SECTIONS[section](**{name: value})
    message = str(caught.value)
    assert message.startswith(section)
    assert name in message
    worst = (
        value[-1] if name in ("lams", "taus", "layers", "on") and value else value
    )  # of several, the bad one stands last
    assert repr(worst) in message
    assert f"must be {limit}" in message
    assert re.search(r"Fix: \S", message)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_stands_in_the_table_of_limits(section):
    tested = {name for of, name, _, _ in BAD if of == section}
    assert tested | FREE.get(section, set()) == {
        field.name for field in dataclasses.fields(SECTIONS[section])
    }


@pytest.mark.parametrize(("section", "values"), [
    ("data", {"vocab_size": 258, "valid_fraction": 0.499, "test_fraction": 1e-6}),
    ("data", {"tokenizer": "word", "vocab_size": 3}),
    ("data", {"corpus": "text", "files": ("a",)}),
    ("partition", {"size": 1}),
    ("partition", {"kind": "segments", "unit": "sentence"}),
    ("partition", {"kind": "learned_segments", "mean_length": 2.0}),
    ("partition", {"kind": "induced_classes", "classes": 2}),
    ("partition", {"kind": "recruited", "start": 1, "max_classes": 2}),
    ("partition", {"kind": "recruited", "start": 3, "max_classes": 3}),
    ("model.margin", {"nats": 0.0, "c": 0.0, "m0": 0.0, "power": 1e-9}),
    ("model.margin", {"nats": 1e4, "c": 1e4, "m0": 1e4, "stagger": 0.9}),
    ("model", {"length": 1, "d_model": 1, "n_heads": 1, "d_ff": 1, "n_layers": 1, "dropout": 0.0, "layer_beta": 0.0, "g_max": 1e-9}),
    ("locality", {"lam": 1.0, "start": 0.0, "end": 1.0, "at_zero": 0.25, "at_one": 0.75, "tau_low": 1.0, "tau_high": 1.0}),
    ("penalty", {"solver": "proximal", "eta": 0.0, "nu": 0.0, "groups": 0}),
    ("train", {"steps": 1, "batch_size": 1, "log_every": 1, "keep": 1, "warmup_steps": 0, "max_skipped": 0, "final_rate": 1.0, "weight_decay": 0.0}),
    ("sweep", {"lams": (0.0, 1.0), "taus": (1e-3,), "batch_size": 1, "max_batches": 0}),
    ("", {"seed": 2**32 - 1}),
])  # fmt: skip
def test_values_on_their_limits_are_taken(section, values):
    made = SECTIONS[section](**values)
    assert {name: getattr(made, name) for name in values} == values


@pytest.mark.parametrize(("values", "words"), [
    ({"data": {"corpus": "text"}}, r"data.files is \(\); it must be at least one path or glob"),
    ({"data": {"tokenizer": "word", "vocab_size": 2}}, "data.vocab_size is 2; it must be at least 3 for word"),
    ({"partition": {"size": 20}, "model": {"length": 16}}, r"partition.size is 20; it must be at most model.length \(16\).*size=5"),
    ({"partition": {"kind": "recruited", "start": 5, "max_classes": 4}}, "partition.max_classes is 4; it must be .* at least 5.*lower partition.start"),
    ({"partition": {"size": 5}, "model": {"length": 3}}, r"partition.size is 5; it must be at most model.length \(3\).*size=3"),
    ({"model": {"hard": True}}, r"locality.mode, lam is \('conditional', 0.0\).*'fixed', 1.0.*mode=fixed"),
    ({"model": {"hard": True}, "locality": {"mode": "fixed", "lam": 0.5}}, "when model.hard is set"),
    ({"locality": {"at_zero": 0.6, "at_one": 0.6}}, r"locality.at_zero, at_one is \(0.6, 0.6\)"),
    ({"locality": {"views": 2, "mode": "fixed"}}, r"locality.views is 2; it must be 1 with locality.mode 'fixed'. Fix: set locality.views=1"),
    ({"locality": {"distill": 0.5}}, r"locality.distill is 0.5; it must be 0 with locality.views 1. Fix: set locality.views=2"),
    ({"locality": {"pressure": 0.1, "mode": "fixed"}}, r"locality.pressure is 0.1; it must be 0 with locality.mode 'fixed' and λ = 0, where .* Fix"),
    ({"locality": {"pressure": 0.1, "mode": "fixed", "lam": 1.0}, "model": {"hard": True}}, "locality.pressure is 0.1; it must be 0 when model.hard"),
    ({"mesh": {"fsdp": 3}}, r"mesh.fsdp is 3; it must be a divisor of model.d_model \(128\). Fix: set --config.mesh.fsdp=1"),
    ({"mesh": {"tensor": 8}}, r"mesh.tensor is 8; it must be a divisor of model.n_heads \(4\). Fix: set --config.mesh.tensor=1"),
    ({"mesh": {"tensor": 4}, "model": {"d_ff": 6}}, r"mesh.tensor is 4; it must be a divisor of model.d_ff \(6\)"),
    (
        {"mesh": {"fsdp": 8}, "train": {"batch_size": 36}},
        r"train.batch_size is 36; it must be divisible by mesh.data · .* \(8\). Fix: set --config.train.batch_size=32",
    ),
    ({"mesh": {"data": 2, "fsdp": 2}, "train": {"batch_size": 12, "accumulate": 2}}, r"train.batch_size is 12; it must be .* \(8\).*=8"),
    ({"mesh": {"fsdp": 2}, "train": {"parallel": "pmap"}}, "train.parallel is 'pmap'; it must be 'jit' where mesh.fsdp"),
    ({"locality": {"tau_low": 3.0}}, r"locality.tau_low is 3.0; it must be at most locality.tau_high \(2.0\)"),
    ({"penalty": {"solver": "proximal", "scale_free": True}}, "penalty.scale_free is True; it must be false when penalty.solver is 'proximal'"),
    ({"penalty": {"solver": "proximal", "eta": 0.1}, "model": {"qk_norm": True}}, "penalty.scale_free is False; it must be true when model.qk_norm"),
    ({"penalty": {"solver": "subgradient"}, "partition": {"kind": "given"}}, "penalty.groups is 0; it must be above 0 when partition.kind is 'given'"),
    ({"penalty": {"solver": "subgradient", "groups": 200}}, r"penalty.groups is 200; it must be at most model.d_model \(128\)"),
    (
        {"penalty": {"solver": "proximal"}, "model": {"dial_weights": "qk"}, "train": {"dial_rate": 0.5}},
        "train.dial_rate is 0.5; it must be 1 with penalty.solver 'proximal'",
    ),
    ({"penalty": {"solver": "proximal"}, "train": {"optimizer": "muon"}}, "train.optimizer is 'muon'; it must be 'adamw' with penalty.solver"),
    ({"penalty": {"solver": "proximal"}, "partition": {"size": 3}, "model": {"d_model": 8}}, r"penalty.groups is 43; it must be .* \(8\).*groups=8"),
    ({"model": {"localist": True, "learned_positions": False}}, "model.localist is True; it must be false without model.learned_positions"),
    ({"model": {"head_width": 12, "rotary_base": 9.0, "rotary": {"share": 0.25}}}, "turned coordinates of a head is 3; it must be even"),
    ({"model": {"init": "mimetic", "qkv_bias": True}}, "model.init is 'mimetic'; it must be normal without model.rotary_base"),
    ({"model": {"localist": True}, "partition": {"kind": "given"}}, "model.localist is True; it must be false unless partition.kind is 'windows'"),
    ({"model": {"d_model": 130, "n_heads": 4}}, "d_model=132"),
    ({"model": {"d_model": 12, "n_heads": 4, "rotary_base": 100.0}}, r"model.d_model / model.n_heads is 3; it must be even with model.rotary_base"),
    ({"anchors": {"estimator": "corpus", "k": 5}}, r"anchors.k is 5; it must be at most partition.size - 1 \(4\).*k=4"),
    ({"anchors": {"estimator": "corpus", "k": 1}, "partition": {"size": 1}}, "at most partition.size - 1 .*size=5"),
    ({"anchors": {"estimator": "attention"}, "train": {"warmup_steps": 0}}, "train.warmup_steps is 0; it must be at least 1 for anchors"),
    ({"penalty": {"solver": "subgradient", "weights": "inverse_anchors"}}, "penalty.weights is 'inverse_anchors'.*anchors.estimator is 'none'"),
])  # fmt: skip
def test_settings_that_do_not_go_together_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        from_dict(Config, values)


@pytest.mark.parametrize(("values", "words"), [
    ({"locality": {"lam": 0.6}}, r"locality.lam is 0.6; it must be left at 0.0 when locality.mode is 'conditional', which draws λ.*mode=fixed"),
    ({"locality": {"mode": "fixed", "end": 0.3}}, "locality.end is 0.3; it must be left at 0.5 when locality.mode is 'fixed'.*mode=curriculum"),
    ({"locality": {"draw_tau": True, "tau": 0.5}}, "locality.tau is 0.5; it must be left at 1.0 when locality.draw_tau is set.*draw_tau=false"),
    ({"locality": {"tau_high": 4.0}}, "locality.tau_high is 4.0; it must be left at 2.0 when locality.draw_tau is not set.*draw_tau=true"),
    ({"data": {"corpus": "conllu", "files": ["a"], "conllu_blocks": "classes"}}, "data.conllu_blocks is 'classes'; .*partition.kind=given"),
    ({"partition": {"kind": "given", "size": 7}}, "partition.size is 7; it must be left at 5 when partition.kind is 'given'"),
    ({"anchors": {"k": 2}}, "anchors.k is 2; it must be left at 3 when anchors.estimator is 'none'.*anchors.estimator=corpus"),
    ({"penalty": {"ramp": False}}, "penalty.ramp is False; it must be left at True when penalty.solver is 'none'"),
    ({"penalty": {"scale_free": True}}, "penalty.scale_free is True; it must be left at False when .* set --config.penalty.solver=subgradient"),
    ({"anchors": {"estimator": "corpus"}, "penalty": {"weights": "anchors"}}, "penalty.weights is 'anchors'; it must be left at 'size' when"),
    ({"model": {"g_max": 4.0}}, "model.g_max is 4.0; it must be left at 6.0 when model.qk_norm is not set"),
    ({"model": {"margin": {"m0": 4.0}}}, "model.margin.m0 is 4.0; it must be left at 8.0 when model.margin.form is 'fixed'"),
    ({"model": {"localist_shared": 0.5}}, "model.localist_shared is 0.5; it must be left at 0.25 when model.localist is not set"),
])  # fmt: skip
def test_settings_that_nothing_reads_are_refused_where_something_begins(values, words, tmp_path):
    config = from_dict(Config, values)  # as such it is allowed: saved runs may have it
    with pytest.raises(ValueError, match=words):
        check_unread(config)
    with pytest.raises(ValueError, match=words):
        runs.train(config, tmp_path / "run", quiet=True)
    assert not list(tmp_path.glob("run/*.json"))


def test_a_home_that_is_nobodys_is_refused():
    with pytest.raises(
        ValueError, match=r"path is '~nosuchuser/x'; ~nosuchuser must be a user of this machine\. Fix: "
    ):
        user_path("~nosuchuser/x")
    assert user_path("~/x") == Path.home() / "x"


def test_nothing_that_this_project_begins_is_refused_for_a_setting_unread():
    certified = presets.certified_windows5()
    begun = [presets.preset(name) for name in presets.PRESETS]
    for some in (
        one_checkpoint_runs(certified),
        grid_runs(certified),
        recipe_runs(certified),
        threshold_runs(presets.small()),
    ):
        begun += some.values()
    for make in (first_dial, leak_runs, windows_runs, penalty_runs):
        begun += make(presets.small()).values()
    assert len(begun) > 60
    for config in begun:
        check_unread(config)


def test_hard_blocks_and_their_lam_go_together():
    config = from_dict(Config, {"model": {"hard": True}, "locality": {"mode": "fixed", "lam": 1}})
    assert config.model.hard
    assert (
        from_dict(Config, {"partition": {"kind": "given", "size": 500}}).partition.size == 500
    )  # no window size there


def test_groups_default_to_the_blocks_of_a_window():
    assert Config().feature_groups == 26  # 128 tokens in windows of 5
    for values, groups in (
        ({"model": {"length": 100}}, 20),
        ({"penalty": {"groups": 7}}, 7),
        ({"partition": {"kind": "given"}}, 0),
        ({"partition": {"kind": "induced_classes", "classes": 12}}, 12),
        ({"partition": {"kind": "induced_classes"}, "penalty": {"groups": 7}}, 7),
        ({"partition": {"kind": "given"}, "penalty": {"groups": 7}}, 7),
    ):
        assert from_dict(Config, values).feature_groups == groups


@pytest.mark.parametrize(("values", "key", "nearest"), [
    ({"train": {"stepss": 3}}, "train.stepss", "train.steps"),
    ({"trian": {}}, "trian", "train"),
    ({"model": {"margin": {"nat": 3}}}, "model.margin.nat", "model.margin.nats"),
    ({"locality": {"lambda": 0.5}}, "locality.lambda", "locality.lam"),
])  # fmt: skip
def test_an_unknown_key_is_refused_and_the_nearest_named(values, key, nearest):
    with pytest.raises(ValueError, match=re.escape(f"unknown config key {key!r}; did you mean {nearest!r}?")):
        from_dict(Config, values)


def test_an_unknown_key_like_no_other_gets_the_list_of_known_ones():
    with pytest.raises(
        ValueError,
        match=(
            r"unknown config key 'zzzzqq'; known keys: anchors, data, locality, mesh, model, partition,"
            r" penalty, relation, seed, sweep, train"
        ),
    ):
        from_dict(Config, {"zzzzqq": 1})


def test_nothing_is_lost_by_coercion():
    config = from_dict(
        Config,
        {
            "seed": 3.0,
            "train": {"learning_rate": 1, "steps": 30.0},
            "sweep": {"lams": [0, 1], "taus": 2},
            "data": {"corpus": "text", "files": "a.txt", "valid_files": ["b", "c"]},
        },
    )
    assert config.seed == 3
    assert type(config.seed) is type(config.train.steps) is int
    assert type(config.train.learning_rate) is float
    assert config.sweep.lams == (0.0, 1.0)
    assert [type(lam) for lam in config.sweep.lams] == [float, float]
    assert config.sweep.taus == (2.0,)
    assert config.data.files == ("a.txt",)
    assert config.data.valid_files == ("b", "c")
    assert from_dict(Config, {"sweep": {"taus": np.array(0.5)}}).sweep.taus == (0.5,)


@pytest.mark.parametrize(("values", "words"), [
    ({"seed": True}, "seed is True, a bool; it must be a int. Fix: give a int."),
    ({"train": {"steps": 2.5}}, "train.steps is 2.5, a float; it must be a int"),
    ({"train": {"steps": "30"}}, "train.steps is '30', a str; it must be a int"),
    ({"train": {"steps": None}}, "train.steps is None, a NoneType; it must be a int"),
    ({"train": {"steps": NAN}}, "train.steps is nan, a float; it must be a int"),
    ({"train": {"learning_rate": "fast"}}, "train.learning_rate is 'fast', a str; it must be a float"),
    ({"train": {"learning_rate": True}}, "train.learning_rate is True, a bool; it must be a float"),
    ({"model": {"film": 1}}, "model.film is 1, a int; it must be a bool"),
    ({"model": {"film": "true"}}, "model.film is 'true', a str; it must be a bool"),
    ({"model": {"dtype": 32}}, "model.dtype is 32, a int; it must be a str"),
    ({"sweep": {"lams": ["a"]}}, "sweep.lams is 'a', a str; it must be a float"),
    ({"sweep": {"lams": [True]}}, "sweep.lams is True, a bool; it must be a float"),
    ({"data": {"files": np.array(0.5)}}, "data.files is 0.5, a float; it must be a str"),
])  # fmt: skip
def test_another_type_is_refused(values, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        from_dict(Config, values)


@pytest.mark.parametrize("value", [3, None, "fast", [1, 2]])
def test_a_value_where_a_group_of_settings_belongs_is_refused(value):
    with pytest.raises(ValueError, match=r"train is .*; it must be"):
        from_dict(Config, {"train": value})


@pytest.mark.parametrize("value", ["0.5", None, -0.1, NAN, np.array([0.5])])
def test_check_lam_refuses(value):
    with pytest.raises(ValueError, match=r"lam is .*; it must be a number in \[0, 1\]"):
        check_lam(value)


@pytest.mark.parametrize("value", ["1", None, 0, -1.0, 1e-7, 1e7, INF, NAN])
def test_check_tau_refuses(value):
    with pytest.raises(ValueError, match=r"tau is .*; it must be a number from 1e-06 to 1e"):
        check_tau(value)


def test_check_lam_and_tau_return_floats():
    for found in (check_lam(0), check_lam(np.float32(1)), check_tau(2), check_tau(np.int64(2))):
        assert type(found) is float


LIMITED = {  # settings whose limits a strategy must know; others are drawn by their type
    "vocab_size": st.integers(258, 10**6),
    "seed": st.integers(0, 2**32 - 1),
    **dict.fromkeys(("nats", "c", "m0", "score_cap"), st.floats(0, 1e4)),
    "range_bend": st.floats(1, 9),
    "stagger": st.floats(0, 0.9),
    "views": st.just(1),
    "distill": st.just(0.0),
    "lam": st.floats(0.001, 1),  # a fixed λ of 0 refuses pressure
    "final_rate": st.floats(0, 1),
    "dropout": st.floats(0, 0.99),
    "beta2": st.floats(0.01, 0.99),
    "valid_fraction": st.floats(0.001, 0.499),
    "test_fraction": st.floats(0.001, 0.499),
    **dict.fromkeys("at_zero at_one end_at_zero end_at_one".split(), st.floats(0, 0.5)),
    "start": st.floats(0, 0.4),
    "end": st.floats(0.5, 1),
    "tau_low": st.floats(0.01, 1),
    "tau_high": st.floats(1, 100),
    "d_model": st.sampled_from([24, 48]),
    "n_heads": st.sampled_from([1, 2, 3, 4]),
    "length": st.integers(100, 500),
    "size": st.integers(6, 100),
    "data_dir": st.just(""),
    **dict.fromkeys(
        [f"tfds_{name}" for name in "name data_dir text train validation test".split()], st.just("")
    ),
    "files": st.just(()),
    "valid_files": st.just(()),
    "test_files": st.just(()),
    "conllu_blocks": st.just("sentences"),
    "hard": st.just(False),
    "lams": st.lists(st.floats(0, 1), min_size=1, max_size=4).map(tuple),
    "taus": st.lists(st.floats(0.01, 100), min_size=1, max_size=4).map(tuple),
    "corpus": st.sampled_from(["pydocs", "wikitext2"]),
    "tokenizer": st.sampled_from(["bpe", "word"]),
    "kind": st.sampled_from(["windows", "given"]),
    "form": st.sampled_from(["fixed", "self_scaling"]),
    "range": st.sampled_from(["exact", "norms"]),
    "dtype": st.sampled_from(["float32", "bfloat16"]),
    "mode": st.sampled_from(["fixed", "curriculum", "conditional"]),
    "shape": st.sampled_from(["linear", "cosine"]),
    "solver": st.just("subgradient"),
    "weights": st.sampled_from(["size", "anchors", "inverse_anchors"]),
    "dial_weights": st.sampled_from(["none", "qk", "qkv"]),
    "rotary_base": st.sampled_from([0.0, 1e4]),
    "init": st.just("normal"),
    "init_std": st.sampled_from([0.02, 1.0]),
    "groups": st.integers(1, 12),
    "scale_free": st.just(True),
    "localist": st.just(False),
    "estimator": st.sampled_from(["corpus", "attention"]),
    "k": st.integers(1, 5),
    "rule": st.just(RuleConfig()),
    "questions": st.just(QuestionConfig()),
    "localist_shared": st.floats(0, 1),
    "linear": st.floats(0, 1),
    "split": st.sampled_from(["train", "validation", "test"]),
    "batch_size": st.sampled_from([6, 12]),
    "accumulate": st.sampled_from([1, 2, 3]),
    "parallel": st.sampled_from(["jit", "pmap"]),
    "schedule": st.sampled_from(["exact", "offset"]),
    "part": st.sampled_from(["spread", "first"]),
    "file_kinds": st.sampled_from(["content", "suffix"]),
    "hold_out": st.sampled_from(["text", "lines"]),
    "repeated": st.sampled_from(["leave_out", "keep"]),
    "join_lines": st.just(False),
    "sink": st.just(False),  # the rules below depend on the kind of blocks (tests/config_relation_test.py)
    "shift": st.just(0),
    "pointers": st.sampled_from(["none", "ends", "anchors", "random"]),
    "anchors": st.integers(1, 5),
    "horizon": st.integers(1, 2**20),
    "layers": st.just(()),
    "gate": st.sampled_from([0.0, 1.0]),
    "norm": st.sampled_from(["centred", "layer_norm", "rms_norm"]),
    "feed_forward": st.sampled_from(["gelu", "gelu_exact", "swiglu"]),
    "n_kv_heads": st.sampled_from([0, 1]),
    "head_width": st.sampled_from([0, 8]),
    "share": st.just(1.0),
    "layout": st.sampled_from(["halves", "interleaved"]),
    "scaling": st.sampled_from(["none", "linear", "llama3"]),
    "factor": st.floats(1, 100),
    "low_factor": st.floats(0.1, 1.9),
    "high_factor": st.floats(2, 100),
    "rank": st.integers(0, 16),
    "on": st.sampled_from([("query",), ("key", "out"), ("query", "key", "value", "out")]),
    "trained": st.just("all"),  # the other needs something that turns with the dial
    "taught": st.floats(0, 1),
    "attention": st.sampled_from(AttentionRoute),
    "remat": st.sampled_from(Remat),
    "optimizer": st.sampled_from(OptimizerKind),
    "data": st.sampled_from([0, 1]),
    "fsdp": st.just(1),
    "tensor": st.just(1),
}
BY_TYPE = {
    int: st.integers(1, 10**6),
    float: st.floats(1e-6, 1e6),
    bool: st.booleans(),
    str: st.text(),
    tuple[str, ...]: st.lists(st.text()).map(tuple),
}


def any_config(cls):
    hints = typing.get_type_hints(cls)
    drawn = {
        name: BY_TYPE[kind] if name not in LIMITED or (kind is bool and name == "parallel") else LIMITED[name]
        for name, kind in hints.items()
        if name in ("rule", "questions") or not dataclasses.is_dataclass(kind)
    }
    if cls is PartitionConfig:  # of its settings, `windows` and `given` may have these
        drawn = {name: drawn[name] for name in ("kind", "size", "global_first")}
    kinds = {
        **{name: any_config(kind) for name, kind in hints.items() if dataclasses.is_dataclass(kind)},
        **drawn,
    }
    return st.builds(cls, **kinds)


@given(any_config(Config))
def test_a_config_comes_back_from_its_dictionary_and_from_json(config):
    plain = to_dict(config)
    assert from_dict(Config, plain) == config
    assert from_dict(Config, json.loads(json.dumps(plain))) == config
    assert hash(config) == hash(from_dict(Config, plain))  # static in jit


@given(any_config(Config))
def test_a_saved_config_comes_back_too(config):
    assert saved_config(to_dict(config)) == config


def test_what_a_saved_config_lacks_means_the_old_rule(monkeypatch):
    monkeypatch.setattr(serialize, "OLD_RULES", {"train.steps": 7, "model.margin.nats": 3.0, "seed": 5})
    old = {"train": {"batch_size": 4}, "seed": 1}
    config = saved_config(old)
    assert (config.train.steps, config.train.batch_size, config.model.margin.nats) == (7, 4, 3.0)
    assert config.seed == 1
    assert old == {"train": {"batch_size": 4}, "seed": 1}
    assert saved_config(to_dict(Config())) == Config() == from_dict(Config, {})
    assert saved_config({}).seed == 5
    with pytest.raises(ValueError, match="train is 3, a int; it must be a group of settings"):
        saved_config({"train": 3})


def test_runs_from_before_a_rule_was_a_setting_keep_theirs():
    old = to_dict(Config())
    for key in ("file_kinds", "hold_out", "repeated"):
        del old["data"][key]
    del old["train"]["schedule"], old["sweep"]["part"]
    found = saved_config(old)
    assert (found.data.file_kinds, found.data.hold_out, found.data.repeated, found.train.schedule) == (
        "suffix", "lines", "keep", "offset"
    )  # fmt: skip
    config, taken = by_rules_of(old, Config())  # the command that began it goes on with it
    assert config == found and set(taken) == set(serialize.OLD_RULES)
    assert by_rules_of(to_dict(Config()), Config()) == (Config(), ())
    assert by_rules_of(old, found) == (found, ())


def test_a_setting_of_another_name_is_read_by_both(monkeypatch):
    monkeypatch.setattr(serialize, "ALIASES", {"train.rounds": "train.steps"})
    for read in (saved_config, lambda values: from_dict(Config, values)):
        assert read({"train": {"rounds": 9}}).train.steps == 9
        assert read({"train": {"steps": 8}}).train.steps == 8
        with pytest.raises(
            ValueError, match=r"train\.steps is given twice, once by its former name\. Fix: leave out"
        ):
            read({"train": {"steps": 8, "rounds": 9}})
    monkeypatch.setattr(serialize, "OLD_RULES", {"train.steps": 7})
    assert saved_config({"train": {"rounds": 9}}).train.steps == 9
    assert saved_config({}).train.steps == 7


def test_the_share_of_distillation_is_read_by_its_former_name():
    former = {"locality": {"views": 2, "teach": 0.5}}
    assert from_dict(Config, former).locality.distill == saved_config(former).locality.distill == 0.5


@pytest.mark.parametrize("name", presets.PRESETS)
def test_presets_come_back_too(name):
    assert from_dict(Config, presets.as_dict(name)) == presets.preset(name)


def test_a_preset_of_another_name_is_refused():
    with pytest.raises(
        ValueError,
        match=(
            r"preset is .smal.; it must be one of tiny, small, certified, certified_windows5, paper, base, large, xl, recall, brackets,"
            r" repeats, pairs, keys, sharper_keys, rivals, questions\. Fix: did you mean .small.\?"
        ),
    ):
        presets.preset("smal")


def test_missing_keys_keep_their_defaults_and_fields_are_frozen():
    config = from_dict(Config, {"train": {"steps": 3}})
    assert config == Config(train=TrainConfig(steps=3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1

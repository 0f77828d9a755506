"""Every public callable and each of its arguments: a wrong type or value is refused in one line that names
the value, the limit and the fix, before work starts.
"""

import dataclasses
import inspect
import typing
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import aila_jax as aila
from aila_jax import presets
from aila_jax.config import Config, DataConfig
from aila_jax.data.dataset import Dataset, encode_documents
from aila_jax.data.documents import Document
from aila_jax.data.tokenizer import Tokenizer
from aila_jax.guarantees.certificates import Certificate
from aila_jax.inference.attention_maps import AttentionMaps
from aila_jax.partition.anchors import Anchors
from tests.support.tiny import sentences
from tests.support.untrained import untrained_model

pytestmark = pytest.mark.usefixtures("unchecked_shapes")  # the refusals are the functions' own

NAN, INF = float("nan"), float("inf")
# What is wrong for an argument of each kind.
WRONG: dict[str, tuple[Any, ...]] = {
    "text": (None, 5, 2.5, b"x", ["a"], np.array(["a"])),
    "begin or None": (5, 2.5, b"x", ["a"], {}),
    "path": (None, 5, b"runs", ["a"], True, "", {}),
    "path or None": (5, b"runs", ["a"], True, "", {}),
    "path or empty": (None, 5, b"runs", ["a"], True, {}),
    "whole": (None, "3", 2.5, True, NAN, INF, -1, [3], b"3", np.float32(2.0), {}),
    "whole or None": ("3", 2.5, True, NAN, INF, -1, [3], b"3", np.float32(2.0), {}),
    "number": (None, "1", b"1", ["a"], 1j, NAN, INF, -1.0, {}, "one"),
    "flag": (None, "yes", 1, 2.5, [True], NAN, b"", {}),
    "flag or None": ("yes", 1, 2.5, [True], NAN, b"", {}),
    "numbers": ("0.5", 0.5, [], ["a"], [2e9], [NAN], b"0", [None], {}),
    "lams or None": ("0.5", 0.5, [], ["a"], [2e9], [NAN], b"0", [None], {}, [0.5, 0.5]),
    "seeds or None": ("0", 0, [], ["a"], [0.5], [2e10], [NAN], [-1], b"0", [None], {}, [1, 1]),
    "rates or None": (
        "0.5",
        0.5,
        [],
        ["a"],
        [0.0],
        [-1.0],
        [NAN],
        [INF],
        [1e39],
        b"0",
        [None],
        {},
        [0.1, 0.1],
    ),
    "indices": ("0", 0, [], ["a"], [0.5], [2e19], [NAN], [-1], b"0", [None], {}),
    "one of": (None, 5, b"auto", ["auto"], "atuo", ""),
    "one of or None": (5, b"auto", ["auto"], "atuo", ""),
    "ids": (
        None,
        5,
        "a text",
        ["a"],
        [[1, 2], [3]],
        [[1.0, 2.0]],
        [[None]],
        [[True]],
        [],
        [[]],
        [[-7]],
        [[2**40]],
    ),
    "ids or None": (5, "a text", ["a"], [[1, 2], [3]], [[1.0, 2.0]], [[None]], [[True]], [], [[]], [[-7]]),
    "text or ids or None": (5, 2.5, b"x", [], "", ["a"], [1.5], [[1, 2]], [True], [-1], [10**6], {}),
    "text or ids": (None, 5, 2.5, b"x", [], "", ["a"], [1.5], [[1, 2]], [True], [-1], [10**6], {}),
    "texts": (None, 5, 2.5, b"x", [5], [], [""], ["a", None], np.array(["a"])),
    "stops": (5, 2.5, b"x", [5], "", ["a", ""], ["\ud800"], {}),
    "chat": (5, "x", [], [5], [{"role": "user"}], [{"role": "user", "content": 5}], {}),
    "number or numbers": (None, "1", b"1", ["a"], 1j, NAN, INF, -1.0, {}, "one", [], [-1.0], [NAN], [[0.5]]),
    "texts or ids": (
        None,
        5,
        2.5,
        b"x",
        [],
        [5.5],
        [["a"]],
        [[1.5]],
        [[[1, 2]]],
        [True],
        [-1],
        ["a", 10**6],
        {},
    ),
    "some texts or ids": (
        None,
        5,
        2.5,
        b"x",
        [],
        "",
        ["a", ""],
        [1.5],
        [[1.5]],
        [[True]],
        [[-1]],
        [-1],
        [10**6],
        {},
    ),
    "passages": (
        None,
        5,
        2.5,
        b"x",
        [],
        [""],
        [5],
        [None],
        ["a", " "],
        [("a",)],
        [{"id": "a"}],
        {},
        "nowhere",
        {"a"},
    ),
    "names": (None, 5, 2.5, b"x", [], "", ["a"], "layer_9.residual", [5], {}),
    "type or None": (2.5, b"x", [1], -1, 10**6, True, "the cat", "", {}),
    "layer scale": ("x", 0.5, [0.5], [0.5, NAN], [0.5, 2.0], [[0.5, 0.5]], {}, ["a", "b"]),
    "config": (None, "tiny", {}, 5),
    "model": (None, 5, {}, b"runs", ["a"]),
    "object": ("x", 5, {}, ["a"]),
    "object or missing": (None, "x", 5, {}, ["a"]),
    "qkv": (None, "x", [1.0], np.zeros((1, 3, 2)), np.zeros((1, 3, 2, 4), np.int32), {}),
    "items": ("x", 5, [5], {"lam": 1.0}, [None]),
}


@cache
def dataset() -> Dataset:
    tokenizer = untrained_model().tokenizer
    stream = encode_documents(tokenizer, [Document("grammar", (sentences(20, 0),))])
    return Dataset("grammar", tokenizer, dict.fromkeys(("train", "validation", "test"), stream), "0" * 64)


@cache
def maps() -> AttentionMaps:
    return untrained_model().attention("the cat saw the old owl")


@cache
def anchors() -> Anchors:
    return Anchors(np.linspace(0, 1, 300), np.ones(300, np.int32), np.ones(5))


@cache
def certified() -> Certificate:
    return aila.certify(untrained_model())


QKV = np.ones((1, 3, 2, 4), np.float32)
ATTENTION = {"block_ids": np.zeros((1, 3), np.int32), "lam": 0.5, "tau": 1.0, "margin": 8.0}
TOKENS = np.array([[1, 2, 3]])
INSIDE = {
    "lam": "number", "tau": "number", "hard": "flag or None", "block_ids": "ids or None", "doc_ids": "ids or None",
    "limit_mib": "number", "quiet": "flag",
}  # fmt: skip
# Each callable: how it is reached, what it needs, and the kind of each of its arguments.
TABLE: dict[str, tuple[Callable[[], Callable[..., Any]], dict[str, Any], dict[str, str]]] = {
    "load": (lambda: aila.load, {"path": "nowhere"}, {"path": "path", "step": "whole or None", "fallback": "flag", "base": "path or None"}),
    "from_pretrained": (
        lambda: aila.from_pretrained,
        {"path": "tests/pretrained/files/llama"},
        {"path": "path", "length": "whole or None", "partition": "config", "relation": "config", "margin": "object", "begin": "begin or None"},
    ),
    "export": (
        lambda: aila.export,
        {"model": "tests/pretrained/files/mistral", "path": "/nowhere/out"},
        {
            "model": "model", "path": "path", "format": "one of", "lam": "number", "tau": "number", "base": "path or empty",
            "length": "whole or None", "fallback": "flag",
        },
    ),
    "train": (
        lambda: aila.train,
        {"config": Config(), "workdir": "/nowhere/run"},
        {"config": "config", "workdir": "path", "quiet": "flag", "start": "path or None", "preset": "object"},
    ),
    "localise": (
        lambda: aila.localise,
        {"start": str(Path(__file__).parent / "pretrained" / "files" / "neox"), "workdir": "/nowhere/run", "data": DataConfig()},
        {
            "start": "path", "workdir": "path", "data": "config", "partition": "object", "relation": "object",
            "length": "whole or None", "rank": "whole or None", "tokens": "whole", "full": "flag", "seed": "whole", "quiet": "flag",
        },
    ),
    "population": (
        lambda: aila.population,
        {"config": Config(), "workdir": "/nowhere/population"},
        {
            "config": "config", "workdir": "path", "lams": "lams or None", "seeds": "seeds or None",
            "learning_rates": "rates or None", "form": "one of", "together": "whole", "quiet": "flag", "preset": "object",
        },
    ),
    "plan": (
        lambda: aila.plan,
        {"config": Config()},
        {
            "config": "config", "mesh": "mesh or None", "device": "one of", "tokens": "whole or None", "utilisation": "share",
            "memory_gb": "size or None", "tflops": "size or None", "vocabulary": "whole or None",
        },
    ),
    "demo": (lambda: aila.demo, {}, {"workdir": "path"}),
    "sweep": (
        lambda: aila.sweep,
        {"model": untrained_model(), "dataset": dataset()},
        {
            "model": "model", "dataset": "object", "lams": "numbers", "taus": "numbers", "split": "one of or None",
            "batch_size": "whole or None", "max_batches": "whole or None", "part": "one of or None", "hard": "flag or None", "delta": "flag",
            "pointers": "one of", "quiet": "flag", "fallback": "flag",
        },
    ),
    "evaluate": (
        lambda: aila.evaluate,
        {"checkpoint": untrained_model(), "dataset": dataset()},
        {
            "checkpoint": "model", "dataset": "object", "lam": "number", "tau": "number", "split": "one of or None",
            "hard": "flag or None", "data_dir": "path or empty", "window": "whole or None", "batch_size": "whole or None",
            "max_batches": "whole or None", "part": "one of or None", "quiet": "flag", "fallback": "flag",
        },
    ),
    "certify": (
        lambda: aila.certify,
        {"model": untrained_model()},
        {
            "model": "model", "lam": "number", "tau": "number", "length": "whole or None", "bound": "one of",
            "hard": "flag or None", "layer_scale": "layer scale", "arithmetic": "one of or None", "text": "text or ids or None",
            "block_ids": "ids or None", "dataset": "object", "split": "one of or None", "batch_size": "whole or None",
            "max_batches": "whole or None", "part": "one of or None", "fallback": "flag",
        },
    ),
    "certify of a corpus": (
        lambda: aila.certify,
        {"model": untrained_model(), "bound": "empirical", "dataset": dataset()},
        {
            "dataset": "object or missing", "split": "one of or None", "batch_size": "whole or None",
            "max_batches": "whole or None", "part": "one of or None",
        },
    ),
    "answer": (
        lambda: aila.answer,
        {"model": untrained_model(), "question": "who?", "passages": ["the cat"]},
        {
            "model": "model", "question": "text", "passages": "passages", "lam": "number", "tau": "number",
            "mode": "one of or None", "capacity": "whole", "max_tokens": "whole", "stop": "stops", "chat": "flag",
            "template": "object", "pairs": "flag", "shapley": "whole", "seed": "whole", "abstain": "stops",
            "cache_dir": "path or empty", "cache_mib": "whole", "fallback": "flag",
        },
    ),
    "score": (
        lambda: aila.score,
        {"model": untrained_model(), "texts": "the cat"},
        {
            "model": "model",
            "texts": "texts or ids", "lam": "number or numbers", "tau": "number or numbers", "stride": "whole or None",
            "line_start": "flag", "unit": "one of", "hard": "flag or None", "batch_size": "whole",
            "top": "whole", "block_ids": "ids or None",
            "fallback": "flag",
        },
    ),
    "LanguageModel.score": (
        lambda: untrained_model().score,
        {"texts": "the cat"},
        {
            "texts": "texts or ids", "lam": "number or numbers", "tau": "number or numbers", "stride": "whole or None",
            "line_start": "flag", "unit": "one of", "hard": "flag or None", "batch_size": "whole",
            "top": "whole", "block_ids": "ids or None",
        },
    ),
    "report": (
        lambda: aila.report,
        {"result": "nowhere", "path": "/nowhere/report.html"},
        {
            "result": "path", "path": "path", "log": "items", "samples": "items", "maps": "items",
            "checkpoint": "path or empty", "text": "text", "layers": "indices", "heads": "indices", "prompt": "text",
            "sample_tokens": "whole",
        },
    ),
    "recruit": (
        lambda: aila.recruit,
        {"config": Config()},
        {
            "checkpoint": "path or empty", "config": "object", "top": "whole", "data_dir": "path or empty", "out": "path or empty",
            "quiet": "flag", "fallback": "flag",
        },
    ),
    "fit_partition": (
        lambda: aila.fit_partition,
        {"config": Config().partition, "tokenizer": dataset().tokenizer, "train": dataset().splits["train"]},
        {"config": "config", "tokenizer": "object or missing", "train": "object or missing", "quiet": "flag"},
    ),
    "fit_relation": (
        lambda: aila.fit_relation,
        {"config": Config().relation, "tokenizer": dataset().tokenizer},
        {"config": "config", "tokenizer": "object or missing", "train": "object"},
    ),
    "load_dataset": (
        lambda: aila.load_dataset,
        {"config": Config().data},
        {"config": "config", "tokenizer": "object"},
    ),
    "locality_attention": (
        lambda: aila.locality_attention,
        {"q_BxLxHxK": QKV, "k_BxLxHxK": QKV, "v_BxLxHxK": QKV, **ATTENTION},
        {
            "q_BxLxHxK": "qkv", "k_BxLxHxK": "qkv", "v_BxLxHxK": "qkv", "relation": "", "block_ids": "ids or None",
            "doc_ids": "ids or None", "key_block_ids": "ids or None", "lam": "number", "tau": "number",
            "margin": "number", "gate": "number", "scale": "scale", "score_cap": "number", "pointers": "pointers", "request": "object",
            "causal": "flag or None", "route": "one of",
            **dict.fromkeys(("hard", "stats", "delta", "weights", "in_block", "log_mass", "largest"), "flag"),
        },
    ),
    "locality_attention of a relation": (
        lambda: aila.locality_attention,
        {"q_BxLxHxK": QKV, "k_BxLxHxK": QKV, "v_BxLxHxK": QKV, "lam": 0.5, "tau": 1.0, "margin": 8.0},
        {"relation": "ids"},
    ),
    "SelfScaling": (
        lambda: aila.SelfScaling, {}, {"c": "number", "m0": "number", "exact": "flag", "bend": "number"},
    ),
    "Run": (
        lambda: aila.Run,
        {"workdir": "runs/tiny", "config": Config(), "step": 1},
        {"workdir": "path", "config": "config", "step": "whole", "began": "whole"},
    ),
    "LanguageModel": (
        lambda: aila.LanguageModel,
        {field.name: getattr(untrained_model(), field.name) for field in dataclasses.fields(aila.LanguageModel)},
        {
            "config": "config", "tokenizer": "object or missing", "run": "text", "step": "whole", "meta": "not a dict",
            "anchors": "object", "fitted": "object", "rule_tables": "object", "params": "",
        },
    ),
    "LanguageModel.apply": (
        lambda: untrained_model().apply,
        {"tokens": TOKENS},
        {
            "tokens": "ids", "lam": "number", "tau": "number", "block_ids": "ids or None", "doc_ids": "ids or None",
            "layer_scale": "layer scale", "hard": "flag or None", "delta": "flag", "weights": "flag",
        },
    ),
    "LanguageModel.batch": (
        lambda: untrained_model().batch,
        {"tokens": TOKENS},
        {"tokens": "ids", "block_ids": "ids or None", "doc_ids": "ids or None"},
    ),
    "LanguageModel.generate": (
        lambda: untrained_model().generate,
        {"prompt": "the cat"},
        {
            "prompt": "texts", "chat": "chat", "lam": "number or numbers", "tau": "number or numbers",
            "max_tokens": "whole", "sample_temperature": "number", "top_k": "whole", "top_p": "number", "seed": "whole",
            "samples": "whole", "stop": "stops", "block_ids": "ids or None",
        },
    ),
    "LanguageModel.stream": (
        lambda: untrained_model().stream,
        {"prompt": "the cat"},
        {
            "prompt": "text", "chat": "chat", "lam": "number", "tau": "number", "max_tokens": "whole",
            "sample_temperature": "number", "top_k": "whole", "top_p": "number", "seed": "whole", "stop": "stops",
            "block_ids": "ids or None",
        },
    ),
    "LanguageModel.attention": (
        lambda: untrained_model().attention,
        {"text": "the cat"},
        {"text": "some texts or ids", "lam": "number", "tau": "number", "block_ids": "ids or None"},
    ),
    "LanguageModel.attention_dial": (
        lambda: untrained_model().attention_dial,
        {"text": "the cat"},
        {
            "text": "some texts or ids", "lams": "numbers", "tau": "number", "block_ids": "ids or None", "hard": "flag or None",
        },
    ),
    "LanguageModel.attention_weights": (
        lambda: untrained_model().attention_weights,
        {"text": "the cat"},
        {
            "text": "text or ids", "layers": "row or None", "heads": "row or None", "queries": "row or None",
            "lam": "number", "tau": "number", "block_ids": "ids or None", "hard": "flag or None",
        },
    ),
    "LanguageModel.reach": (
        lambda: untrained_model().reach,
        {"text": "the cat", "hard": True},
        {
            "text": "text or ids", "lam": "number", "tau": "number", "hard": "flag or None", "block_ids": "ids or None",
            "doc_ids": "ids or None", "generated": "row",
        },
    ),
    "LanguageModel.capture": (
        lambda: untrained_model().capture,
        {"texts": "the cat"},
        {"texts": "some texts or ids", "names": "names", **INSIDE},
    ),
    "LanguageModel.patched": (
        lambda: untrained_model().patched,
        {"clean": "the cat", "corrupted": "the cat", "names": "layer_0.residual"},
        {
            "clean": "some texts or ids", "corrupted": "some texts or ids", "names": "names", "keep": "names",
            "positions": "row or None", "heads": "row or None", **INSIDE,
        },
    ),
    "LanguageModel.patching": (
        lambda: untrained_model().patching,
        {"clean": [1, 2], "corrupted": [3, 2]},
        {
            "clean": "text or ids", "corrupted": "text or ids", "names": "names", "each": "one of", "positions": "row or None",
            "at": "whole or None", "answer": "type or None", "other": "type or None", "batch_size": "whole", **INSIDE,
        },
    ),
    "LanguageModel.ablate_heads": (
        lambda: untrained_model().ablate_heads,
        {"texts": "the cat"},
        {
            "texts": "some texts or ids", "to": "one of", "answer": "type or None", "other": "type or None", "batch_size": "whole",
            **INSIDE,
        },
    ),
    "LanguageModel.logit_lens": (
        lambda: untrained_model().logit_lens,
        {"texts": "the cat"},
        {
            "texts": "some texts or ids", "positions": "row or None", "top": "whole", "answer": "type or None", **INSIDE,
        },
    ),
    "LanguageModel.with_partition": (
        lambda: untrained_model().with_partition,
        {"partition": Config().partition},
        {"partition": "config", "fitted": "object"},
    ),
    "LanguageModel.with_relation": (
        lambda: untrained_model().with_relation,
        {"relation": Config().relation},
        {"relation": "config", "tables": "object"},
    ),
    "LanguageModel.with_window": (lambda: untrained_model().with_window, {}, {"size": "whole"}),
    "LanguageModel.anchor_mask": (
        lambda: dataclasses.replace(untrained_model(), anchors=anchors()).anchor_mask,
        {"tokens": TOKENS},
        {"tokens": "ids", "block_ids": "ids or None", "doc_ids": "ids or None"},
    ),
    "Certificate.required_margin": (
        lambda: certified().required_margin,
        {"target_mass": 0.9},
        {"target_mass": "number", "accompanied": "flag"},
    ),
    "Dataset.windows": (
        lambda: dataset().windows,
        {"split": "train", "length": 8, "document_mask": False},
        {"split": "one of", "length": "whole", "document_mask": "flag"},
    ),
    "Tokenizer": (lambda: Tokenizer, {}, {"text": "text"}),
    "Tokenizer.encode": (lambda: dataset().tokenizer.encode, {}, {"text": "text"}),
    "Tokenizer.decode": (lambda: dataset().tokenizer.decode, {}, {"ids": "row"}),
    "presets.preset": (lambda: presets.preset, {}, {"name": "one of"}),
    "presets.as_dict": (lambda: presets.as_dict, {}, {"name": "one of"}),
    "presets.certified_dial": (lambda: presets.certified_dial, {}, {"base": "config"}),
    "presets.uncapped_dial": (lambda: presets.uncapped_dial, {}, {"base": "config"}),
    "presets.localised": (
        lambda: presets.localised,
        {
            "base": dataclasses.replace(
                presets.tiny(), model=dataclasses.replace(presets.tiny().model, film=False)
            )
        },
        {"base": "config", "length": "whole", "rank": "whole", "tokens": "whole", "full": "flag"},
    ),
    "presets.as_measured": (lambda: presets.as_measured, {}, {"config": "config"}),
    "presets.with_data_dir": (
        lambda: presets.with_data_dir,
        {"config": presets.small(), "data_dir": ""},
        {"config": "config", "data_dir": "path or empty"},
    ),
}  # fmt: skip
WRONG |= {
    "": (),
    "mesh or None": (8, "8,1,1", (1, 1), (1, 1, 1, 1), (0, 1, 1), (1, 1.5, 1), (True, 1, 1), {}),
    "share": (None, "1", b"1", ["a"], 1j, NAN, INF, -1.0, 0.0, 1.1, {}),
    "size or None": ("1", b"1", ["a"], 1j, NAN, INF, -1.0, 0.0, {}, True),
    "scale": tuple(value for value in WRONG["number"] if value not in (None, -1.0)),
    "pointers": ("x", 5, [1.0], np.ones((1, 3, 3)), np.ones((1, 2, 3), bool)),
    "not a dict": ("x", 5, ["a"], None),
    "row": (None, 5, "a text", ["a"], [1.5], [[1]], [-1], [10**6], [True], {"a": 1}),
    "row or None": (5, "a text", ["a"], [1.5], [[1]], [-1], [10**6], [True], {"a": 1}),
}
CASES = [(name, argument) for name, (_, _, kinds) in TABLE.items() for argument in kinds]


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are checked below
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 700
    assert "must be" in message or "must have" in message or "ids run from" in message
    assert "Fix: " in message or "did you mean" in message
    return message


@pytest.mark.parametrize(("name", "argument"), CASES)
def test_a_wrong_type_or_value_is_refused_in_one_line(name, argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reach, needed, kinds = TABLE[name]
    function, named = reach(), argument.removesuffix("_BxLxHxK").rstrip("s")
    other = {"base": "config", "name": "preset", "id": "token", "text": "token", "relation": "block_ids",
             "clean": "text", "corrupted": "text"}.get(named, "tokenizer")  # fmt: skip
    for value in WRONG[kinds[argument]]:
        message = refusal(partial(function, **{**needed, argument: value}))
        assert named in message or other in message, value
    assert list(tmp_path.iterdir()) == []


def configurations(cls: type = Config) -> list[type]:
    """The class and those of the settings inside it."""
    hints = typing.get_type_hints(cls).values()
    return [cls, *(one for hint in hints if dataclasses.is_dataclass(hint) for one in configurations(hint))]


@pytest.mark.parametrize("cls", configurations())
def test_a_setting_of_another_type_is_refused(cls):
    wrong = {
        str: (5, None, b"x", ["a"], 2.5),
        int: ("3", 2.5, True, None, [3], NAN, INF, b"3"),
        float: ("x", None, True, [1.0], NAN, 1j, b"1"),
        bool: (1, "true", None, 0.0, [True]),
    }
    for name, hint in typing.get_type_hints(cls).items():
        if typing.get_origin(hint) is tuple:
            values = (None, *((value,) for value in wrong[typing.get_args(hint)[0]]))
        else:
            values = wrong.get(hint, (None, {}, "x", 5))
        for value in values:
            assert name in refusal(partial(cls, **{name: value})), value


def test_settings_keep_plain_values():
    """NumPy's numbers, lists and paths become what JSON and a comparison with a saved run need."""
    config = dataclasses.replace(
        Config(),
        seed=np.int64(3),
        train=dataclasses.replace(Config().train, learning_rate=np.float32(0.5), clip_norm=1, steps=np.asarray(7)),
        data=dataclasses.replace(Config().data, corpus="text", files=[Path("a.txt")]),
    )  # fmt: skip
    found = (
        config.seed,
        config.train.learning_rate,
        config.train.clip_norm,
        config.train.steps,
        config.data.files,
    )
    assert found == (3, 0.5, 1.0, 7, ("a.txt",))
    assert [type(value) for value in found] == [int, float, float, int, tuple]


@pytest.mark.parametrize("form", [int, np.int32, np.asarray, jnp.asarray], ids=lambda form: form.__name__)
def test_numbers_of_every_form_are_taken(form):
    model = untrained_model()
    sampling = {"max_tokens": form(2), "top_k": form(1), "seed": form(0), "sample_temperature": form(1)}
    assert model.generate("the cat", lam=form(1), tau=form(1), **sampling) == model.generate(
        "the cat", lam=1.0, max_tokens=2, top_k=1
    )
    assert model.with_window(form(3)).config.partition.size == 3
    assert aila.certify(model, form(1), form(1), form(8)).counts.n_in.shape == (1, 8)
    assert model.attention("the cat", lam=form(0)).lam == 0.0


def test_every_public_callable_and_argument_is_in_the_table():
    """A new one must be added: what refuses it is what this module tests."""
    public = {name: getattr(aila, name) for name in aila.__all__ if name not in ("presets", "Config")}
    public |= {
        f"LanguageModel.{name}": method
        for name, method in inspect.getmembers(aila.LanguageModel, inspect.isfunction)
        if not name.startswith("_") and name not in ("card", "need_anchors", "continuations", "streamed")
    }
    public |= {
        f"presets.{name}": function
        for name, function in inspect.getmembers(presets, inspect.isfunction)
        if function.__module__ == presets.__name__ and inspect.signature(function).parameters
        if not name.startswith("_")
    }
    for name, function in public.items():
        arguments = set(inspect.signature(function).parameters) - {"self"}
        assert arguments == set(TABLE[name][2]), name

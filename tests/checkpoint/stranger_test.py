"""Records that a stranger may have written: each is refused in one line, before anything is allocated."""

import json
import shutil
import time
from pathlib import Path

import pytest

import aila_jax as aila
from aila_jax.config import saved_config
from aila_jax.data.pipeline import TrainBatches
from aila_jax.data.tokenizer import Tokenizer
from aila_jax.reporting import read_sweep, read_training_log
from aila_jax.runs.workdir import existing_run

GOLDEN = Path(__file__).parents[1] / "runs" / "golden" / "run"


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A run of format 1, whose record anybody can edit."""
    return shutil.copytree(GOLDEN, tmp_path / "stranger")


def put(run: Path, text: str) -> None:
    (run / "checkpoints" / "24" / "record" / "metadata").write_text(text, encoding="utf-8")


def stored(run: Path) -> dict:
    return json.loads((run / "checkpoints" / "24" / "record" / "metadata").read_text(encoding="utf-8"))


def refusal(run: Path) -> str:
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"Fix: ") as caught:
        aila.load(run)
    assert time.monotonic() - start < 10  # the limit is 2 seconds; machines that run tests are busy
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 1500
    return str(caught.value)


@pytest.mark.parametrize(("name", "shape"), [
    ("anchors/table", [10**13]), ("partition/values", [10**7, 10**6]), ("state/key", [2**47, 2**47]),
])  # fmt: skip
def test_arrays_that_cannot_be_in_the_files(stranger, name, shape):
    record = stored(stranger)
    record["arrays"][name]["shape"] = shape
    put(stranger, json.dumps(record))
    assert "can hold at most" in refusal(stranger)


@pytest.mark.parametrize("entry", [
    None, 3, {}, {"shape": [-1], "dtype": "float32", "sha256": "0"}, {"shape": [1.5], "dtype": "float32", "sha256": "0"},
    {"shape": [True], "dtype": "float32", "sha256": "0"}, {"shape": [2], "dtype": "nothing", "sha256": "0"},
    {"shape": [2], "dtype": "float32", "sha256": 0}, {"shape": {"a": 1}, "dtype": "float32", "sha256": "0"},
])  # fmt: skip
def test_arrays_that_are_none(stranger, entry):
    record = stored(stranger)
    record["arrays"]["params/embedding"] = entry
    put(stranger, json.dumps(record))
    assert "damaged" in refusal(stranger)


@pytest.mark.parametrize(("setting", "value"), [
    ("length", 10**12), ("n_layers", 10**9), ("n_layers", 900), ("d_model", 10**15), ("n_heads", 10**12), ("d_ff", 10**18),
])  # fmt: skip
def test_models_without_end(stranger, setting, value):
    record = stored(stranger)
    record["config"]["model"][setting] = value
    put(stranger, json.dumps(record))
    said = refusal(stranger)
    assert f"model.{setting}" in said
    assert str(value) in said


@pytest.mark.parametrize("text", [
    "[" * 10**5 + "]" * 10**5, '{"a":' * 10**5 + "1" + "}" * 10**5, "", "null", "3", "[]", "{}", "\x00\xff", "{" * 3,
])  # fmt: skip
def test_json_that_is_no_record(stranger, text):
    put(stranger, text)
    refusal(stranger)


@pytest.mark.parametrize(
    "field", ["config", "tokenizer", "partition", "data", "meta", "arrays", "run", "format"]
)
@pytest.mark.parametrize("value", ["absent", None, 7, []])
def test_fields_that_are_missing_or_of_another_type(stranger, field, value):
    record = stored(stranger)
    if value == "absent":
        del record[field]
    else:
        record[field] = value
    put(stranger, json.dumps(record))
    refusal(stranger)


def test_fields_that_nobody_wrote(stranger):
    record = stored(stranger)
    put(stranger, json.dumps({**record, "extra": 1}))
    assert "has 'extra', which no version wrote" in refusal(stranger)
    record["config"]["model"]["wings"] = 2
    put(stranger, json.dumps(record))
    assert "model.wings" in refusal(stranger)


@pytest.mark.parametrize("name", ["anchors", "table"])
@pytest.mark.parametrize("value", [3, {}, {"k": "a"}, []])
def test_anchors_and_tables_that_are_none(stranger, name, value):
    record = stored(stranger)
    record[name] = value
    put(stranger, json.dumps(record))
    refusal(stranger)


def test_tokenizers_with_parts_that_are_not_made_here(trained, stranger):
    own = json.loads(trained.model.tokenizer.to_json())
    for part, value in (
        (
            "pre_tokenizer",
            {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False},
        ),
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": []}),
        ("normalizer", {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}),
        ("decoder", {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}),
        ("model", {"type": "Unigrams", "vocab": []}),
        ("normalizer", {"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        ("normalizer", {"type": "Prepend", "prepend": "x" * 99}),
        ("normalizer", {"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": []}]}),
    ):
        with pytest.raises(
            ValueError, match=rf"the tokenizer's (\w+ of )?{part}( \w+)? is .*; it must be .*Fix: train it"
        ):
            Tokenizer.from_json(json.dumps({**own, part: value}))
    for part, value in (
        ("padding", {"strategy": {"Fixed": 10**12}}),  # a text of one word would fill the memory
        ("truncation", {"max_length": 1}),
    ):
        with pytest.raises(ValueError, match=rf"the tokenizer's {part} is .*; it must be .*Fix: train it"):
            Tokenizer.from_json(json.dumps({**own, part: value}))
    twice = json.dumps(own).replace(
        '"normalizer": null', '"normalizer": {"type": "Prepend", "prepend": "x"}, "normalizer": null', 1
    )
    assert Tokenizer.from_json(twice).encode("the cat") == Tokenizer.from_json(json.dumps(own)).encode(
        "the cat"
    )
    for change, what in (({"dropout": 0.5}, "dropout"), ({"vocab": {"<eos>": 0, "a": 10**9}}, "ids")):
        with pytest.raises(
            ValueError, match=rf"the tokenizer's {what}( of model BPE)? is .*; it must be .*Fix: train it"
        ):
            Tokenizer.from_json(json.dumps({**own, "model": {**own["model"], **change}}))
    record = stored(stranger)
    record["tokenizer"] = json.dumps({**own, "normalizer": {"type": "Precompiled"}})
    put(stranger, json.dumps(record))
    assert "the tokenizer's normalizer" in refusal(stranger)
    assert Tokenizer.from_json(json.dumps(own)).encode("the cat")


@pytest.mark.parametrize("setting", ["model.dropout", "train.learning_rate"])
def test_numbers_that_no_float_holds(stranger, setting):
    record = stored(stranger)
    group, name = setting.split(".")
    record["config"][group][name] = 10**400
    put(stranger, json.dumps(record))
    assert f"{setting} is 1000" in refusal(stranger)


@pytest.mark.parametrize("size", [10**30, 10**4000])
def test_axes_of_more_entries_than_any_machine_has(stranger, size):
    record = stored(stranger)
    record["arrays"]["params/embedding"]["shape"] = [size, 0]
    put(stranger, json.dumps(record))
    assert "array params/embedding is described by" in refusal(stranger)


def test_an_unknown_format_of_a_page_of_text(stranger):
    put(stranger, json.dumps({**stored(stranger), "format": "x" * 10**5}))
    assert "this version reads 1 and 2" in refusal(stranger)


DEEP = '{"a":' * 10**5 + "1" + "}" * 10**5


def test_other_files_of_a_run_that_are_nested_too_deeply(stranger):
    (stranger / "sweep.json").write_text(DEEP)
    with pytest.raises(ValueError, match=r"sweep.json is not strict JSON .*nested too deeply.*Fix: "):
        read_sweep(stranger)
    (stranger / "metrics.jsonl").write_text(DEEP + "\n")
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 1 is not JSON .*nested too deeply.*Fix: "):
        read_training_log(stranger)
    config = saved_config(json.loads((stranger / "config.json").read_text()))
    for text in (DEEP, "[]", "null"):
        (stranger / "config.json").write_text(text)
        with pytest.raises(ValueError, match=r"config.json is not a configuration that this version reads"):
            existing_run(stranger, config)


@pytest.mark.parametrize(
    "record", [{"step": 1, "kind": []}, {"step": 1, "kind": {}}, {"step": 1, "kind": None}, [], 3]
)
def test_a_log_with_lines_that_are_no_records(stranger, record):
    (stranger / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(ValueError, match=r"line 1 is .*; it must have an integer step and the kind"):
        read_training_log(stranger)


def test_a_position_that_is_none(stranger, trained):
    batches = TrainBatches(trained.dataset.windows("train", 16, True), 8, 0)
    state = batches.get_state()
    for grain in (None, {}, [], {"next_index": -5}, {"next_index": 10**30}, {"next_index": "a"}):
        with pytest.raises(ValueError, match=r"the data state is .*, which is no position .*Fix: "):
            batches.set_state({**state, "grain": grain})
    for other in (None, 3, [], {}):
        with pytest.raises(ValueError, match=r"the data state has fingerprint .*Fix: "):
            batches.set_state(other)

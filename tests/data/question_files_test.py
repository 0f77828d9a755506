"""Users' questions as JSON lines: what is read, and what is refused with file, line, value, limit and fix."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aila_jax.config import DataConfig, QuestionConfig
from aila_jax.data.dataset import load_dataset
from aila_jax.data.questions.json_lines import read_question, read_question_file
from aila_jax.presets import small, with_data_dir

GOOD = {"question": "Who?", "passages": ["It was Ada.", "It rained."], "answer": "Ada"}


def line(**changed: Any) -> str:
    return json.dumps({**GOOD, **changed})


def test_texts_ids_and_rationale_are_read() -> None:
    found = read_question(line(rationale=[1, 0]), "here:1")
    assert found.passages == ("It was Ada.", "It rained.") and found.rationale == (0, 1)
    assert (found.question, found.answer, found.title) == ("Who?", "Ada", "here:1")
    objects = [{"id": "b7", "text": "It was\r\nAda.\t"}, {"text": "It rained."}, {"id": 4, "text": "x"}]
    found = read_question(line(passages=objects, rationale=["b7", 4], title="first"), "here:1")
    assert found.passages == ("It was Ada.", "It rained.", "x")
    assert found.rationale == (0, 2) and found.title == "first"
    assert read_question(line(), "here:1").rationale == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"here:7 is no JSON .* Fix: write one object a line"),
        ("[" * 100_000, r"here:7 is nested too deeply"),
        ("[1]", r"here:7 is 'list'; it must be an object\. Fix: write \{\"question\""),
        ('{"question": "Who?"}', r"here:7 is \['question'\]; it must be .* passages, answer not there"),
        (line(passages=[]), r"here:7: passages is '0 passages'; it must be a list of 1 to 1024"),
        (line(passages="It was Ada."), r"here:7: passages is 'It was Ada\.'"),
        (line(passages=["x"] * 1025), r"'1025 passages'; it must be a list of 1 to 1024"),
        (line(passages=["It was Ada.", " \n"]), r"here:7: passage 1 is ' \\n'; it must be a text with at least one word"),
        (line(passages=[3]), r"here:7: passage 0 is 3; it must be a text"),
        (line(passages=[{"id": "a"}]), r"here:7: passage 0 is \['id'\]; it must be a text, or an object with"),
        (line(passages=[{"id": "a", "text": "x"}, {"id": "a", "text": "y"}]), r"passage 1: id is 'a'; it must be one that"),
        (line(passages=[{"id": [], "text": "x"}]), r"passage 0: id is \[\]; it must be a text or a number"),
        (line(answer=""), r"here:7: answer is ''; it must be a text with at least one word"),
        (line(question=None), r"here:7: question is None; it must be a text"),
        (line(question="\u001b[2J who?"), r"question is .*x1b.*; it must be text without control characters"),
        (line(answer="A\u0085b"), r"answer is .*x85.*; it must be text without control characters"),
        (line(answer="\ud800"), r"here:7: answer has half a surrogate pair"),
        (line(rationale=0), r"here:7: rationale is 0; it must be a list of numbers or ids"),
        (line(rationale=[2]), r"rationale is \(2,\); it must be numbers from 0 to 1"),
        (line(rationale=[True]), r"rationale is True; it must be numbers or ids"),
        (line(rationale=["a"]), r"rationale is 'a'; it must be a number of a passage, from 0"),
        (line(passages=[{"id": "a", "text": "x"}], rationale=["b"]), r"rationale is 'b'; it must be an id of a passage \(a\)"),
        (line(answer="x" * 1_000_001), r"here:7 is '\d+ characters'; it must be at most 1,000,000"),
    ],
)  # fmt: skip
def test_a_record_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as found:
        read_question(text, "here:7")
    assert "\x1b" not in str(found.value) and len(str(found.value)) < 700


def test_a_message_has_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "asked.jsonl"
    path.write_text(f"{line()}\n\n{line(answer=5)}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"asked\.jsonl:3: answer is 5"):
        read_question_file(path)
    path.write_text("\n \n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"asked\.jsonl is 'without a record'"):
        read_question_file(path)


@pytest.fixture
def written(tmp_path: Path) -> DataConfig:
    lines = [line(question=f"Who is {number}?", answer=f"Ada {number}") for number in range(60)]
    (tmp_path / "asked.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return DataConfig(
        corpus="question_files",
        files=(str(tmp_path / "*.jsonl"),),
        vocab_size=300,
        cache_dir=str(tmp_path / "cache"),
    )


def test_files_are_a_corpus(written: DataConfig) -> None:
    dataset = load_dataset(replace(written, questions=QuestionConfig(equal=0.0)))
    assert [len(dataset.windows(split, 128, False)) for split in dataset.splits] == [54, 3, 3]
    batch = dataset.windows("test", 128, False).batch
    last = batch.targets[-1][batch.weights[-1] > 0].tolist()
    assert dataset.tokenizer.decode(last) == " Ada 59\n"
    assert set(batch.given_ids[0]) == {-2, -1, 0, 1}
    np.testing.assert_array_equal(batch.positions[0], np.arange(128))


def test_moved_files_are_found(written: DataConfig, tmp_path: Path) -> None:
    elsewhere = replace(small(), data=replace(written, files=("gone/asked.jsonl",)), partition=small().partition.__class__(kind="given"))  # fmt: skip
    assert with_data_dir(elsewhere, tmp_path).data.files == (str(tmp_path / "asked.jsonl"),)

"""Texts from files and standard input, through the commands, on the committed old run: score, generate,
attention.
"""

import contextlib
import io
import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import aila_jax as aila
from aila_jax.cli.main import main
from aila_jax.config import PartitionConfig
from aila_jax.config.options import PromptOptions, ScoreTextOptions
from aila_jax.inference.attention_maps import load_maps
from aila_jax.runs import continuation_lines, generate, score
from aila_jax.runs._score import given_text
from tests.support.checkpoints import GOLDEN, step_folder

RUN = f"--checkpoint={GOLDEN}"
TEXTS = ["the cat saw", "", "my brother liked the owl\nin the garden"]


@pytest.fixture(scope="module")
def model():
    return aila.load(GOLDEN)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    records = [{"id": "first", "text": TEXTS[0]}, {"text": TEXTS[1]}, {"text": TEXTS[2], "other": [1]}]
    lines = "\n\n".join(json.dumps(record) for record in records)
    (tmp_path / "texts.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "plain.txt").write_text("the cat saw\r\nthe owl\n", encoding="utf-8")
    return tmp_path


def standard_input(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))


def test_json_lines_in_and_out(folder, model, capsys):
    assert main(["score", RUN, "--file=texts.jsonl", "--lam=0,1", "--out=scores.jsonl"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 3
    assert out[0].startswith("λ 0, τ 1: perplexity ")
    assert out[-1] == "Written to scores.jsonl"
    records = [json.loads(line) for line in (folder / "scores.jsonl").read_text("utf-8").splitlines()]
    expected = model.score(TEXTS, lam=(0, 1))
    assert [(one["id"], one["text"]) for one in records] == [*zip(("first", 1, 2), TEXTS, strict=True)] * 2
    for record, one in zip(records, expected, strict=True):
        assert record["perplexity"] == (None if one.perplexity is None else pytest.approx(one.perplexity))
    # What was written can be read: each text twice, under the same names.
    assert main(["score", RUN, "--file=scores.jsonl", "--out=again.jsonl"]) == 0
    again = [json.loads(line) for line in (folder / "again.jsonl").read_text("utf-8").splitlines()]
    assert [one["id"] for one in again] == ["first", 1, 2] * 2
    for record, one in zip(again, [*records[:3], *records[:3]], strict=True):
        values, expected = record["token_surprisal"][1:], one["token_surprisal"][1:]
        assert values == pytest.approx(expected, rel=1e-4)


def test_a_plain_file_is_one_text_or_one_a_line(folder, model, capsys):
    assert main(["score", RUN, "--file=plain.txt", "--out=-"]) == 0
    [record] = map(json.loads, capsys.readouterr().out.splitlines())
    assert record["text"] == "the cat saw\nthe owl\n"
    assert main(["score", RUN, "--file=plain.txt", "--by_line", "--out=-"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["text"] for one in records] == ["the cat saw", "the owl"]
    assert records[1]["perplexity"] == pytest.approx(model.score("the owl").perplexity)


@pytest.mark.parametrize("text", ["the cat saw\nthe owl", '{"text": "the cat saw\\nthe owl"}\n'])
def test_standard_input(monkeypatch, model, capsys, text):
    standard_input(monkeypatch, text)
    assert main(["score", RUN, "--file=-", "--out=-", "--unit=bits", "--stride=16"]) == 0
    [record] = map(json.loads, capsys.readouterr().out.splitlines())
    assert record["text"] == "the cat saw\nthe owl"
    expected = model.score("the cat saw\nthe owl", unit="bits", stride=16)[0]
    assert record["surprisal"] == pytest.approx(expected.total)


def test_one_text_is_shown_token_by_token(model, capsys):
    assert main(["score", RUN, "--text=the cat\nsaw", "--lam=0,1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    scores = model.score("the cat\nsaw", lam=(0, 1))
    count = len(scores[0].tokens)
    assert lines[0].split() == ["token", "λ", "0,", "τ", "1", "λ", "1,", "τ", "1", "(nats)"]
    assert lines[1].split() == ["the", "–", "–"]
    assert lines[3].split()[0] == "\\n"
    assert [float(cell) for cell in lines[count].split()[-2:]] == [
        pytest.approx(one.surprisal[-1], abs=6e-4) for one in scores
    ]


@pytest.mark.parametrize(("text", "words"), [
    ("  \n", "it must be a text of at least one word"),
    ('{"text": "a"}\n{"texts": "b"}', "f.jsonl:2 has ['texts']; it must be an object"),
    ('{"text": "a", "id": [1]}', "f.jsonl:1: id is [1]; it must be a text or a whole number"),
    ('{"text": "a", "block_ids": "0"}', "f.jsonl:1: block_ids is '0'; it must be a list of whole numbers"),
    ('{"text": "a", "block_ids": [0]}', "block_ids is given, but this model's partition is 'induced_classes'"),
])  # fmt: skip
def test_files_that_are_refused(folder, capsys, text, words):
    (folder / "f.jsonl").write_text(text, encoding="utf-8")
    assert main(["score", RUN, "--file=f.jsonl", "--out=o.jsonl"]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("aila: error: ") == 1
    assert not (folder / "o.jsonl").exists()


def test_records_with_blocks_are_read_as_the_model_reads_them(model):
    item = SimpleNamespace(text="a\nb", blocks=("a", "b"), block_ids=None)
    fields = SimpleNamespace(config=SimpleNamespace(partition=PartitionConfig(kind="given")), given="fields")
    assert json.loads(given_text(fields, item)) == {"blocks": ["a", "b"]}
    assert given_text(SimpleNamespace(config=fields.config, given="lines"), item) == "a\nb"
    assert given_text(model, item) == "a\nb"


def test_prompts_from_files(folder, monkeypatch, model, capsys):
    (folder / "prompts.jsonl").write_text('{"text": "the cat"}\n{"text": "my"}\n', encoding="utf-8")
    options = PromptOptions(prompt_file="prompts.jsonl", samples=2, max_tokens=5, seed=3)
    found = generate(GOLDEN, options, "texts.jsonl")
    expected = model.generate(["the cat", "my"], samples=2, max_tokens=5, seed=3)
    assert [[one.text for one in of_prompt] for of_prompt in found] == expected
    written = (folder / "texts.jsonl").read_text(encoding="utf-8")
    assert written == continuation_lines(found)
    records = [json.loads(line) for line in written.splitlines()]
    assert [(one["prompt"], one["seed"], one["ended"]) for one in records] == [
        ("the cat", 3, "length"), ("the cat", 4, "length"), ("my", 3, "length"), ("my", 4, "length"),
    ]  # fmt: skip
    standard_input(monkeypatch, "the cat\n")  # the line end is the editor's
    assert main(["generate", RUN, "--prompt_file=-", "--max_tokens=5", "--seed=3"]) == 0
    assert capsys.readouterr().out == f"{expected[0][0]}\n"


def test_weights_of_the_command_are_those_of_python(folder, model):
    call = ["attention", RUN, "--text=the small dog", "--lam=0,1", "--out=p"]
    assert main([*call, "--by_word", "--mean_heads", "--mean_layers", "--npz=w.npz"]) == 0
    maps = load_maps(folder / "w.npz")
    for one, whole in zip(maps, model.attention_dial("the small dog", lams=(0, 1)), strict=True):
        assert one.tokens == ("the", " small", " dog")
        expected = whole.by_word().mean_heads().mean_layers()
        np.testing.assert_array_equal(one.weights, expected.weights)
    assert (folder / "p" / "attention.html").is_file()


def test_every_call_that_opens_a_run_takes_the_newest_whole_checkpoint(folder, capsys):
    run = shutil.copytree(GOLDEN, folder / "run")
    (step_folder(run) / "record" / "metadata").write_text("{", encoding="utf-8")
    calls = (
        lambda more: aila.score(run, "the cat", **more),
        lambda more: aila.certify(run, **more),
        lambda more: aila.sweep(run, aila.Config(), **more),
        lambda more: aila.evaluate(run, aila.Config(), **more),
        lambda more: aila.recruit(run, **more),
    )
    for call in calls:
        with pytest.raises(ValueError, match="24: its record cannot be used"):
            call({})
    assert aila.score(run, "the cat", fallback=True).source == "run, step 12"
    for call in calls[1:]:
        with contextlib.suppress(ValueError):  # what comes after opening is wrong on purpose
            call({"fallback": True})
    assert capsys.readouterr().err.count("step 12 is used instead") == 5


def test_options_of_a_call_without_a_text():
    with pytest.raises(ValueError, match=r"text, file is \('text', 'file'\); it must be one of the two"):
        ScoreTextOptions(text="a", file="b")
    assert score(GOLDEN, ScoreTextOptions(text="the cat")).source == "run, step 24"

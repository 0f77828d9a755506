"""`aila.answer` on texts: what it returns, what it writes, and what it refuses before work starts."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aila_jax as aila
from aila_jax import runs
from aila_jax.answering.answer import answer_question
from aila_jax.answering.cache import Cache, Memory
from aila_jax.answering.passages import Passage, read_passages
from aila_jax.answering.prompts import chat_template
from aila_jax.answering.result import Answer, PassageRow
from aila_jax.cli.main import main
from aila_jax.config import LocalityConfig
from aila_jax.config.options import AnswerOptions, AskOptions
from aila_jax.data.prompts import Template, lay_out
from aila_jax.inference.language_model import LanguageModel
from aila_jax.reporting.answer_files import describe_answer, read_answer
from aila_jax.reporting.tables import read_csv
from tests.support import frames
from tests.support.passages import FILES, model_of, whole_run

MODEL = model_of("rotary")
SHORT = Template(header="the :", passage="{passage}\n", question="{question} :")
PASSAGES = [("a", "the cat saw"), ("b", "the old owl"), ("c", "a dog heard")]
ASKED = {"template": SHORT, "capacity": 12, "max_tokens": 3}


@pytest.fixture(scope="module", params=["isolated", "together", "branches"])
def found(request: pytest.FixtureRequest) -> Answer:
    return aila.answer(MODEL, "who saw", PASSAGES, mode=request.param, pairs=True, shapley=3, **ASKED)


def test_the_parts_of_an_answer_make_the_whole(found: Answer) -> None:
    tokens, rows = found.tokens, found.passages
    assert [(row.number, row.id, row.text) for row in rows] == [(n, *one) for n, one in enumerate(PASSAGES)]
    assert [row.tokens for row in rows] == [len(MODEL.tokenizer.encode(f"{text}\n")) for _, text in PASSAGES]
    assert found.text == MODEL.tokenizer.decode([one.token for one in tokens]).strip()
    np.testing.assert_allclose(sum(one.logprob for one in tokens), found.logprob)
    np.testing.assert_allclose(
        np.sum([one.attribution for one in tokens], axis=0), [row.attribution for row in rows], atol=1e-9
    )
    np.testing.assert_allclose(np.mean([one.mass for one in tokens], axis=0), [row.mass for row in rows])
    np.testing.assert_allclose(
        sum(row.mass for row in rows) + found.mass_header + found.mass_rest, 1, atol=1e-5
    )
    for one in tokens:
        np.testing.assert_allclose(sum(one.mass) + one.mass_header + one.mass_rest, 1, atol=1e-5)
    pair = found.pairs[0]
    assert (pair.first, pair.second, len(found.pairs)) == (0, 1, 3)
    np.testing.assert_allclose(
        pair.interaction, pair.attribution - rows[0].attribution - rows[1].attribution, atol=1e-9
    )
    assert all(row.shapley is not None and row.allowed for row in rows)


def test_what_a_mode_claims(found: Answer) -> None:
    carries = [row.carries for row in found.passages]
    if found.mode == "together":  # at λ = 1 with a margin and no gate
        assert carries == [(), (0,), (0, 1)] and found.flow.startswith("none")
    else:
        assert carries == [(), (), ()] and found.flow.startswith("exact")
    if found.mode == "branches":
        assert found.certified is not None and sum(vote.count for vote in found.votes) == 3
        assert found.text == found.passages[found.votes[0].passages[0]].answer
    else:
        assert (found.certified, found.votes) == (None, ())


@pytest.mark.parametrize("found", ["isolated", "together"], indirect=True)
def test_texts_and_tokens_say_the_same(found: Answer) -> None:
    """The log-probability again, from the text and one ordinary pass."""
    encode = MODEL.tokenizer.encode
    bodies = [encode(f"{text}\n") for _, text in PASSAGES]
    end = [*encode("who saw :"), *(one.token for one in found.tokens[:-1])]
    laid = lay_out(encode("the :"), bodies, end, 12 if found.mode == "isolated" else None)
    logprobs, _ = whole_run(MODEL, laid, 1.0, hard=found.mode == "isolated")
    answer = [one.token for one in found.tokens]
    np.testing.assert_allclose(logprobs[np.arange(-len(answer), 0), answer].sum(), found.logprob, atol=1e-5)


def test_it_is_read_back_as_it_was(found: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aila_jax.reporting.answer_files import write_answer

    write_answer(found, tmp_path)
    assert read_answer(tmp_path / "answer.json") == found
    frames.install(monkeypatch)
    assert read_csv(PassageRow, (tmp_path / "answer.csv").read_text()) == found.passages
    tokens = (tmp_path / "answer_tokens.csv").read_text().splitlines()
    assert len(list(csv.DictReader(tokens))) == len(found.tokens)
    for by, rows in (("passage", 3), ("token", len(found.tokens)), ("pair", 3), ("vote", len(found.votes))):
        assert all(len(column) == rows for column in found.to_pandas(by).values())
    assert len(repr(found).splitlines()) <= 10
    text = describe_answer(found)
    assert all(row.id in text for row in found.passages) and "exact" in text
    assert ("certified" in text) == (found.mode == "branches")
    assert not re.search(r"\d\.\d{4}", text)  # no number longer than people read
    document = json.loads((tmp_path / "answer.json").read_text())
    for name, value in (("format", "x"), ("logprob", "x"), ("tokens", [{}]), ("passages", None)):
        (tmp_path / "wrong.json").write_text(json.dumps({**document, name: value}))
        with pytest.raises(ValueError, match=name):
            read_answer(tmp_path / "wrong.json")


def test_the_mode_follows_from_lambda() -> None:
    assert AnswerOptions().mode == "isolated"
    assert AnswerOptions(lam=0.3).mode == AnswerOptions(lam=0).mode == "together"
    assert AnswerOptions(mode="branches", lam=0.5).mode == "branches"


def test_the_answer_ends_at_a_stop_string_and_keeps_what_spells_it() -> None:
    long = aila.answer(MODEL, "who saw", PASSAGES, template=SHORT, capacity=12, max_tokens=6, stop="\0never")
    assert (long.ended, len(long.tokens)) == ("length", 6)
    texts = [one.text for one in long.tokens]
    place = next(n for n in range(1, 6) if texts[n].isascii() and len(texts[n]) == 1)
    before = MODEL.tokenizer.decode([one.token for one in long.tokens[:place]])
    cut = aila.answer(
        MODEL, "who saw", PASSAGES, template=SHORT, capacity=12, max_tokens=6, stop=texts[place]
    )
    assert (cut.ended, cut.text) == ("stop", before.strip())
    assert cut.tokens == long.tokens[:place]


def test_questions_share_what_was_encoded() -> None:
    cache = Cache(Memory())
    options = AnswerOptions(capacity=12, max_tokens=2)
    answer_question(MODEL, "who saw", PASSAGES, options, SHORT, cache)
    assert len(cache.memory) == 4
    answer_question(MODEL, "who heard", PASSAGES[1:], options, SHORT, cache)
    assert len(cache.memory) == 4
    answer_question(MODEL, "who heard", PASSAGES, replace(options, tau=0.5), SHORT, cache)
    assert len(cache.memory) == 8


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"passages": []}, "passages is 'none'; it must be at least one passage"),
    ({"passages": ["a", " "]}, "passage 1 is ' '; it must be a text, not empty"),
    ({"passages": [("a", "x"), ("a", "y")]}, "passage 1: id is 'a'; it must be another name than that of passage 0"),
    ({"passages": ["a " * 13]}, "passage '0' is '15 tokens'; it must be at most 12 tokens, the capacity: 3 fewer"),
    ({"capacity": 60}, "the prompt is '74 positions"),
    ({"capacity": 60}, "at most 64, which the model reads: 10 fewer"),
    ({"max_tokens": 70, "mode": "branches"}, "tokens, with header"),
    ({"passages": ["the cat saw"] * 20, "mode": "together"}, "which the model reads: "),
    ({"question": " "}, "question is ' '; it must be a text, not empty"),
    ({"lam": 0.5, "mode": "isolated"}, "lam is 0.5; it must be 1 in the mode isolated"),
    ({"template": Template(header="")}, "the header is 'no token'; it must be at least one token"),
    ({"chat": True}, "chat is "),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "message"), REFUSED)
def test_what_cannot_be_answered_is_refused_with_what_and_by_how_much(
    changed: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aila_jax.answering import answer

    monkeypatch.setattr(answer, "ask", None)  # no work starts
    with pytest.raises(ValueError, match="Fix: ") as refused:
        aila.answer(MODEL, **{"question": "who saw", "passages": PASSAGES, **ASKED, **changed})
    assert message in str(refused.value)


def test_models_that_cannot_answer() -> None:
    config = MODEL.config
    both = replace(MODEL, config=replace(config, model=replace(config.model, bidirectional=True)))
    with pytest.raises(ValueError, match="False to answer"):
        aila.answer(both, "who", PASSAGES, **ASKED)
    fixed = replace(config, locality=LocalityConfig(mode="fixed", lam=1.0))
    hard = replace(MODEL, config=replace(fixed, model=replace(config.model, hard=True)))
    with pytest.raises(
        ValueError, match=r"lam is 0\.5; it must be 1, since the model was trained with hard blocks"
    ):
        aila.answer(hard, "who", PASSAGES, lam=0.5, **ASKED)
    assert aila.answer(hard, "who", PASSAGES, mode="together", **ASKED).flow.startswith("exact")


def test_passages_of_files(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, text in (("b.txt", "two\n"), ("a.txt", "one"), ("c.md", "no")):
        (folder / name).write_text(text)
    assert read_passages(folder) == (Passage("a", "one"), Passage("b", "two\n"))
    lines = tmp_path / "texts.jsonl"
    lines.write_text('{"id": "x", "text": "one"}\n\n{"text": "two"}\n{"id": 7, "text": "three"}\n')
    assert read_passages(str(lines)) == (Passage("x", "one"), Passage("1", "two"), Passage("7", "three"))
    assert read_passages([{"text": "one", "id": "x"}, "two"]) == (Passage("x", "one"), Passage("1", "two"))
    for text, message in (
        ('{"text": "one"}\n{"text": 5}', "texts.jsonl:2 is "),
        ('{"text": "one"}\n{"text": ""}', "texts.jsonl:2 is "),
        ('{"text": "one"}\nno', "texts.jsonl:2 is not JSON"),
        ('{"text": "one", "answer": 1}', "texts.jsonl:1 is ['answer']"),
        ("[1]", "texts.jsonl:1 is [1]; it must be a JSON object"),
        ("[" * 100_000, "texts.jsonl:1 is not JSON"),
        ('{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}', "texts.jsonl:2: id is 'a'"),
        ("\n", "texts.jsonl is 'none'"),
    ):
        lines.write_text(text)
        with pytest.raises(ValueError, match="Fix: ") as refused:
            read_passages(lines)
        assert message in str(refused.value)
    with pytest.raises(ValueError, match=r"1 to 1024 \.txt files"):
        read_passages(tmp_path)
    (folder / "d.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"d\.txt"):
        read_passages(folder)


def chatty() -> LanguageModel:
    model = aila.from_pretrained(FILES / "gpt2", length=48)
    template = "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}<answer>"
    end = "<|endoftext|>"
    return replace(
        model, meta={**model.meta, "chat": {"template": template, "bos_token": end, "eos_token": end}}
    )


def test_a_chat_template_stands_around_header_passages_and_question() -> None:
    model = chatty()
    own = Template("Read", " {passage}", " {question}")
    made = chat_template(model, own)
    assert (made.header, made.passage) == ("<|endoftext|><user>Read", " {passage}")
    assert made.question == " {question}<|endoftext|><answer>"
    found = aila.answer(
        model, "who", ["the cat", "an owl"], chat=True, template=own, capacity=8, max_tokens=2
    )
    encode = model.tokenizer.encode
    end = model.tokenizer.special_ids["<|endoftext|>"]
    header = [end, *encode("<user>Read")]
    ask = [*encode(" who"), end, *encode("<answer>")]
    bodies = [encode(" the cat"), encode(" an owl")]
    answer = [one.token for one in found.tokens]
    laid = lay_out(header, bodies, [*ask, *answer[:-1]], 8)
    logprobs, _ = whole_run(model, laid, 1.0, hard=True)
    np.testing.assert_allclose(logprobs[np.arange(-len(answer), 0), answer].sum(), found.logprob, atol=1e-5)
    with pytest.raises(ValueError, match="without a special token of the model"):
        aila.answer(model, "who<|endoftext|>", ["the cat"], chat=True, template=own)
    twice = replace(model, meta={**model.meta, "chat": {"template": "{{ messages[0].content * 2 }}"}})
    with pytest.raises(ValueError, match=r"the chat template is .* that writes a message once"):
        chat_template(twice, own)


def test_the_begin_token_comes_first() -> None:
    """So a pretrained model needs no header of its own."""
    model = model_of("gpt2")
    found = aila.answer(
        model,
        "who",
        ["cat", "owl"],
        template=Template("", "{passage}\n", "{question}"),
        capacity=8,
        max_tokens=2,
    )
    assert found.mass_header > 0


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    for name, text in (("cat", "the cat"), ("owl", "an owl")):
        (texts / f"{name}.txt").write_text(text)
    place = str(FILES / "gpt2")
    arguments = ["answer", f"--checkpoint={place}", "--question=who", f"--passages={texts}", "--max_tokens=2"]
    arguments += ["--header=Read", "--question_form={question}:"]
    assert (
        main([*arguments, "--capacity=16", f"--out={tmp_path / 'out'}", f"--cache_dir={tmp_path / 'kept'}"])
        == 0
    )
    shown = capsys.readouterr().out
    assert "cat" in shown and "attribution" in shown and f"Written to {tmp_path / 'out'}" in shown
    found = read_answer(tmp_path / "out" / "answer.json")
    assert [row.id for row in found.passages] == ["cat", "owl"]
    assert len(list((tmp_path / "kept").iterdir())) == 3
    options = AskOptions(
        question="who",
        passages=str(texts),
        max_tokens=2,
        capacity=16,
        header="Read",
        question_form="{question}:",
    )
    assert runs.answer(place, options) == found
    assert main([*arguments, "--capacity=1"]) == 2
    assert "raise capacity" in capsys.readouterr().err

"""Scores of texts: against the logits of `apply` token by token, against `evaluate`, windows, spans, words,
files.
"""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import aila_jax as aila
from aila_jax.config import PartitionConfig
from aila_jax.inference import scoring
from aila_jax.inference.scoring import stretches
from tests.support import frames
from tests.support.tiny import sentences
from tests.support.untrained import untrained_model

TEXT = "the old owl saw my brother\nin the garden ."
LONG = sentences(6, 9)


@pytest.fixture(scope="module")
def model():
    return untrained_model()


def log_probability(model, before, token, lam, tau, block_ids=None):
    """log p(token | before) by the logits of `apply`, normalised in float64; what stands after them cannot
    matter.
    """
    after = [7] * (24 - len(before))
    blocks = None if block_ids is None else np.array([[*block_ids, *after]])
    output = model.apply(np.array([[*before, *after]]), lam=lam, tau=tau, block_ids=blocks)
    logits = np.asarray(output.logits[0, len(before) - 1], np.float64)
    largest = logits.max()
    return float(logits[token] - largest - np.log(np.sum(np.exp(logits - largest))))


@pytest.mark.parametrize("unit", ["nats", "bits"])
def test_surprisal_is_that_of_the_models_logits(model, unit):
    ids = model.tokenizer.encode(TEXT)
    assert len(ids) <= 24
    scores = model.score(TEXT, lam=(0.0, 0.6), tau=(0.7, 1.0), unit=unit)
    assert [(one.lam, one.tau) for one in scores] == [(0.0, 0.7), (0.0, 1.0), (0.6, 0.7), (0.6, 1.0)]
    for one in scores:
        nats = [
            -log_probability(model, ids[:place], ids[place], one.lam, one.tau) for place in range(1, len(ids))
        ]
        scale = math.log(2) if unit == "bits" else 1.0
        assert math.isnan(one.surprisal[0])
        np.testing.assert_allclose(one.surprisal[1:] * scale, nats, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(one.context, range(len(ids)))
        assert one.scored == len(ids) - 1
        assert one.total * scale == pytest.approx(sum(nats), rel=1e-5)
        assert one.perplexity == pytest.approx(math.exp(np.mean(nats)), rel=1e-5)


@pytest.mark.parametrize("chunk", [0, 5])
def test_the_likeliest_tokens_are_those_of_the_models_logits(model, chunk):
    """From whole logits and chunk by chunk, over windows that overlap, in bits."""
    train = replace(model.config.train, loss_chunk=chunk)
    model = replace(model, config=replace(model.config, train=train))
    [one] = model.score(LONG, lam=0.4, top=3, unit="bits", batch_size=2)
    ids = model.tokenizer.encode(LONG)
    assert one.top_ids.shape == one.top_surprisal.shape == (len(ids), 3)
    for place in (1, 13, 30, len(ids) - 1):
        before = ids[place - one.context[place] : place]
        output = model.apply(np.array([[*before, *[7] * (24 - len(before))]]), lam=0.4)
        logits = np.asarray(output.logits[0, len(before) - 1], np.float64)
        order = np.argsort(-logits, kind="stable")[:3]
        bits = (np.log(np.sum(np.exp(logits - logits.max()))) + logits.max() - logits[order]) / math.log(2)
        assert one.top_ids[place].tolist() == order.tolist()
        np.testing.assert_allclose(one.top_surprisal[place], bits, atol=1e-4)
        assert [piece for piece, _ in one.top(place)] == [
            model.tokenizer.token_text(token) for token in order
        ]
    assert one.top(0) == ()
    assert np.isnan(one.top_surprisal[0]).all()
    record = json.loads(model.score(TEXT, top=2).to_jsonl())
    assert [len(found) for found in record["token_top"]] == [0] + [2] * (len(record["tokens"]) - 1)
    assert "token_top" not in json.loads(model.score(TEXT).to_jsonl())
    types = model.tokenizer.vocab_size
    with pytest.raises(ValueError, match=f"top is {types + 1}; .* at most {types}, the model's tokens"):
        model.score(TEXT, top=types + 1)
    with pytest.raises(ValueError, match=r"place is 99; .* from 0 to "):
        model.score(TEXT, top=1)[0].top(99)


@pytest.mark.parametrize("stride", [None, 1, 5, 24])
def test_a_long_text_is_scored_in_windows_that_overlap(model, stride):
    ids = model.tokenizer.encode(LONG)
    assert len(ids) > 3 * 24
    scores = model.score(LONG, lam=0.4, stride=stride, batch_size=3)
    step = stride or 12
    one = scores[0]
    for place in (1, 13, 24, 25, 30, 37, 50, len(ids) - 1):
        # The window that first reaches this token: the earliest start on the grid of strides.
        start = max(0, -(-(place - 24) // step)) * step
        expected = -log_probability(model, ids[start:place], ids[place], 0.4, 1.0)
        assert one.surprisal[place] == pytest.approx(expected, rel=1e-4), place
        assert one.context[place] == place - start
    assert one.context[25:].min() == 24 - step + 1
    assert one.context[1:25].tolist() == list(range(1, 25))


@pytest.mark.parametrize(
    ("tokens", "length", "stride"), [(0, 8, 4), (1, 8, 4), (2, 8, 8), (9, 8, 3), (40, 8, 5)]
)
def test_each_token_is_scored_once(tokens, length, stride):
    seen = [t for one in stretches(tokens, length, stride) for t in range(one.first, one.end + 1)]
    assert seen == list(range(1, tokens))
    assert all(one.end - one.start <= length for one in stretches(tokens, length, stride))


def test_perplexity_is_that_of_evaluate_where_windows_are_the_same(trained):
    text = (trained.run.workdir.parent / "text" / "valid_files.txt").read_text(encoding="utf-8")
    length = trained.config.model.length
    for lam in (0.0, 1.0):
        cell = aila.evaluate(trained.model, trained.dataset, lam=lam, split="validation", quiet=True)
        found = trained.model.score(text, lam=lam, stride=length).dial()[0]
        assert found.scored == cell.targets
        assert found.perplexity == pytest.approx(cell.perplexity_token, rel=1e-5)


def test_several_texts_are_scored_as_one_at_a_time(model):
    texts = [TEXT, "", "the", LONG, model.tokenizer.encode("a small dog")]
    together = model.score(texts, lam=0.3)
    assert len(together) == len(texts)
    for text, one in zip(texts, together, strict=True):
        alone = model.score(text if text else [""], lam=0.3)[0]
        np.testing.assert_allclose(one.surprisal, alone.surprisal, rtol=1e-5)
        assert one.tokens.text == alone.tokens.text
    assert [one.place for one in together] == [0, 1, 2, 3, 4]
    assert together[4].tokens.text == "a small dog"


def test_a_text_without_a_token_before_another_has_no_perplexity(model):
    empty, single = model.score(["", "the"])
    assert (len(empty.tokens), empty.scored, empty.perplexity, empty.total) == (0, 0, None, 0.0)
    assert (len(single.tokens), single.scored, single.perplexity) == (1, 0, None)
    assert json.loads(model.score("").to_jsonl())["perplexity"] is None


def test_a_line_start_lets_the_first_token_be_scored(model):
    ids = model.tokenizer.encode(TEXT)
    one = model.score(TEXT, lam=0.5, line_start=True)[0]
    end = model.tokenizer.eos_id
    assert one.scored == len(ids)
    assert one.tokens.pieces[0] == "the"
    assert one.surprisal[0] == pytest.approx(-log_probability(model, [end], ids[0], 0.5, 1.0), rel=1e-4)
    assert one.surprisal[5] == pytest.approx(
        -log_probability(model, [end, *ids[:5]], ids[5], 0.5, 1.0), rel=1e-4
    )
    np.testing.assert_array_equal(one.context, range(1, len(ids) + 1))


def test_one_compilation_serves_the_dial(model):
    model.score(TEXT, lam=0.0)
    before = scoring._scores._cache_size()
    model.score(TEXT, lam=(0, 0.25, 0.5, np.float32(1)), tau=[0.5, 2])
    model.score("a small dog", lam=1, unit="bits", line_start=True)
    assert scoring._scores._cache_size() == before


def given(model, kind="lines"):
    config = replace(model.config, partition=PartitionConfig(kind="given"))
    return replace(model, config=config, meta={"data": {"given": kind}})


def test_blocks_that_a_text_shows_are_read_and_others_are_refused(model):
    ids = model.tokenizer.encode(TEXT)
    blocks = np.cumsum([0, *(token == model.tokenizer.eos_id for token in ids[:-1])]).tolist()
    assert set(blocks) == {0, 1}
    found = given(model).score(TEXT, lam=1.0)[0]
    place = len(ids) - 1
    expected = -log_probability(given(model), ids[:place], ids[place], 1.0, 1.0, blocks[:place])
    assert found.surprisal[place] == pytest.approx(expected, rel=1e-4)
    annotated = given(model, "classes")
    with pytest.raises(ValueError, match="blocks are the annotation's classes"):
        annotated.score(TEXT)
    same = annotated.score([TEXT], block_ids=[blocks], lam=1.0)[0]
    np.testing.assert_allclose(same.surprisal, found.surprisal, rtol=1e-6)
    with pytest.raises(ValueError, match="block_ids is given, but this model's partition is 'windows'"):
        model.score(TEXT, block_ids=blocks)
    with pytest.raises(ValueError, match=r"block_ids is .* it must be 2 rows, one for each text"):
        annotated.score([TEXT, TEXT], block_ids=[blocks])
    record = json.dumps({"blocks": ["the cat", "a dog\nthe sea"]})
    assert given(model, "fields").score(record)[0].tokens.text == "the cat\na dog\nthe sea"
    started = annotated.score(TEXT, block_ids=blocks, lam=1.0, line_start=True)[0]
    prefixed = [0, *(block + 1 for block in blocks)]
    before = [model.tokenizer.eos_id, *ids]
    expected = -log_probability(annotated, before[:4], before[4], 1.0, 1.0, prefixed[:4])
    assert started.surprisal[3] == pytest.approx(expected, rel=1e-4)


def test_spans_are_those_of_the_text_in_characters_and_bytes(model):
    text = "the é🙂 cat\n  saw\tthe owl"
    tokens = model.score(text)[0].tokens
    data = text.encode()
    assert b"".join(data[first:last] for first, last in tokens.byte_spans) == data
    assert tokens.byte_spans[0].tolist() == [0, 3]
    for piece, (first, last) in zip(tokens.pieces, tokens.spans, strict=True):
        if "<" not in piece:
            assert text[first:last] == piece
        else:
            assert text[first:last] in ("é", "🙂")
    shared = [piece for piece in tokens.pieces if "<" in piece]
    assert len(shared) == 6


def test_words_are_what_white_space_separates(model, monkeypatch):
    frames.install(monkeypatch)
    text = "the old owl.\n\nmy  é🙂 cat"
    scores = model.score(text, line_start=True)
    words = scores[0].words()
    assert [row.word for row in words] == ["the", "old", "owl.", "\n", "\n", "my", "é🙂", "cat"]
    assert sum(row.tokens for row in words) == len(scores[0].tokens)
    assert sum(row.surprisal for row in words) == pytest.approx(scores[0].total)
    assert model.score(text)[0].words()[0].surprisal is None
    frame = scores.to_pandas(by="word")
    assert frame["word"] == [row.word for row in words]


def test_json_lines_hold_everything_and_can_be_read_again(model, tmp_path):
    path = tmp_path / "new" / "scores.jsonl"
    scores = model.score([TEXT, ""], lam=(0, 1), unit="bits")
    written = scores.to_jsonl(path)
    assert path.read_text(encoding="utf-8") == written
    records = [json.loads(line) for line in written.splitlines()]
    assert [(one["id"], one["lam"]) for one in records] == [(0, 0.0), (1, 0.0), (0, 1.0), (1, 1.0)]
    first = records[0]
    assert first["text"] == TEXT
    assert "".join(first["tokens"]) == TEXT
    assert first["token_surprisal"][0] is None
    np.testing.assert_allclose(first["token_surprisal"][1:], scores[0].surprisal[1:])
    assert first["perplexity"] == pytest.approx(2 ** first["mean"])
    assert [TEXT[a:b] for a, b in first["spans"]] == first["tokens"]
    assert (
        len({len(first[name]) for name in first if name.startswith("token") or name.endswith("spans")}) == 1
    )


def test_frames_have_a_line_for_each_token_word_or_text(model, monkeypatch):
    frames.install(monkeypatch)
    scores = model.score([TEXT, "the cat"], lam=(0, 1))
    tokens, texts = scores.to_pandas(), scores.to_pandas(by="text")
    assert len(tokens["token"]) == 2 * (len(scores[0].tokens) + len(scores[1].tokens))
    assert texts["perplexity"] == [one.perplexity for one in scores]
    with pytest.raises(ValueError, match="by is 'line'; it must be one of token, word, text"):
        scores.to_pandas(by="line")


def test_refusals(model):
    with pytest.raises(ValueError, match="texts is \\[\\]; it must be a text, or a list of at least one"):
        model.score([])
    with pytest.raises(ValueError, match="stride is 25; it must be at most 24"):
        model.score(TEXT, stride=25)
    with pytest.raises(ValueError, match=r"lam is \[0.5\] with hard block attention"):
        model.score(TEXT, lam=(1, 0.5), hard=True)
    with pytest.raises(ValueError, match="one setting of the dial"):
        _ = model.score(TEXT, lam=(0, 1)).perplexity
    seeing = replace(
        model, config=replace(model.config, model=replace(model.config.model, bidirectional=True))
    )
    with pytest.raises(ValueError, match=r"model\.bidirectional is True; it must be False to score"):
        seeing.score(TEXT)
    broken = replace(model, params={**model.params, "embedding": model.params["embedding"] * np.nan})
    with pytest.raises(ValueError, match="surprisal at λ = 0, τ = 1 is 'not finite'"):
        broken.score(TEXT)
    with pytest.raises(ValueError, match="fallback is True; it must be left out with a loaded model"):
        aila.score(model, TEXT, fallback=True)


def test_what_is_shown_is_short(model):
    scores = model.score(LONG, lam=(0, 0.5, 1))
    for text in (repr(scores), repr(scores[0])):
        assert len(text.splitlines()) <= 10
    assert "perplexity" in repr(scores)

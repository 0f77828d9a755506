"""Tests of generation: what greedy means, what the seed and the dial decide, windows that are full, and
refusals.
"""

import re
from dataclasses import replace

import numpy as np
import pytest

from aila_jax.config import DataConfig, LocalityConfig, PartitionConfig
from aila_jax.config.options import GenerateOptions
from aila_jax.data.documents import Document
from aila_jax.data.tokenizer import train_tokenizer
from aila_jax.inference import generation, rows
from aila_jax.inference.generation import generate_ids
from aila_jax.inference.growing_text import text_before
from aila_jax.inference.sampling import Drawn
from aila_jax.inference.windows import tokens_read
from aila_jax.model import decoding

PROMPT = "the cat saw"


def greedy(model, ids, count, lam, tau=1.0):
    """Greedy continuation by `apply`, the older half dropped when 16 are full; what stands after the last
    token cannot matter.
    """
    ids, start = list(ids), max(0, len(ids) - 16)
    new = []
    for _ in range(count):
        if len(ids) - start >= 16:
            start = len(ids) - 8
        last = len(ids) - start - 1
        window = np.full((1, 16), 7, np.int32)
        window[0, : last + 1] = ids[start:]
        logits = np.asarray(model.apply(window, lam=lam, tau=tau).logits[0, last])
        new.append(int(logits.argmax()))
        ids.append(new[-1])
    return new


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_greedy_is_the_argmax_of_apply_beyond_the_window_too(trained, lam):
    ids = trained.model.tokenizer.encode(PROMPT)
    expected = greedy(trained.model, ids, 12, lam)
    assert len(ids) + 12 > 16
    sampling = {"lam": lam, "max_tokens": 12, "sample_temperature": 0.0}
    found = generate_ids(trained.model, ids, GenerateOptions(**sampling))
    assert found == expected
    assert trained.model.generate(PROMPT, **sampling) == trained.model.tokenizer.decode(expected)
    warm = GenerateOptions(**{**sampling, "sample_temperature": 3.0}, top_k=1, seed=5)
    assert generate_ids(trained.model, ids, warm) == expected


def test_a_prompt_longer_than_the_window_keeps_its_end(trained):
    ids = trained.model.tokenizer.encode("the old owl painted my brother in the garden .\n" * 3)
    assert len(ids) > 32
    options = GenerateOptions(lam=0.5, max_tokens=3, sample_temperature=0.0, top_k=1)
    found = generate_ids(trained.model, ids, options)
    assert found == greedy(trained.model, ids, 3, 0.5)


@pytest.mark.parametrize(("tokens", "read"), [(1, 1), (15, 15), (16, 8), (17, 8), (48, 8)])
def test_how_much_of_a_prompt_is_read(trained, monkeypatch, tokens, read):
    """Of the window that the first new token is drawn from."""
    seen = []
    real = rows._next_tokens
    monkeypatch.setattr(rows, "_next_tokens", lambda *given: (seen.append(given[5].copy()), real(*given))[1])
    generate_ids(trained.model, [7] * tokens, GenerateOptions(max_tokens=2))
    assert int(seen[0][0]) + 1 == read == tokens_read(tokens, 16)


def test_a_cut_prompt_is_a_warning_in_python_and_nothing_is_printed(trained, capsys):
    prompt = "the old owl painted my brother in the garden .\n" * 3
    count = len(trained.model.tokenizer.encode(prompt))
    with pytest.warns(UserWarning, match=rf"the prompt has {count} tokens; its last 8 are read"):
        trained.model.generate(prompt, max_tokens=1)
    assert capsys.readouterr() == ("", "")
    [[whole]] = trained.model.continuations(PROMPT, GenerateOptions(max_tokens=1))
    assert (whole.prompt_tokens, whole.read_tokens, whole.cut) == (
        len(trained.model.tokenizer.encode(PROMPT)),
    ) * 2 + ("",)


def test_the_seed_decides_and_nothing_else(trained):
    def text(seed, count=24):
        return trained.model.generate(PROMPT, lam=0.3, max_tokens=count, sample_temperature=1.0, seed=seed)

    assert text(1) == text(1)
    assert len({text(seed) for seed in range(4)}) == 4
    assert text(1).startswith(text(1, 10))  # a longer one continues a shorter one


def test_one_compilation_serves_every_prompt_dial_and_temperature(trained):
    trained.model.generate(PROMPT, max_tokens=2)
    before = rows._next_tokens._cache_size()
    for lam, tau, temperature, prompt in (
        (0, 1, 0, "a"),
        (1.0, 0.5, 0.5, "the baker liked"),
        (np.float32(0.3), 2.0, 2, PROMPT),
    ):
        trained.model.generate(prompt, lam=lam, tau=tau, max_tokens=3, sample_temperature=temperature, seed=3)
    assert rows._next_tokens._cache_size() == before


def test_a_deep_model_generates_by_small_programs(trained, monkeypatch):
    """The same tokens: here the model's two layers, one at a time."""
    asked = {"lam": 0.4, "max_tokens": 14, "sample_temperature": 1.0, "seed": 2, "samples": 2}
    want = trained.model.generate(PROMPT, **asked)
    monkeypatch.setattr(decoding, "TOGETHER", 1)
    monkeypatch.setattr(rows, "in_parts", lambda module: True)
    monkeypatch.setattr(rows, "_next_tokens", None)
    before = decoding._through._cache_size()
    assert trained.model.generate(PROMPT, **asked) == want
    assert decoding._through._cache_size() == before + 1


def test_lam_and_tau_reach_the_model_and_only_the_model(trained):
    """With attention that ignores everything (values 0, no FiLM), λ and τ change no token."""
    model = trained.model
    frozen = {name: dict(group) if isinstance(group, dict) else group for name, group in model.params.items()}
    for layer in ("layer_0", "layer_1"):
        attention = dict(frozen[layer]["attention"])
        attention["value"] = {"kernel": np.zeros_like(attention["value"]["kernel"])}
        frozen[layer]["attention"] = attention
    plain = replace(model.config, model=replace(model.config.model, film=False))
    deaf = replace(model, params=frozen, config=plain)

    def texts(model):
        return {
            model.generate(PROMPT, lam=lam, tau=tau, max_tokens=24, sample_temperature=1.0)
            for lam, tau in ((0.0, 1.0), (1.0, 1.0), (0.0, 0.2))
        }

    assert len(texts(deaf)) == 1
    assert len(texts(model)) > 1


def test_line_ends_close_blocks_of_a_given_partition(trained, monkeypatch):
    model = replace(trained.model, config=replace(trained.config, partition=PartitionConfig(kind="given")))
    seen = []
    real = rows._next_tokens
    monkeypatch.setattr(
        rows, "_next_tokens", lambda *arguments: (seen.append(arguments[2]), real(*arguments))[1]
    )
    ids = [*model.tokenizer.encode("a\ncat"), model.tokenizer.eos_id, 5]
    generate_ids(model, ids, GenerateOptions(lam=1.0, max_tokens=1, sample_temperature=0.0, top_k=1))
    ends, expected = 0, []
    for token in ids:
        expected.append(ends)
        ends += token == model.tokenizer.eos_id
    assert expected[-1] == 2
    np.testing.assert_array_equal(seen[0].given_ids[0], expected + [-1] * (16 - len(ids)))
    np.testing.assert_array_equal(seen[0].doc_ids[0], [0] * len(ids) + [-1] * (16 - len(ids)))


@pytest.mark.parametrize(("arguments", "words"), [
    ({"prompt": ""}, "prompt is ''; it must be at least one token. Fix: write some text."),
    ({"lam": -0.5}, "lam is -0.5; it must be a number in [0, 1]"),
    ({"lam": float("nan")}, "lam is nan; it must be a number in [0, 1]"),
    ({"tau": 0.0}, "tau is 0.0; it must be a number from 1e-06 to 1e"),
    ({"max_tokens": 0}, "max_tokens is 0; it must be at least 1"),
    ({"sample_temperature": -1.0}, "sample_temperature is -1.0; it must be finite and at least 0"),
    ({"sample_temperature": float("inf")}, "sample_temperature is inf; it must be finite and at least 0"),
    ({"top_k": -1}, "top_k is -1; it must be at least 0"),
    ({"seed": -1}, "seed is -1; it must be"),
    ({"seed": 2**64}, "seed is 18446744073709551616; it must be"),
])  # fmt: skip
def test_what_is_outside_its_limits_is_refused(trained, arguments, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        trained.model.generate(**{"prompt": PROMPT, "max_tokens": 2, **arguments})


def test_a_top_k_above_the_vocabulary_takes_all_of_it(trained):
    texts = {
        trained.model.generate(PROMPT, max_tokens=6, sample_temperature=2.0, top_k=top_k)
        for top_k in (300, 10**6, 0)
    }
    assert len(texts) == 1


def test_models_that_see_their_targets_do_not_generate(trained):
    model = replace(
        trained.model, config=replace(trained.config, model=replace(trained.config.model, bidirectional=True))
    )
    with pytest.raises(ValueError, match=r"model.bidirectional is True; it must be False to generate"):
        model.generate(PROMPT)


def test_a_model_of_hard_blocks_generates_at_lam_one_only(trained):
    locality = LocalityConfig(mode="fixed", lam=1.0)
    model = replace(
        trained.model,
        config=replace(trained.config, locality=locality, model=replace(trained.config.model, hard=True)),
    )
    with pytest.raises(
        ValueError, match=r"lam is 0\.0; it must be 1, since the model was trained with hard blocks"
    ):
        model.generate(PROMPT)
    assert model.generate(PROMPT, lam=1.0, max_tokens=2)


SAMPLED = {"lam": 0.3, "sample_temperature": 1.0, "max_tokens": 14}


def test_samples_are_those_of_their_seeds_and_lists_are_those_of_one_at_a_time(trained):
    prompts = [PROMPT, "a", "the old owl painted my brother in the garden . the cat"]
    with pytest.warns(UserWarning, match="its last 8 are read"):
        together = trained.model.generate(prompts, samples=3, seed=7, **SAMPLED)
    assert [len(of_prompt) for of_prompt in together] == [3, 3, 3]
    assert len({text for of_prompt in together for text in of_prompt}) == 9
    for prompt, of_prompt in zip(prompts[:2], together, strict=False):
        alone = [trained.model.generate(prompt, seed=seed, **SAMPLED) for seed in (7, 8, 9)]
        assert of_prompt == alone
    assert trained.model.generate(PROMPT, samples=3, seed=7, **SAMPLED) == together[0]
    assert trained.model.generate(prompts[:2], seed=8, **SAMPLED) == [row[1] for row in together[:2]]
    assert trained.model.generate([PROMPT], seed=7, **SAMPLED) == [together[0][0]]


def test_more_continuations_than_are_made_at_once(trained, monkeypatch):
    expected = trained.model.generate(PROMPT, samples=5, **SAMPLED)
    monkeypatch.setattr(generation, "ROWS", 2)
    assert trained.model.generate(PROMPT, samples=5, **SAMPLED) == expected


@pytest.mark.parametrize("text", ["the é🙂 cat. the", "one\ntwo\nthree"])
def test_a_stop_string_is_cut_wherever_tokens_end(trained, monkeypatch, text):
    """Every piece of the text as a stop string, over tokens that a fake model says one after another."""
    tokenizer = trained.model.tokenizer
    ids = tokenizer.encode(text)
    assert len(ids) > 5
    said = iter(())
    monkeypatch.setattr(rows, "_next_tokens", lambda *given: (Drawn(np.array([next(said)])), given[-1]))
    for first in range(len(text)):
        for last in (first + 1, first + 2, first + 4):
            stop = text[first:last]
            said = iter(ids)
            options = GenerateOptions(max_tokens=len(ids), stop=(stop, "never"))
            [[found]] = trained.model.continuations("a", options)
            assert found.text == text[: text.index(stop)]
            assert (found.ended, found.stop) == ("stop", stop)
            # No token is drawn after the one that completes the stop string.
            counts = (n for n in range(1, len(ids) + 1) if stop in tokenizer.decode(ids[:n]))
            assert found.new_tokens == next(counts)


def test_a_continuation_says_why_it_ended(trained):
    [[found]] = trained.model.continuations(PROMPT, GenerateOptions(max_tokens=20, stop="no such text"))
    assert (found.ended, found.stop, found.new_tokens) == ("length", "", 20)
    assert found.text == trained.model.generate(PROMPT, max_tokens=20)
    used = found.prompt_tokens + 19  # the last new token is not read
    assert found.dropped == 1 + (used - 16) // 8
    assert found.end.endswith(
        f"after 20 tokens; the older half of a full window was dropped {found.dropped} times"
    )


def test_half_a_character_is_no_stop_string():
    """The bytes of 🙂 are shown as <F0><9F>… while it is not whole, which is not what the model said."""
    tokenizer = train_tokenizer(DataConfig(vocab_size=258), [Document("d", ("a",))])
    ids = tokenizer.encode("🙂<")
    assert len(ids) == 5
    assert text_before(tokenizer, ids[:3], ("<", "F0")) == ("<F09F99>", "")
    assert text_before(tokenizer, ids, ("<",)) == ("🙂", "<")


def test_stop_strings_of_a_vocabulary_of_words():
    tokenizer = train_tokenizer(DataConfig(tokenizer="word", vocab_size=9), [Document("d", ("a b c\na",))])
    ids = tokenizer.encode("a b c\na")
    assert text_before(tokenizer, ids, ("c\n",)) == ("a b ", "c\n")
    assert text_before(tokenizer, ids, ("b", "a b")) == ("", "a b")
    assert text_before(tokenizer, ids, ("d",)) == ("a b c\na", "")


@pytest.mark.parametrize(("prompt", "words"), [
    ([], "prompt is []; it must be a text, or a list of at least one"),
    (["a", ""], "prompt is ''; it must be at least one token"),
    (["a", 5], "prompt is 5; it must be a text, or a list of texts"),
])  # fmt: skip
def test_lists_of_prompts_that_are_refused(trained, prompt, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        trained.model.generate(prompt)

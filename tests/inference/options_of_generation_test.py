"""What generation can be asked for: λ and τ of each prompt, top-p, log-probabilities, streaming."""

import re
from dataclasses import replace
from itertools import pairwise

import jax
import numpy as np
import pytest

from aila_jax.config import DataConfig, MarginConfig, PartitionConfig, RelationConfig
from aila_jax.config.options import GenerateOptions
from aila_jax.data.documents import Document
from aila_jax.data.tokenizer import train_tokenizer
from aila_jax.inference.generation import Continuation
from aila_jax.inference.growing_text import settled
from aila_jax.inference.language_model import LanguageModel
from aila_jax.inference.sampling import Sampling, draw, within
from tests.support.untrained import untrained_model

PROMPTS = ["the cat saw the owl .\nthe", "my", "the baker liked one grey goose on the"]
SAMPLED = {"max_tokens": 14, "sample_temperature": 1.5, "top_k": 0}


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    """Windows of 24 tokens, hard at λ = 1, ends of the last two blocks and the first token inside."""
    base = untrained_model()
    shape = replace(base.config.model, margin=MarginConfig(gate=1.0))
    relation = RelationConfig(pointers="ends", horizon=2, sink=True)
    config = replace(base.config, model=shape, partition=PartitionConfig(size=4), relation=relation)
    return replace(base, config=config)


def logits_before(model: LanguageModel, made: Continuation) -> np.ndarray:
    """The logits that each new token was drawn of, by full passes; a full window drops its older half."""
    length, start, found = model.config.model.length, 0, []
    for end in range(made.prompt_tokens, len(made.ids)):
        if end - start >= length:
            start = end - length // 2
        window = np.full((1, length), 7, np.int32)
        window[0, : end - start] = made.ids[start:end]
        found.append(model.apply(window, lam=made.lam, tau=made.tau).logits[0, end - start - 1])
    return np.asarray(found, np.float64)


def test_log_probabilities_are_those_of_full_passes_in_slid_windows_too(model: LanguageModel) -> None:
    """Of prompts of different lengths, side by side, each at a λ and τ of its own."""
    options = GenerateOptions(lam=(0.0, 0.5, 1.0), tau=(1.0, 0.8, 1.3), logprobs=3, **SAMPLED)
    found = [one for [one] in model.continuations(PROMPTS, options)]
    assert [one.dropped for one in found] == [1, 0, 1]
    assert [(one.lam, one.tau) for one in found] == [(0.0, 1.0), (0.5, 0.8), (1.0, 1.3)]
    for made in found:
        logits = logits_before(model, made)
        want = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        new = made.ids[made.prompt_tokens :]
        assert [one.token for one in made.drawn] == list(new)
        size = max(1.0, np.abs(logits).max())
        np.testing.assert_allclose(
            [one.logprob for one in made.drawn], want[np.arange(len(new)), new], rtol=0, atol=1e-5 * size
        )
        for row, others in zip(want, made.others, strict=True):
            assert [one.token for one in others] == np.argsort(-row, kind="stable")[:3].tolist()
            np.testing.assert_allclose(
                [one.logprob for one in others], np.sort(row)[:-4:-1], atol=1e-5 * size
            )
            assert all(one.text == model.tokenizer.token_text(one.token) for one in others)


def test_log_probabilities_change_no_draw(model: LanguageModel) -> None:
    [[plain]] = model.continuations(PROMPTS[0], GenerateOptions(**SAMPLED))
    [[said]] = model.continuations(PROMPTS[0], GenerateOptions(logprobs=0, **SAMPLED))
    assert (plain.ids, plain.drawn, plain.others) == (said.ids, (), ())
    assert said.others == ((),) * said.new_tokens and len(said.drawn) == said.new_tokens


def test_each_prompt_at_its_own_dial_is_that_prompt_alone(model: LanguageModel) -> None:
    lams, taus = (0.2, 1.0, 0.7), (1.0, 0.6, 2.0)
    together = model.generate(PROMPTS, lam=lams, tau=taus, samples=2, **SAMPLED)
    for prompt, lam, tau, texts in zip(PROMPTS, lams, taus, together, strict=True):
        assert model.generate(prompt, lam=lam, tau=tau, samples=2, **SAMPLED) == texts
    assert model.generate(PROMPTS, lam=0.2, **SAMPLED)[1:] != [texts[0] for texts in together][1:]
    with pytest.raises(
        ValueError, match=re.escape("lam is (0.1, 0.2); it must be one number, or 3, one for")
    ):
        model.generate(PROMPTS, lam=(0.1, 0.2))


def test_one_prompt_at_two_settings_is_read_at_both(model: LanguageModel) -> None:
    """By log-probabilities, since a token that is drawn seldom changes with what was read before."""

    def logprobs(prompts: list[str], lam: float | tuple[float, ...]) -> list[list[float]]:
        options = GenerateOptions(lam=lam, logprobs=0, max_tokens=2, top_k=1)
        return [[one.logprob for one in made.drawn] for [made] in model.continuations(prompts, options)]

    twice = logprobs([PROMPTS[0]] * 2, (0.0, 1.0))
    for lam, found in zip((0.0, 1.0), twice, strict=True):
        np.testing.assert_allclose(found, logprobs([PROMPTS[0]], lam)[0], rtol=0, atol=1e-5)


def test_a_continuation_depends_on_no_companion(model: LanguageModel) -> None:
    """Bit for bit on the texts beside it, and within rounding on how many there are."""
    options = GenerateOptions(lam=0.5, logprobs=0, **SAMPLED)

    def logprobs(prompts: list[str]) -> list[float]:
        return [one.logprob for one in model.continuations(prompts, options)[0][0].drawn]

    first = logprobs([PROMPTS[0], PROMPTS[1], PROMPTS[2]])
    assert first == logprobs([PROMPTS[0], PROMPTS[2], "one grey goose"])
    np.testing.assert_allclose(first, logprobs([PROMPTS[0]]), rtol=0, atol=1e-5)


def nucleus(logits: np.ndarray, top_p: float) -> set[int]:
    """The fewest likeliest tokens whose probabilities reach `top_p`."""
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    found: set[int] = set()
    total = 0.0
    for token in np.argsort(-shares):
        if total >= top_p:
            break
        found.add(int(token))
        total += shares[token]
    return found


@pytest.mark.parametrize("top_p", [0.01, 0.35, 0.8, 0.97, 1.0])
def test_top_p_draws_of_the_fewest_tokens_that_hold_it(top_p: float) -> None:
    logits = np.random.default_rng(0).normal(0, 2, 12).astype(np.float32)
    warm = logits / 0.7
    keys = jax.random.split(jax.random.key(1), 2000)
    sampling = Sampling(keys, np.float32(0.7), np.float32(top_p), 12)
    drawn = draw(np.repeat(logits[None], 2000, 0), sampling).tokens
    seen, allowed = set(np.asarray(drawn).tolist()), nucleus(warm.astype(np.float64), top_p)
    assert seen <= allowed
    kept = np.isfinite(within(np.sort(warm)[None, ::-1], np.float32(top_p))).sum()
    assert kept == len(allowed)


def test_top_p_counts_among_the_top_k() -> None:
    """Two of the three likeliest hold 0.8 of what the three hold."""
    logits = np.log(np.float32([[0.2, 0.14, 0.06, 0.05] + [0.55 / 11] * 11]))
    keys = jax.random.split(jax.random.key(1), 1)
    for top_p, most in ((0.8, 2), (0.9, 3)):
        seen = set()
        for seed in range(60):
            keys = jax.random.split(jax.random.key(seed), 1)
            sampling = Sampling(keys, np.float32(1.0), np.float32(top_p), 3)
            seen.add(int(draw(logits, sampling).tokens[0]))
        assert seen == set(range(most))


def test_a_small_top_p_is_greedy_and_all_of_it_changes_nothing(model: LanguageModel) -> None:
    greedy = model.generate(PROMPTS[0], sample_temperature=0.0, max_tokens=9)
    assert model.generate(PROMPTS[0], top_p=1e-6, max_tokens=9) == greedy
    assert model.generate(PROMPTS[0], top_p=1.0, **SAMPLED) == model.generate(PROMPTS[0], **SAMPLED)
    assert model.generate(PROMPTS[0], top_p=0.3, **SAMPLED) != model.generate(PROMPTS[0], **SAMPLED)


@pytest.mark.parametrize("seed", range(4))
def test_pieces_of_a_stream_are_the_text(model: LanguageModel, seed: int) -> None:
    """Drawn tokens are any bytes: parts of characters and what is none."""
    sampling = {**SAMPLED, "max_tokens": 20, "sample_temperature": 3.0, "seed": seed}
    whole = model.generate(PROMPTS[0], **sampling)
    pieces = list(model.stream(PROMPTS[0], **sampling))
    assert "".join(pieces) == whole and len(pieces) > 5 and all(pieces)
    stops = re.findall("[a-z][a-z ]", whole)  # no such letters stand in <E9>, which is none of the text
    assert stops
    for stop in stops:
        pieces = list(model.stream(PROMPTS[0], stop=stop, **sampling))
        assert "".join(pieces) == model.generate(PROMPTS[0], stop=stop, **sampling)
        assert "".join(pieces) == whole[: whole.index(stop)]


def test_what_of_a_text_no_later_token_changes() -> None:
    tokenizer = train_tokenizer(DataConfig(vocab_size=258), [Document("d", ("a",))])
    ids = tokenizer.encode("aé🙂 <")
    shown = [settled(tokenizer, ids[:n]) for n in range(len(ids) + 1)]
    assert shown == ["", "a", "a", "aé", "aé", "aé", "aé", "aé🙂", "aé🙂 ", "aé🙂 <"]
    assert all(later.startswith(text) for text, later in pairwise(shown))
    # The bytes before a character that began wrongly are shown once the next one is whole.
    assert settled(tokenizer, [*ids[3:5], *ids[:1]]) == tokenizer.decode([*ids[3:5], *ids[:1]])


def test_what_may_begin_a_stop_string_is_held_back() -> None:
    tokenizer = train_tokenizer(DataConfig(vocab_size=258), [Document("d", ("a",))])
    stops = ("bcd", "🙂!")
    for text, said in (
        ("ab", "a"),
        ("abc", "a"),
        ("abx", "abx"),
        ("a🙂", "a"),
        ("abcab", "abca"),
        ("bbc", "b"),
    ):
        assert settled(tokenizer, tokenizer.encode(text), stops) == said


@pytest.mark.parametrize(("arguments", "words"), [
    ({"top_p": 0.0}, "top_p is 0.0; it must be a number above 0, at most 1"),
    ({"top_p": 1.5}, "top_p is 1.5; it must be a number above 0, at most 1"),
    ({"logprobs": -1}, "logprobs is -1; it must be a whole number from 0 to 100"),
    ({"logprobs": 101}, "logprobs is 101; it must be a whole number from 0 to 100"),
    ({"lam": (0.1, 2.0)}, "lam is 2.0; it must be a number in [0, 1]"),
])  # fmt: skip
def test_what_is_outside_its_limits_is_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        GenerateOptions(**arguments)


def test_streams_of_several_texts_are_refused(model: LanguageModel) -> None:
    with pytest.raises(ValueError, match="stream one prompt at a time"):
        model.stream(["a", "b"])
    with pytest.raises(ValueError, match="samples is 2; it must be 1 to stream"):
        model.streamed("a", GenerateOptions(samples=2))

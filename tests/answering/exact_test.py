"""What is kept, dropped and combined, against one ordinary pass over the whole prompt, in which nothing is
kept and a passage that is left out never was.
"""

from collections.abc import Sequence
from dataclasses import replace
from string import ascii_lowercase

import numpy as np
import pytest

from aila_jax.answering import slots
from aila_jax.answering.cache import Cache, Memory
from aila_jax.answering.modes import Asked, Drawn, Limits, ask, drawn
from aila_jax.answering.prompts import Prompt
from aila_jax.answering.slots import Drawing, Setting
from aila_jax.data.prompts import Laid, lay_out
from tests.support.passages import model_of, prompt_of_tokens, whole_run

CAPACITY, ANSWER, LAM = 8, (11, 5, 23), 0.4
FORMS = [
    *(pytest.param(form, marks=pytest.mark.medium) for form in ("learned", "deep")),
    "rotary",
    "gpt2",
    "llama",
]
EVERY = np.ones((1, 3), bool)
WITHOUT = ~np.eye(3, dtype=bool)
PROMPT = prompt_of_tokens()


def asked(form: str, mode: str, prompt: Prompt = PROMPT, cache: Cache | None = None) -> Asked:
    lam = LAM if mode == "together" else 1.0
    setting = Setting(model_of(form), lam, 1.0, hard=mode != "together")
    return ask(setting, prompt, mode, CAPACITY, cache or Cache(Memory()))


def laid_without(mode: str, left_out: Sequence[int], prompt: Prompt = PROMPT) -> Laid:
    """The prompt and the answer, as if some passages had never been there; together their places stay
    empty.
    """
    there = [number for number in range(len(prompt.bodies)) if number not in left_out]
    end = [*prompt.ask, *ANSWER[:-1]]
    if mode == "isolated":
        return lay_out(prompt.header, [prompt.bodies[number] for number in there], end, CAPACITY)
    laid = lay_out(prompt.header, prompt.bodies, end)
    kept = ~np.isin(laid.block_ids, list(left_out))
    return Laid(laid.tokens[kept], laid.positions[kept], laid.block_ids[kept])


def whole_logprobs(form: str, mode: str, laid: Laid) -> np.ndarray:
    lam = LAM if mode == "together" else 1.0
    logprobs, _ = whole_run(model_of(form), laid, lam, hard=mode != "together")
    return logprobs[np.arange(-len(ANSWER), 0), ANSWER]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", ["isolated", "together"])
def test_with_and_without_each_passage(form: str, mode: str) -> None:
    found = asked(form, mode).logprobs(ANSWER, np.concatenate([EVERY, WITHOUT]))
    for row, left_out in zip(found, [(), (0,), (1,), (2,)], strict=True):
        want = whole_logprobs(form, mode, laid_without(mode, left_out))
        np.testing.assert_allclose(row, want, atol=1e-5)
    assert np.abs(found[1:] - found[0]).sum(axis=1).min() > 1e-3  # every passage is worth something


@pytest.mark.parametrize("form", ["rotary", "gpt2"])
def test_branches_are_runs_of_one_passage_each(form: str) -> None:
    found = asked(form, "branches").logprobs(ANSWER, np.concatenate([EVERY, WITHOUT, np.zeros((1, 3), bool)]))
    end = [*PROMPT.ask, *ANSWER[:-1]]
    own = np.array([
        whole_logprobs(form, "branches", lay_out(PROMPT.header, [body], end)).sum() for body in PROMPT.bodies
    ])  # fmt: skip
    for row, kept in zip(found[:4], np.concatenate([EVERY, WITHOUT]), strict=True):
        np.testing.assert_allclose(row.sum(), np.log(np.exp(own[kept]).mean()), atol=1e-5)
    none = whole_logprobs(form, "branches", lay_out(PROMPT.header, [], end))
    np.testing.assert_allclose(found[4], none, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", ["isolated", "together"])
def test_the_greedy_answer_is_that_of_whole_runs(form: str, mode: str) -> None:
    model = model_of(form)
    [found] = asked(form, mode).draw(Limits(4, ()))
    for number, token in enumerate(found.tokens):
        end = [*PROMPT.ask, *found.tokens[:number]]
        laid = lay_out(PROMPT.header, PROMPT.bodies, end, CAPACITY if mode == "isolated" else None)
        logprobs, _ = whole_run(model, laid, LAM if mode == "together" else 1.0, hard=mode == "isolated")
        assert token == logprobs[-1].argmax()


@pytest.mark.parametrize("form", FORMS)
def test_each_branch_s_greedy_answer_is_that_of_whole_runs_in_any_company(form: str) -> None:
    """Eleven branches, of three sizes and in rows of eight, that end after different numbers of tokens."""
    model, lengths = model_of(form), (5, 3, 20, 7, 16, 13, 14, 30, 2, 9, 21)
    prompt = prompt_of_tokens(lengths)
    every = asked(form, "branches", prompt)
    assert len({question.start for question in every.questions}) == 3
    plain = every.draw(Limits(3, ()))
    for body, found in zip(prompt.bodies, plain, strict=True):
        for number, token in enumerate(found.tokens):
            end = [*prompt.ask, *found.tokens[:number]]
            logprobs, _ = whole_run(model, lay_out(prompt.header, [body], end), 1.0, hard=True)
            assert token == logprobs[-1].argmax()
    texts = [one.text for one in plain]
    letter = min(ascii_lowercase, key=lambda one: abs(sum(one in text for text in texts) - len(texts) // 2))
    limits = Limits(3, (letter,))  # one that some of them say and others do not
    stopped = every.draw(limits)
    assert stopped == tuple(drawn([question], limits)[0] for question in every.questions)
    assert {one.ended for one in stopped} == {"stop", "length"}


def test_a_branch_is_the_same_bit_for_bit_whatever_is_beside_it() -> None:
    draw, found = np.random.default_rng(0), []
    for _ in range(3):
        bodies = (PROMPT.bodies[0], *(tuple(draw.integers(0, 200, size).tolist()) for size in (3, 7)))
        drawing = Drawing(asked("llama", "branches", replace(PROMPT, bodies=bodies)).questions, 4)
        tokens = np.array([drawing.next() for _ in range(4)])
        assert drawing.kept is not None
        found.append((tokens[:, 0], [np.asarray(layer.values) for layer in drawing.kept]))
    first, *others = found
    for other in others:
        np.testing.assert_array_equal(other[0], first[0])
        for here, there in zip(other[1], first[1], strict=True):
            np.testing.assert_array_equal(here[0], there[0])
            assert (here[1] != there[1]).any()


@pytest.mark.parametrize("mode", ["isolated", "together", "branches"])
def test_the_small_programs_of_a_deep_model_say_the_same(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six layers, of which five run together."""
    kept = np.concatenate([EVERY, WITHOUT])

    def found() -> tuple[np.ndarray, np.ndarray, tuple[Drawn, ...]]:
        here = asked("deep", mode)
        return here.logprobs(ANSWER, kept), here.mass(ANSWER), here.draw(Limits(4, ()))

    want = found()
    calls: list[object] = []
    monkeypatch.setattr(slots, "in_parts", lambda module: not calls.append(module))
    for one, other in zip(found()[:2], want[:2], strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)
    assert found()[2] == want[2] and len(calls) > 4


@pytest.mark.parametrize("form", ["gpt2", "llama"])
@pytest.mark.parametrize("mode", ["isolated", "together"])
def test_mass_is_that_of_the_weights(form: str, mode: str) -> None:
    found = asked(form, mode).mass(ANSWER)
    laid = laid_without(mode, ())
    _, weights = whole_run(model_of(form), laid, LAM if mode == "together" else 1.0, hard=mode == "isolated")
    pieces = np.where(laid.block_ids < 0, 3, laid.block_ids)
    pieces[len(PROMPT.header) + sum(map(len, PROMPT.bodies)) :] = 4
    want = np.stack([weights[-3:, pieces == piece].sum(axis=1) for piece in range(5)], axis=1)
    np.testing.assert_allclose(found, want, atol=2e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=2e-6)


@pytest.mark.parametrize("form", ["rotary", "llama"])
def test_order_is_nothing_at_equal_positions_bit_for_bit(form: str) -> None:
    order = [2, 0, 1]
    other = replace(PROMPT, bodies=tuple(PROMPT.bodies[number] for number in order))
    kept = np.concatenate([EVERY, WITHOUT])
    here = asked(form, "isolated").logprobs(ANSWER, kept)
    there = asked(form, "isolated", other).logprobs(ANSWER, kept)
    np.testing.assert_array_equal(there[0], here[0])
    np.testing.assert_array_equal(there[1:], here[1:][order])
    assert not np.allclose(
        asked(form, "together", other).logprobs(ANSWER, EVERY),
        asked(form, "together").logprobs(ANSWER, EVERY),
        atol=1e-3,
    )


def test_what_is_cached_is_the_same_bit_for_bit_in_any_company() -> None:
    cache = Cache(Memory())
    first = asked("rotary", "isolated", cache=cache).logprobs(ANSWER, EVERY)
    count = len(cache.memory)
    again = asked("rotary", "isolated", cache=cache).logprobs(ANSWER, EVERY)
    np.testing.assert_array_equal(first, again)
    asked("rotary", "branches", cache=cache)
    assert len(cache.memory) == count == 4  # header and passages, each once
    company = replace(PROMPT, bodies=(*PROMPT.bodies[1:], (7, 8, 9)))
    asked("rotary", "isolated", company, cache)
    alone = Cache(Memory())
    asked("rotary", "isolated", company, alone)
    for key, kept in alone.memory._found.items():
        known = cache.memory.get(key)
        assert known is not None
        np.testing.assert_array_equal(known.keys, kept.keys)
        np.testing.assert_array_equal(known.values, kept.values)


@pytest.mark.parametrize("mode", ["isolated", "together"])
def test_what_is_left_out_is_nothing_bit_for_bit(mode: str) -> None:
    """Other words in a passage that is left out: the same shapes, the same numbers."""
    bodies = list(PROMPT.bodies)
    bodies[1] = tuple(token + 1 for token in bodies[1])
    other = asked("rotary", mode, replace(PROMPT, bodies=tuple(bodies)))
    here, there = (one.logprobs(ANSWER, WITHOUT) for one in (asked("rotary", mode), other))
    np.testing.assert_array_equal(here[1], there[1])
    assert (here[0] != there[0]).all()

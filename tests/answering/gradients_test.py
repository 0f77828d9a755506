"""Gradient × input against finite differences of the engine's own log-probabilities, and logits against one
ordinary pass.
"""

from dataclasses import replace

import jax
import numpy as np
import pytest

from aila_jax.answering.cache import Cache, Memory
from aila_jax.answering.gradients import gradient_times_input
from aila_jax.answering.modes import Asked, ask
from aila_jax.answering.slots import Setting
from aila_jax.data.prompts import lay_out
from aila_jax.inference.language_model import LanguageModel
from tests.support.passages import model_of, prompt_of_tokens, whole_run

PROMPT = replace(
    prompt_of_tokens(),
    header=(1, 2, 3),
    bodies=((10, 11, 12, 13, 10), (20, 21, 22), (30, 31, 32, 33, 34, 35, 36)),
    ask=(4, 5, 6, 7),
)
ANSWER, STEP = (41, 42, 43), 1e-2
MODES = ("together", "isolated", "branches")


def asked(model: LanguageModel, mode: str) -> Asked:
    together = mode == "together"
    setting = Setting(model, 0.4 if together else 1.0, 1.0, hard=not together)
    return ask(setting, PROMPT, mode, 8, Cache(Memory()))


def logprob(model: LanguageModel, mode: str, number: int, factor: float) -> float:
    """Of the answer where the embeddings of one passage's tokens, which stand nowhere else, are larger."""
    table = np.array(model.params["embedding"])
    table[sorted(set(PROMPT.bodies[number]))] *= factor
    scaled = replace(model, params={**model.params, "embedding": jax.numpy.asarray(table)})
    return float(asked(scaled, mode).logprobs(ANSWER, np.ones((1, 3), bool)).sum())


@pytest.mark.parametrize("mode", MODES)
def test_it_is_what_finite_differences_say(mode: str) -> None:
    model = model_of("rotary")  # its output layer has a table of its own
    found = gradient_times_input(asked(model, mode), ANSWER)
    sides = [[logprob(model, mode, n, 1.0 + sign * STEP) for sign in (1, -1)] for n in range(3)]
    want = np.array([more - less for more, less in sides]) / (2 * STEP)
    np.testing.assert_allclose(found, want, atol=3e-4)
    assert np.abs(want).max() > 0.03


@pytest.mark.parametrize("form", ["gpt2", pytest.param("deep", marks=pytest.mark.medium)])
def test_a_table_that_is_the_output_too_stays_there_as_it_is(form: str) -> None:
    model = model_of(form)
    assert "output" not in model.params
    shape = replace(model.config.model, tied=False)
    untied = replace(
        model,
        config=replace(model.config, model=shape),
        params={**model.params, "output": model.params["embedding"]},
    )
    found = gradient_times_input(asked(model, "together"), ANSWER)
    np.testing.assert_allclose(found, gradient_times_input(asked(untied, "together"), ANSWER), atol=1e-5)
    side = [logprob(untied, "together", 1, 1.0 + sign * STEP) for sign in (1, -1)]
    np.testing.assert_allclose(found[1], (side[0] - side[1]) / (2 * STEP), atol=3e-4)


def test_logits_are_those_of_one_ordinary_pass() -> None:
    model = model_of("llama")
    [question] = asked(model, "isolated").questions
    found = question.logits(ANSWER, 3)
    laid = lay_out(PROMPT.header, PROMPT.bodies, [*PROMPT.ask, *ANSWER[:-1]], 8)
    want, _ = whole_run(model, laid, 1.0, hard=True)
    np.testing.assert_allclose(jax.nn.log_softmax(found), want[-3:], atol=1e-5)

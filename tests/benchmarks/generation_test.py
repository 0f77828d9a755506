"""The contestants of the generation benchmark draw the same tokens."""

import numpy as np
import pytest

from benchmarks.generation import (
    SHAPES,
    by_transformers,
    drawn_model,
    full,
    kept,
    measured,
    same_logits,
    twin_of,
)

PROMPTS = np.random.default_rng(0).integers(1, 300, (3, 6)).astype(np.int32)


def test_kept_keys_and_values_draw_what_full_passes_draw() -> None:
    model = drawn_model(SHAPES["tiny"], 16)
    np.testing.assert_array_equal(kept(model, PROMPTS, 10), full(model, PROMPTS, 10))


def test_everyone_has_each_turn() -> None:
    calls = []

    def call(who: str) -> np.ndarray:
        calls.append(who)
        return np.zeros((3, 4))

    found = measured({"a": lambda _: call("a"), "b": lambda _: call("b")}, PROMPTS, 2)
    assert calls == ["a", "b"] * 3
    assert [(one.who, one.batch, len(one.tokens_per_second)) for one in found] == [("a", 3, 2), ("b", 3, 2)]


@pytest.mark.external
@pytest.mark.parametrize("shape", ["tiny", "deep"])
def test_transformers_draws_the_same_tokens_of_the_same_weights(shape: str) -> None:
    model = drawn_model(SHAPES[shape], 16)
    twin = twin_of(model, SHAPES[shape])
    assert same_logits(model, twin, PROMPTS) < 1e-5
    np.testing.assert_array_equal(kept(model, PROMPTS, 10), by_transformers(twin, PROMPTS, 10))

"""One text over the dial: the losses and weights are those of `model.apply`, computed here on their own."""

import dataclasses
import math
import re

import numpy as np
import pytest

from aila_jax.inference.text_reading import (
    ReadingGrid,
    TextReading,
    read_over_dial,
    reading_of_maps,
    token_loss,
)
from tests.reporting.conftest import synthetic_maps
from tests.support.untrained import untrained_model

TEXT = "the old owl saw my brother in the garden ."
LAMS, TAUS = (0.0, 0.5, 1.0), (0.5, 2.0)


@pytest.fixture(scope="module")
def reading() -> TextReading:
    model = untrained_model()
    grid = ReadingGrid(LAMS[::-1], TAUS[::-1], layers=(1,), heads=(1, 0))
    return read_over_dial(model, model.tokenizer.encode(TEXT), grid)


def test_a_reading_is_what_apply_returns_at_each_setting(reading):
    model = untrained_model()
    ids = model.tokenizer.encode(TEXT)
    assert (reading.lams, reading.taus, reading.layers, reading.heads) == (LAMS, TAUS, (1,), (1, 0))
    assert reading.shape == (2, 2)
    for row, tau in enumerate(TAUS):
        for column, lam in enumerate(LAMS):
            output = model.apply(np.asarray([ids]), lam=lam, tau=tau, weights=True)
            weights = np.asarray(output.weights)[1, 0]
            np.testing.assert_allclose(reading.weights[row, column, 0], weights[[1, 0]], atol=1e-6)
            mass = np.asarray(output.stats.block_mass)[1, 0].mean(-1)
            np.testing.assert_allclose(reading.block_mass[row, column, 0], mass[[1, 0]], atol=1e-6)
            logits = np.asarray(output.logits, np.float64)[0]
            for place in range(1, len(ids)):  # one token at a time, in Python's own arithmetic
                top = max(logits[place - 1])
                total = math.fsum(math.exp(value - top) for value in logits[place - 1])
                loss = math.log(total) + top - logits[place - 1][ids[place]]
                assert reading.loss[row, column, place] == pytest.approx(loss, abs=1e-5)
    assert np.isnan(reading.loss[..., 0]).all()


def test_the_loss_of_a_token_is_that_of_the_place_before_it():
    logits = np.log([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(token_loss(logits, np.array([2, 0, 2]))[1:], [math.log(2), -math.log(0.8)])
    assert token_loss(logits[:1], np.array([2])).shape == (1,)


def test_huge_logits_cost_no_overflow():
    found = token_loss(np.array([[1e4, 0.0], [0.0, 0.0]], np.float32), np.array([0, 1]))
    assert found[1] == 1e4


def test_maps_become_a_reading_in_order_of_the_grid():
    maps = [
        dataclasses.replace(synthetic_maps((1, 2), lam=lam), tau=tau)
        for tau in (2.0, 1.0)
        for lam in (1.0, 0.0)
    ]
    reading = reading_of_maps(maps)
    assert (reading.lams, reading.taus, reading.shape, reading.loss) == ((0.0, 1.0), (1.0, 2.0), (1, 2), None)
    np.testing.assert_array_equal(reading.weights[1, 0], maps[1].weights)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tau": 2.0, "lam": 0.9}, "it must be one for every λ and τ of a grid"),
        ({}, "it must be one for every λ and τ of a grid"),
        ({"tokens": tuple("abcdefg")}, "maps is 'those of several texts or models'; it must be one text's"),
        ({"source": "other"}, "maps is 'those of several texts or models'; it must be one text's"),
    ],
)
def test_maps_that_are_no_grid_of_one_text_are_refused(change, words):
    one = synthetic_maps()
    with pytest.raises(ValueError, match=re.escape(words)):
        reading_of_maps([one, dataclasses.replace(one, **change)])
    with pytest.raises(ValueError, match=r"maps is \[\]; it must be at least one setting of the dial"):
        reading_of_maps([])

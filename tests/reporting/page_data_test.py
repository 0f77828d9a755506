"""The page's JSON block: its bytes decode to the weights, its numbers are the rows', and what does not fit is
chosen or refused.
"""

import base64
import dataclasses
import json
import math
import re
from typing import Any

import numpy as np
import pytest

from aila_jax.evaluation.rows import SweepResult
from aila_jax.inference.text_reading import ReadingGrid, TextReading, read_over_dial, reading_of_maps
from aila_jax.reporting import page_data, pages
from aila_jax.reporting.page_data import RunOnPage, grid_of, heads_that_fit, most_tokens, reading_data
from tests.reporting.conftest import synthetic_maps, synthetic_sweep
from tests.support.untrained import untrained_model

STEP = 1 / 255  # of the square root of a weight
TEXT = "the old owl saw my brother in the garden ."
LAMS, TAUS = (0.0, 0.5, 1.0), (0.8, 1.0)


@pytest.fixture(scope="module")
def reading() -> TextReading:
    """That of a model, of which the page knows nothing but the numbers."""
    model = untrained_model()
    return read_over_dial(model, model.tokenizer.encode(TEXT), ReadingGrid(LAMS, TAUS, (0, 1), (1,)))


def decoded(data: dict[str, Any]) -> np.ndarray:
    """Weights [τ, λ, layer, head, query, key] from the page's data, as its script reads them."""
    length = len(data["tokens"])
    shape = [len(data[name]) for name in ("taus", "lams", "layers", "heads")]
    q = np.frombuffer(base64.b64decode(data["weights"]), np.uint8).reshape(*shape, -1)
    weights = np.zeros((*q.shape[:4], length, length))
    place = 0
    for query in range(length):
        width = query + 1 if data["causal"] else length
        weights[..., query, :width] = (q[..., place : place + width] / 255.0) ** 2
        place += width
    assert place == q.shape[-1]
    return weights


def test_the_pages_attention_and_losses_are_those_of_apply(reading):
    model = untrained_model()
    data = json.loads(json.dumps(reading_data(reading)))
    assert (data["lams"], data["taus"], data["layers"], data["heads"]) == ([*LAMS], [*TAUS], [0, 1], [1])
    weights, ids = decoded(data), model.tokenizer.encode(TEXT)
    for row, tau in enumerate(TAUS):
        for column, lam in enumerate(LAMS):
            output = model.apply(np.asarray([ids]), lam=lam, tau=tau, weights=True)
            exact = np.asarray(output.weights, np.float64)[:, 0, 1]
            shown = weights[row, column, :, 0]
            assert np.abs(np.sqrt(shown) - np.sqrt(exact)).max() <= 0.5 * STEP + 1e-6
            # Within a 255th of the row's largest weight, as bytes by row would be.
            assert (np.abs(shown - exact) <= STEP * np.sqrt(exact.max(-1, keepdims=True)) + 1e-5).all()
            bits, mass = (
                np.asarray(x, np.float64)[:, 0, 1].mean(-1)
                for x in (output.stats.entropy_bits, output.stats.block_mass)
            )
            np.testing.assert_allclose(np.asarray(data["entropy_bits"])[row, column, :, 0], bits, atol=1e-6)
            np.testing.assert_allclose(np.asarray(data["block_mass"])[row, column, :, 0], mass, atol=1e-6)
            logits = np.asarray(output.logits, np.float64)[0]
            losses = [
                math.log(np.exp(logits[place - 1] - logits[place - 1, ids[place]]).sum())
                for place in range(1, len(ids))
            ]
            assert data["loss"][row][column][0] is None
            np.testing.assert_allclose(data["loss"][row][column][1:], losses, atol=1e-4)
    inside = np.unpackbits(np.frombuffer(base64.b64decode(data["inside"]), np.uint8))[: len(ids) ** 2]
    blocks = np.arange(len(ids)) // model.config.partition.size
    expected = (blocks[:, None] == blocks) & np.tri(len(ids), dtype=bool)
    np.testing.assert_array_equal(inside.reshape(expected.shape), expected)
    assert "".join(data["tokens"]) == TEXT


def test_the_numbers_are_the_rows(sweep: SweepResult):
    data = page_data.page_data([RunOnPage("one", sweep)])
    for shown, cell in zip(data["runs"][0]["cells"], sweep.cells, strict=True):
        assert (shown["lam"], shown["tau"]) == (cell.lam, cell.tau)
        assert shown["numbers"] == {name: getattr(cell, name) for name in shown["numbers"]}
    assert (data["lams"], data["taus"], data["start_tau"]) == ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.5, 1, 2], 1)
    assert data["runs"][0]["reading"] is None


def test_what_is_guaranteed_is_rounded_away_from_what_it_bounds():
    result = synthetic_sweep(guaranteed_block_mass=0.91379, guaranteed_entropy_bits=1.2301)
    texts = page_data.page_data([RunOnPage("one", result)])["runs"][0]["cells"][0]["texts"]
    assert (texts["guaranteed_block_mass"], texts["guaranteed_entropy_bits"]) == ("91.3 %", "1.24")


def test_the_grid_of_two_runs_is_every_setting_of_either():
    runs = [
        RunOnPage("a", synthetic_sweep(lams=(0.0, 1.0), taus=(1.0,))),
        RunOnPage("b", reading=reading_of_maps([synthetic_maps(lam=0.3)])),
    ]
    assert grid_of(runs) == ([0.0, 0.3, 1.0], [0.7, 1.0])


def test_a_bidirectional_model_keeps_its_whole_square():
    one = synthetic_maps((1, 2), causal=False)
    weights = decoded(reading_data(reading_of_maps([one])))[0, 0]
    assert np.abs(np.sqrt(weights) - np.sqrt(one.weights)).max() <= 0.5 * STEP + 1e-6


@pytest.mark.parametrize("causal", [True, False])
def test_what_does_not_fit_on_a_page_is_refused_and_the_limit_is_true(causal: bool):
    most = most_tokens(2 * 3, causal, 400)
    assert most == (9 if causal else 7)
    fits = [synthetic_maps((1, 3), length=most, lam=lam, causal=causal) for lam in (0.0, 1.0)]
    assert len(reading_data(reading_of_maps(fits), 400)["weights"]) <= 400
    beyond = [synthetic_maps((1, 3), length=most + 1, lam=lam, causal=causal) for lam in (0.0, 1.0)]
    with pytest.raises(ValueError, match=rf"text is '{most + 1} tokens'; it must be at most {most} here"):
        reading_data(reading_of_maps(beyond), 400)
    assert page_data.MAX_WEIGHT_BYTES < pages.MAX_BYTES / 2


@pytest.mark.parametrize(
    ("shape", "length", "settings"),
    [((2, 4), 31, 18), ((12, 12), 128, 33), ((24, 16), 64, 55), ((6, 8), 512, 6)],
)
def test_as_many_heads_are_kept_as_fit_and_no_fewer(shape, length, settings):
    layers, heads = heads_that_fit(settings, shape, length)
    room = page_data.MAX_WEIGHT_BYTES * 3 // 4

    def bytes_of(maps: int) -> int:
        return settings * maps * length * (length + 1) // 2

    assert bytes_of(len(layers) * len(heads)) <= room
    whole = (len(layers), len(heads)) == shape
    assert whole or bytes_of((len(layers) + 1) * (len(heads) + 1)) > room
    assert layers[0] == heads[0] == 0
    assert len(layers) in (1, shape[0]) or layers[-1] == shape[0] - 1
    assert heads_that_fit(settings, shape, 5000) == ([], [])


def test_a_sample_without_a_number_for_lam_is_refused():
    sample = {"lam": "x", "tau": 1.0, "prompt": "", "text": ""}
    with pytest.raises(ValueError, match=re.escape("samples[3]['lam'] is 'x'; it must be a number")):
        page_data.sample_shown(sample, 3)
    assert page_data.sample_shown({**sample, "lam": 0.5, "text": "y" * 4321}, 0)["cut"] == 321


def test_labels_show_what_has_no_shape(reading):
    tokens = ("a b", "\n", "\x07", "x" * 30)
    one = synthetic_maps(length=4)
    data = reading_data(reading_of_maps([dataclasses.replace(one, tokens=tokens)]))
    assert data["labels"] == ["a␣b", "⏎", "<07>", "xxxxxxxxx…"]

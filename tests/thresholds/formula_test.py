"""The formula's estimators: hand-solved cases, and NumPy's own covariance, eigenvalues and cosines over all
inputs at once.
"""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from aila_jax.model.interface import Dial
from aila_jax.partition.correlation import VectorSums
from aila_jax.thresholds.formula import (
    BlockSums,
    Correlation,
    InputEstimates,
    largest_correlation,
    predicted_thresholds,
)
from aila_jax.types import Batch
from tests.support.untrained import untrained_model


def estimates_of(inputs, block_ids, groups: int) -> InputEstimates:
    """In two unequal batches."""
    sums = BlockSums(groups, inputs.shape[-1])
    for part in (slice(0, 1), slice(1, None)):
        sums.add(np.asarray(inputs[part], np.float32), np.asarray(block_ids[part], np.int32))
    return sums.estimates()


def test_a_case_solved_by_hand():
    """Two sequences of six positions, three blocks of two tokens, two coordinates.

    Block 0 holds (±3, 4), so it varies by 3 along the first axis around (0, 4); block 1 (−4 ± 1, 0), by 1;
    block 2 stands still at (4, −4). The corpus mean is 0. The cosines are 0 of blocks 0 and 1, −1/√2 of the
    other pairs.
    """
    one = [[3.0, 4.0], [-3.0, 4.0], [-3.0, 0.0], [-5.0, 0.0], [4.0, -4.0], [4.0, -4.0]]
    found = estimates_of(np.array([one, one]), np.array([[0, 0, 1, 1, 2, 2]] * 2), 3)
    np.testing.assert_allclose(found.sigma, [3.0, 1.0, 0.0], atol=1e-12)
    np.testing.assert_array_equal(found.tokens, [2.0, 2.0, 2.0])
    assert found.rho.value == pytest.approx(math.sqrt(0.5))
    assert (found.counts.tolist(), found.width) == ([4, 4, 4], 2)
    # 2 · √2 · √2 · σ · √2 / (½ · (1 − √½)) · e^{−δ/½}, with δ = 0 and δ = ½ ln 2 of two heads.
    predicted = predicted_thresholds(found, np.array([0.0, 0.5 * math.log(2.0)]), tau=0.5)
    level = 4.0 * math.sqrt(2.0) / (0.5 * (1.0 - math.sqrt(0.5)))
    np.testing.assert_allclose(
        predicted, [[3 * level, level, 0.0], [1.5 * level, 0.5 * level, 0.0]], rtol=1e-12, atol=1e-9
    )


def test_estimators_against_numpy_on_all_inputs_at_once():
    """Blocks of unequal size, ids beyond G, padding and global tokens, and a mean far from 0 beside the
    spread.
    """
    draw = np.random.default_rng(0)
    inputs = (draw.standard_normal((9, 20, 5)) @ draw.standard_normal((5, 5)) + 100.0).astype(np.float32)
    block_ids = draw.choice(8, (9, 20), p=np.arange(1, 9) / 36)
    inputs += 0.5 * draw.standard_normal((8, 5)).astype(np.float32)[block_ids]
    block_ids[2, 15:], block_ids[:, 0], block_ids[5, 1:] = -1, -2, 2  # the sixth sequence has one block alone
    found = estimates_of(inputs, block_ids, 4)
    owner = np.where(block_ids >= 0, block_ids % 4, -1)
    x = [inputs[owner == i].astype(np.float64) for i in range(4)]
    np.testing.assert_allclose(
        found.sigma, [np.linalg.norm(part - part.mean(0), 2) / math.sqrt(len(part)) for part in x], rtol=1e-8
    )
    np.testing.assert_allclose(
        found.tokens, [len(part) / (owner == i).any(axis=1).sum() for i, part in enumerate(x)]
    )
    centred = np.array([part.mean(0) for part in x]) - np.concatenate(x).mean(0)
    cosines = np.abs([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in centred] for a in centred])
    assert found.rho.value == pytest.approx(cosines[~np.eye(4, dtype=bool)].max(), rel=1e-6)


@pytest.mark.parametrize(
    ("means", "reason"),
    [
        ([[1.0, 0.0], [-1.0, 0.0]], r"fewer than 3 blocks \(2\)"),
        ([[1.0, 0.0]], r"fewer than 3 blocks \(1\)"),
        ([[1.0, 0.0], [-1.0, 1e-3], [0.0, 1e-3]], r"ρ_max is 0\.999 or more"),
    ],
)
def test_an_undefined_correlation_says_why_and_there_is_no_prediction(means, reason):
    found = largest_correlation(
        VectorSums(np.arange(len(means)), np.ones(len(means), np.int64), np.array(means))
    )
    assert found.value is None
    assert re.search(reason, found.undefined)
    estimates = InputEstimates(np.ones(3), np.ones(3), found, np.ones(3, np.int64), 2)
    assert predicted_thresholds(estimates, np.zeros(2)) is None


def test_the_formulas_laws_and_its_refusals():
    base = InputEstimates(np.ones(3), np.full(3, 4.0), Correlation(0.5), np.ones(3, np.int64), 16)
    delta = np.array([0.3, -2.0])
    plain = predicted_thresholds(base, delta)
    assert plain[0, 0] == pytest.approx(2 * math.sqrt(2) * 4 * 2 / 0.5 * math.exp(-0.3))
    np.testing.assert_allclose(
        predicted_thresholds(replace(base, tokens=np.full(3, 9.0)), delta), 1.5 * plain
    )
    np.testing.assert_allclose(predicted_thresholds(replace(base, rho=Correlation(0.75)), delta), 2.0 * plain)
    np.testing.assert_allclose(predicted_thresholds(base, delta + 1.0), plain / math.e)
    np.testing.assert_allclose(
        predicted_thresholds(base, np.zeros(2), tau=2.0), predicted_thresholds(base, np.zeros(2)) / 2.0
    )
    assert predicted_thresholds(base, None) is None
    with pytest.raises(ValueError, match=r"tau is 0\.0; it must be a number from 1e-06 to 1e"):
        predicted_thresholds(base, delta, tau=0.0)
    with pytest.raises(ValueError, match=r"δ / τ is -2000\.0; it must be within ±700\. Fix: raise tau"):
        predicted_thresholds(base, delta, tau=1e-3)
    with pytest.raises(
        ValueError,
        match=r"tokens of block is \[1\]; it must be above 0 for every block\. Fix: read more text",
    ):
        estimates_of(np.zeros((2, 2, 2)), np.array([[0, 2], [0, 2]]), 3)


def test_the_first_layers_inputs_are_the_normalised_embeddings():
    """Token plus position, centred and divided by the standard deviation over coordinates."""
    model = untrained_model()
    tokens = np.random.default_rng(0).integers(0, model.tokenizer.vocab_size, (2, 24)).astype(np.int32)
    batch = Batch.from_tokens(tokens)
    found = model.network.attention_inputs(model.params, batch, Dial(0.0, 1.0))
    x = (
        np.asarray(model.params["embedding"], np.float64)[tokens]
        + np.asarray(model.params["position"], np.float64)[None]
    )
    x -= x.mean(-1, keepdims=True)
    np.testing.assert_allclose(found, x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6), atol=2e-5)
    second = model.network.attention_inputs(model.params, batch, Dial(0.0, 1.0), layer=1)
    assert second.shape == found.shape
    assert float(abs(second - found).max()) > 0.1

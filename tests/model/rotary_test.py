"""Rotary positions against complex numbers in NumPy float64, and what they make of attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax.config import Config, ModelConfig
from aila_jax.inference.inputs import example_batch
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.rotary import Rotation
from aila_jax.model.transformer import Transformer
from aila_jax.partition.build import build_partition

BASE, HEADS, WIDTH = 500.0, 3, 8


def turned(x_BxLxHxK: np.ndarray, positions_BxL: np.ndarray) -> np.ndarray:
    """Pair i as the complex number x_i + j·x_{i + K/2}, times e^{j t base^(−2i/K)}."""
    half = x_BxLxHxK.shape[-1] // 2
    pairs = x_BxLxHxK[..., :half].astype(np.float64) + 1j * x_BxLxHxK[..., half:]
    rates = BASE ** (-np.arange(half) / half)
    pairs = pairs * np.exp(1j * positions_BxL[:, :, None, None] * rates)
    return np.concatenate([pairs.real, pairs.imag], axis=-1)


@pytest.fixture
def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Queries, keys and positions that restart within a row."""
    draw = np.random.default_rng(0)
    q, k = draw.standard_normal((2, 2, 6, HEADS, WIDTH)).astype(np.float32)
    return q, k, np.array([[0, 1, 2, 3, 4, 5], [40, 41, 0, 1, 2, 3]], np.int32)


def test_pairs_turn_by_their_angles_and_keep_their_length(drawn) -> None:
    q, _, positions = drawn
    rotation = Rotation.of(jnp.asarray(positions), WIDTH, BASE)
    found = np.asarray(rotation(q))
    np.testing.assert_allclose(found, turned(q, positions), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), np.linalg.norm(q, axis=-1), rtol=1e-6)
    np.testing.assert_array_equal(
        found[:, [0, 2]][[0, 1], [0, 1]], q[[0, 1], [0, 2]]
    )  # at position 0 nothing turns
    np.testing.assert_allclose(jax.jit(Rotation.__call__)(rotation, q), found, rtol=1e-6, atol=1e-6)
    assert rotation(jnp.asarray(q, jnp.bfloat16)).dtype == jnp.bfloat16


def test_scores_depend_on_how_far_apart_two_tokens_are(drawn) -> None:
    q, k, positions = drawn
    here, there = (Rotation.of(jnp.asarray(positions + shift), WIDTH, BASE) for shift in (0, 77))
    scores = [np.einsum("blhk,bmhk->bhlm", r(q), r(k)) for r in (here, there)]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-4)
    assert np.abs(scores[0] - np.einsum("blhk,bmhk->bhlm", q, k)).max() > 0.5


def test_a_model_reads_a_shifted_text_alike_once_it_has_no_absolute_positions() -> None:
    """Without its learned positions a rotary model gives the same logits wherever a text begins; one of
    learned positions knows.
    """
    for base, moves in ((BASE, False), (0.0, True)):
        config = Config(
            model=ModelConfig(length=16, d_model=24, n_heads=HEADS, d_ff=16, n_layers=2, rotary_base=base)
        )
        network = Network(Transformer(config.model, 40), build_partition(config.partition))
        batch = example_batch(config)
        params = jax.tree.map(lambda x: 6.0 * x, network.init(batch, jax.random.key(0)))
        if base:
            params["position"] = 0 * params["position"]
        tokens = np.random.default_rng(1).integers(0, 40, (2, 8)).astype(np.int32)
        short = jax.tree.map(lambda x: None if x is None else x[:, :8], batch).replace(
            tokens=np.resize(tokens, batch.tokens[:, :8].shape)
        )
        logits = [
            np.asarray(
                network(
                    params,
                    short.replace(positions=short.positions + shift),
                    Dial(0.0, 1.0),
                    Request(),
                ).logits
            )
            for shift in (0, 5)
        ]
        assert (np.abs(logits[0] - logits[1]).max() > 1e-2) == moves


def test_order_matters_to_a_rotary_model_without_learned_positions() -> None:
    config = Config(
        model=ModelConfig(length=8, d_model=24, n_heads=HEADS, d_ff=16, n_layers=1, rotary_base=BASE)
    )
    network = Network(Transformer(config.model, 40), build_partition(config.partition))
    batch = example_batch(config)
    params = jax.tree.map(lambda x: 6.0 * x, network.init(batch, jax.random.key(0)))
    params["position"] = 0 * params["position"]
    tokens = np.resize(np.arange(8, dtype=np.int32), batch.tokens.shape)
    swapped = tokens.copy()
    swapped[:, [1, 4]] = tokens[:, [4, 1]]
    last = [
        np.asarray(network(params, batch.replace(tokens=one), Dial(0.0, 1.0), Request()).logits)[:, -1]
        for one in (tokens, swapped)
    ]
    assert np.abs(last[0] - last[1]).max() > 1e-2

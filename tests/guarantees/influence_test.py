"""The bound on what attention can carry, attained and never passed, and the divergence by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aila_jax.config import ModelConfig
from aila_jax.guarantees.influence import contribution_bounds, kl_nats, value_bounds

D, H, K = 6, 2, 3
PLAIN = ModelConfig(length=4, d_model=D, n_heads=H, d_ff=4, n_layers=1)
FILM = ModelConfig(length=4, d_model=D, n_heads=H, d_ff=4, n_layers=1, film=True, qkv_bias=True)
TURNED = ModelConfig(length=4, d_model=D, n_heads=H, d_ff=4, n_layers=1, dial_weights="qkv")


def layer(seed: int, config: ModelConfig) -> dict:
    """One layer's parameters as the model names them, drawn from a normal distribution."""
    draw = np.random.default_rng(seed).standard_normal
    turned = {"value_dial": {"kernel": draw((D, H, K))}} if config.dial_weights == "qkv" else {}
    params = {
        "attention": {
            **turned,
            "value": {"kernel": draw((D, H, K)), **({"bias": draw((H, K))} if config.qkv_bias else {})},
            "out": {"kernel": draw((H, K, D)), "bias": draw(D)},
        },
        "attention_norm": {"film_scale": draw(D), "film_shift": draw(D)} if config.film else {},
    }
    return {"layer_0": {name: part for name, part in params.items() if part}}


def contributions(params: dict, config: ModelConfig, lam: float, x: np.ndarray) -> np.ndarray:
    """‖v W_O‖ of each head for the residual vector x, the LayerNorm included, in float64."""
    one = params["layer_0"]
    y = (x - x.mean()) / np.sqrt(x.var() + 1e-6)
    if config.film:
        y = y * (1 + lam * one["attention_norm"]["film_scale"]) + lam * one["attention_norm"]["film_shift"]
    kernel = one["attention"]["value"]["kernel"]
    if config.dial_weights == "qkv":
        kernel = kernel + lam * one["attention"]["value_dial"]["kernel"]
    v = np.einsum("d,dhk->hk", y, kernel) + one["attention"]["value"].get("bias", 0)
    return np.linalg.norm(np.einsum("hk,hkd->hd", v, one["attention"]["out"]["kernel"]), axis=-1)


@pytest.mark.parametrize("config", [PLAIN, FILM, TURNED], ids=["plain", "film and bias", "dial weights"])
def test_no_residual_vector_passes_the_bound(config) -> None:
    @given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.sampled_from([1e-3, 1.0, 1e3]))
    @settings(max_examples=100)
    def holds(seed, lam, size) -> None:
        params, x = layer(seed, config), size * np.random.default_rng(seed + 1).standard_normal(D)
        assert (contributions(params, config, lam, x) <= value_bounds(params, config, lam)[0]).all()

    holds()


def test_the_bound_is_attained_by_the_worst_vector_through_an_aligned_output() -> None:
    """x along the centred kernel's first singular vector; W_O keeps lengths. Uncentred norms would be larger:
    the bound would be loose.
    """
    params = layer(0, PLAIN)
    kernel = params["layer_0"]["attention"]["value"]["kernel"]
    kernel += 2.0
    params["layer_0"]["attention"]["out"]["kernel"] = np.broadcast_to(np.eye(K, D), (H, K, D))
    bounds = value_bounds(params, PLAIN)[0]
    for head in range(H):
        worst = np.linalg.svd(kernel[:, head] - kernel[:, head].mean(axis=0))[0][:, 0]
        assert contributions(params, PLAIN, 0.0, 1e3 * worst)[head] == pytest.approx(bounds[head], rel=1e-4)
        assert np.linalg.norm(kernel[:, head], 2) * math.sqrt(D) > 1.01 * bounds[head]


def test_film_widens_the_bound_with_lam_and_bfloat16_a_little() -> None:
    params = layer(3, FILM)
    ours = [value_bounds(params, FILM, lam)[0, 0] for lam in (0.0, 0.5, 1.0)]
    assert ours[0] < ours[1] < ours[2]
    assert 1.0 < value_bounds(params, FILM, 1.0, "bfloat16")[0, 0] / ours[2] < 1.05


def test_contributions_are_mass_times_value() -> None:
    np.testing.assert_allclose(
        contribution_bounds(np.array([[0.0, 0.25]]), np.array([[3.0, 4.0]])), [[0.0, 1.0]]
    )
    with pytest.raises(ValueError, match=r"out_mass is .*; it must be in \[0, 1\]"):
        contribution_bounds(np.array([[1.2]]), np.array([[1.0]]))


@pytest.mark.parametrize(
    ("lam", "weight", "message"), [(2.0, 1.0, "lam is 2.0"), (0.0, np.nan, "value weights is 'not finite'")]
)
def test_bounds_of_what_cannot_be_bounded_are_refused(lam, weight, message) -> None:
    params = layer(0, PLAIN)
    params["layer_0"]["attention"]["value"]["kernel"][0, 0, 0] = weight
    with pytest.raises(ValueError, match=message):
        value_bounds(params, PLAIN, lam)


def test_divergence_by_hand() -> None:
    """p = (½, ½) and q = (¼, ¾): ½ ln 2 + ½ ln ⅔. Logits may be shifted, and equal ones give exactly 0, large
    ones no overflow.
    """
    p, q = np.float32(np.log([[0.5, 0.5]])) + 7, np.float32(np.log([[0.25, 0.75]]))
    assert kl_nats(p, q)[0] == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), rel=1e-6)
    assert kl_nats(p, p)[0] == 0.0
    assert kl_nats(np.float32([[0.0, 500.0]]), np.float32([[500.0, 0.0]]))[0] == pytest.approx(500.0)


@given(st.lists(st.floats(-30, 30, width=32), min_size=10, max_size=10))
def test_divergence_is_never_negative(values) -> None:
    logits = np.float32(values).reshape(2, 1, 5)
    assert kl_nats(logits[0], logits[1])[0] >= -1e-13

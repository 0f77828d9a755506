"""Bounds on scores: those of docs/certificates.md, written out per head, never exceeded by the model's own
scores, and attained.
"""

import math
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax.config import ModelConfig
from aila_jax.guarantees.norms import ROUNDING, arithmetic_of
from aila_jax.guarantees.score_bounds import parameter_bounds, qk_norm_bounds
from aila_jax.model.interface import Request
from aila_jax.model.layers import Norm, head_scale, unit_norm
from aila_jax.model.rotary import Rotation
from aila_jax.model.transformer import Attention, Setting
from aila_jax.partition.relations import Relation
from tests.support.tight import HEADS, LENGTH, WIDTH, config_of, tight_layer

K = WIDTH // HEADS
FULL = {"film": True, "qkv_bias": True, "dial_weights": "qk"}


def random_layer(config: ModelConfig, seed: int, mean: float = 0.0) -> dict[str, Any]:
    """All parameters drawn; `mean` is added to query and key kernels: the part that centring must take off
    again.
    """
    draw = np.random.default_rng(seed)
    attention: dict[str, Any] = {
        name: {
            "kernel": draw.standard_normal((WIDTH, HEADS, K)) + mean,
            "bias": draw.standard_normal((HEADS, K)),
        }
        for name in ("query", "key", "value")
    }
    if not config.qkv_bias:
        for name in ("query", "key", "value"):
            del attention[name]["bias"]
    if config.dial_weights != "none":
        attention |= {
            f"{name}_dial": {"kernel": draw.standard_normal((WIDTH, HEADS, K))} for name in ("query", "key")
        }
    norm = {"film_scale": draw.standard_normal(WIDTH), "film_shift": draw.standard_normal(WIDTH)}
    attention["out"] = {"kernel": draw.standard_normal((HEADS, K, WIDTH)), "bias": np.zeros(WIDTH)}
    attention["qk_scale"] = draw.standard_normal(HEADS)
    return {"layer_0": jax.tree.map(np.float32, {"attention": attention, "attention_norm": norm})}


def plain_bound(params: dict[str, Any], config: ModelConfig, lam: float, head: int) -> float:
    """(√D‖P Λ W_Q‖₂ + ‖W_Qᵀ s + b_Q‖₂) · √D‖P Λ W_K‖₂/√K: the bound of the method, by eigenvalues."""
    layer = params["layer_0"]
    scale = 1 + lam * layer["attention_norm"]["film_scale"].astype(np.float64) * config.film
    shift = lam * layer["attention_norm"]["film_shift"].astype(np.float64) * config.film
    centring = np.eye(WIDTH) - 1 / WIDTH

    def sides(name: str) -> tuple[float, float]:
        kernel = layer["attention"][name]["kernel"][:, head].astype(np.float64)
        if config.dial_weights != "none":
            kernel = kernel + lam * layer["attention"][f"{name}_dial"]["kernel"][:, head].astype(np.float64)
        inner = centring @ np.diag(scale) @ kernel
        constant = kernel.T @ shift + (
            layer["attention"][name]["bias"][head].astype(np.float64) if config.qkv_bias else 0.0
        )
        return math.sqrt(np.linalg.eigvalsh(inner.T @ inner)[-1]), float(np.linalg.norm(constant))

    (query, constant), (key, _) = sides("query"), sides("key")
    return (math.sqrt(WIDTH) * query + constant) * math.sqrt(WIDTH) * key / math.sqrt(K)


STRIDE = 7  # between the positions of a rotary model, so that few tokens turn far apart
SOFT = 1000.0  # a temperature at which no weight underflows


@cache
def spread(config: ModelConfig):
    """Compiled: half the range of every query's scores [R, H, L] for R inputs [R, L, D], by the model's own
    LayerNorm and attention.
    """

    def half_range(params, x_RxLxD, lam):
        layer = params["layer_0"]
        norm = Norm(affine=False, film=config.film)
        y = norm.apply({"params": layer["attention_norm"]} if config.film else {}, x_RxLxD, lam).astype(
            config.dtype
        )
        ids = jnp.zeros(x_RxLxD.shape[:2], jnp.int32)
        rotation = (
            Rotation.of(jnp.arange(LENGTH)[None] * STRIDE, K, config.rotary_base)
            if config.rotary_base
            else None
        )
        _, stats = Attention(config).apply(
            {"params": layer["attention"]},
            y,
            0 * lam,
            Setting(Relation(ids), lam, SOFT + 0 * lam, Request(weights=True), rotation),
        )
        scores = SOFT * jnp.log(stats.weights)
        seen = jnp.tri(LENGTH, dtype=bool)[None, None]
        high = jnp.max(scores, axis=-1, where=seen, initial=-jnp.inf)
        return (high - jnp.min(scores, axis=-1, where=seen, initial=jnp.inf)) / 2

    return jax.jit(half_range)


@pytest.mark.parametrize("options", [{}, FULL], ids=["plain", "FiLM and biases"])
def test_the_bound_is_at_most_that_of_the_method_and_close_to_it_where_weights_align(
    options: dict[str, Any],
) -> None:
    config = config_of(**options)
    for seed, lam in ((0, 0.0), (1, 0.6), (2, 1.0)):
        params = random_layer(config, seed)
        found = parameter_bounds(params, config, lam).score[0]
        for head in range(HEADS):
            assert (
                0.3 * plain_bound(params, config, lam, head)
                < found[head]
                < plain_bound(params, config, lam, head) * (1 + 1e-4)
            )
    aligned = tight_layer(config, 0.8)
    np.testing.assert_allclose(
        parameter_bounds(aligned, config, 0.8).score[0, 0], plain_bound(aligned, config, 0.8, 0), rtol=1e-3
    )


def test_without_film_and_biases_it_is_the_norm_of_the_product_and_does_not_depend_on_lambda() -> None:
    config, params = config_of(), random_layer(config_of(), 3)
    centring = np.eye(WIDTH) - 1 / WIDTH
    found = parameter_bounds(params, config, 0.3).score[0]
    for head in range(HEADS):
        query, key = (
            centring @ params["layer_0"]["attention"][name]["kernel"][:, head].astype(np.float64)
            for name in ("query", "key")
        )
        np.testing.assert_allclose(
            found[head], WIDTH * np.linalg.svd(query @ key.T)[1][0] / math.sqrt(K), rtol=1e-4
        )
    np.testing.assert_array_equal(found, parameter_bounds(params, config, 0.9).score[0])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_no_scores_spread_further_even_where_rounding_breaks_the_centring(dtype: str) -> None:
    """Kernels with a large mean: exactly, LayerNorm's centred output never meets it; rounded, it does, and ρ
    must pay for that.
    """
    x = 10 * np.random.default_rng(0).standard_normal((40, LENGTH, WIDTH)).astype(np.float32)
    for options, mean in ((FULL, 0.0), (FULL, 1.0), ({}, 10.0)):
        config = config_of(dtype=dtype, **options)
        params = jax.tree.map(lambda leaf: (0.3 * leaf).astype(np.float32), random_layer(config, 4, mean))
        reached = np.asarray(spread(config)(params, x, np.float32(0.7)), np.float64).max(axis=(0, 2))
        bound = parameter_bounds(params, config, 0.7).score[0]
        assert (0.1 * bound < reached).all() and (reached <= bound + 1e-3).all()
    nothing_but_mean = jax.tree.map(lambda leaf: np.full_like(leaf, 10.0), params)
    reached = np.asarray(spread(config)(nothing_but_mean, x, np.float32(0.7)), np.float64).max(axis=(0, 2))
    assert (reached <= parameter_bounds(nothing_but_mean, config).score[0] + 1e-3).all()
    exactly = parameter_bounds(nothing_but_mean, config, arithmetic="float32").score[0]
    assert dtype == "float32" or (reached > exactly).all(), "there was no rounding to pay for"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("options", [{}, FULL], ids=["plain", "FiLM and biases"])
def test_turned_queries_and_keys_exceed_the_bound_of_unturned_ones_and_not_their_own(
    options: dict[str, Any], dtype: str
) -> None:
    """Key weights that point away from query weights: unturned they hardly meet, turned they do."""
    config = config_of(dtype=dtype, rotary_base=100.0, **options)
    params = jax.tree.map(lambda leaf: (0.3 * leaf).astype(np.float32), random_layer(config, 5))
    query, key = (params["layer_0"]["attention"][name] for name in ("query", "key"))
    key["kernel"][..., : K // 2] = query["kernel"][..., K // 2 :] = (
        0.0  # pairs (i, i + K/2): queries have the first halves, keys the second
    )
    if options:
        for name in ("query_dial", "key_dial"):
            params["layer_0"]["attention"][name]["kernel"] *= 0.0
        query["bias"][..., K // 2 :] = key["bias"][..., : K // 2] = 0.0
    x = 10 * np.random.default_rng(0).standard_normal((200, LENGTH, WIDTH)).astype(np.float32)
    reached = np.asarray(spread(config)(params, x, np.float32(0.7)), np.float64).max(axis=(0, 2))
    bound = parameter_bounds(params, config, 0.7).score[0]
    unturned = parameter_bounds(params, config_of(dtype=dtype, **options), 0.7).score[0]
    assert (reached <= bound).all() and (0.2 * bound < reached).all()
    assert (reached > unturned).all()


def test_rounding_costs_what_the_docs_say() -> None:
    params = random_layer(config_of(), 0)
    exact = parameter_bounds(params, config_of(), arithmetic="float32").score
    rough = parameter_bounds(params, config_of(), arithmetic="bfloat16").score
    assert (rough / exact > 1.02).all() and (rough / exact < 1.05).all()
    assert ROUNDING["float32"] == 2e-6
    assert (arithmetic_of(config_of()), arithmetic_of(config_of(dtype="bfloat16"))) == ("float32", "bfloat16")


def test_an_accelerator_rounds_float32_products_unless_told_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert arithmetic_of(config_of()) == "bfloat16"
    with jax.default_matmul_precision("float32"):
        assert arithmetic_of(config_of()) == "float32"
        assert arithmetic_of(config_of(dtype="bfloat16")) == "bfloat16"


@pytest.mark.parametrize(("dtype", "more"), [("float32", 1e-5), ("bfloat16", 1e-2)])
def test_qk_normalised_scores_are_at_most_the_heads_scale(dtype: str, more: float) -> None:
    config = config_of(qk_norm=True, g_max=5.0, dtype=dtype)
    params = random_layer(config, 7)
    scales = np.asarray(head_scale(params["layer_0"]["attention"]["qk_scale"], 5.0), np.float64)
    bounds = qk_norm_bounds(params, config, 0.4)
    np.testing.assert_allclose(bounds.score[0], scales * (1 + more), rtol=1e-12)
    np.testing.assert_array_equal(bounds.score, bounds.largest)
    long = jnp.asarray(np.random.default_rng(8).standard_normal((200, 1, 1, K)) * 1e3, dtype)
    lengths = np.linalg.norm(np.asarray(unit_norm(long), np.float64), axis=-1)
    assert (lengths**2 <= 1 + more).all()


def test_weights_that_are_not_finite_are_refused() -> None:
    params = random_layer(config_of(), 0)
    params["layer_0"]["attention"]["key"]["kernel"][0, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"key weights is 'not finite'; it must be finite numbers\. Fix"):
        parameter_bounds(params, config_of())

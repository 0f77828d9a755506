"""One attention layer whose bounds are attained, and the search for inputs that break what a certificate says
of it.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from aila_jax.config import MarginConfig, ModelConfig
from aila_jax.model.interface import Request
from aila_jax.model.layers import Norm
from aila_jax.model.margin import head_shares, imposed_share
from aila_jax.model.rotary import Rotation
from aila_jax.model.transformer import Attention, Setting
from aila_jax.partition.relations import Relation

LENGTH, WIDTH, HEADS = 4, 8, 2
BLOCK_IDS = np.array([[0, 0, 1, 1]], np.int32)
N_IN, N_OUT = np.array([1, 2, 1, 2]), np.array([0, 0, 2, 2])
STEPS, RATE = 40, 0.3


def config_of(**options: Any) -> ModelConfig:
    """One layer of two heads, by default with a fixed margin of 8."""
    margin = options.pop("margin", MarginConfig(nats=8.0))
    return ModelConfig(
        length=LENGTH, d_model=WIDTH, n_heads=HEADS, d_ff=8, n_layers=1, margin=margin, **options
    )


@cache
def tight_layer(config: ModelConfig, lam: float, strength: float = 0.8) -> dict[str, Any]:
    """Parameters `layer_0` of which head 0 attains its bound S at λ, and head 1 is random.

    Head 0 reads one direction w of the LayerNorm's output, after FiLM has scaled it, for queries and, with
    the opposite sign, for keys: s_tj = −σ²(w·x_t + β)(w·x_j) + a part that is constant in j. With x_t = √D·w
    and x_j = −√D·w it is −S at j = t and S at the others.
    """
    draw = np.random.default_rng(3)
    w = draw.standard_normal(WIDTH)
    w = (w - w.mean()) / np.linalg.norm(w - w.mean())
    a, c = (0.5 * draw.standard_normal(WIDTH) * config.film for _ in range(2))
    kernels = 0.25 * draw.standard_normal((3, WIDTH, HEADS, WIDTH // HEADS))
    kernels[:2, :, 0] = 0.0
    at = (
        1 if config.rotary_base else 0
    )  # with a huge base the first pair of coordinates turns, and the second hardly does
    kernels[0, :, 0, at], kernels[1, :, 0, at] = strength * w / (1 + lam * a), -strength * w / (1 + lam * a)
    names = ("query", "key", "value")
    attention: dict[str, Any] = {
        name: {"kernel": kernel} for name, kernel in zip(names, kernels, strict=True)
    }
    if config.dial_weights != "none":
        turned = 0.3 * draw.standard_normal((2, WIDTH, HEADS, WIDTH // HEADS))
        for name, kernel in zip(("query", "key"), turned, strict=True):
            attention[f"{name}_dial"] = {"kernel": kernel}
            attention[name]["kernel"] = (
                attention[name]["kernel"] - lam * kernel
            )  # at this λ the sum is what it was
    if config.qkv_bias:
        for name in names:
            attention[name]["bias"] = (
                0.3 * draw.standard_normal((HEADS, WIDTH // HEADS)) * (np.arange(4) == 0)
            )
        # The sign that adds to the constant part of the query, which FiLM's shift makes too.
        constant = lam * c @ kernels[0, :, 0, 0]
        attention["query"]["bias"][0, 0] = np.copysign(0.3, constant if constant else 1.0)
    if config.qk_norm:
        attention["qk_scale"] = np.array([0.5, -0.5])
    attention["out"] = {
        "kernel": draw.standard_normal((HEADS, WIDTH // HEADS, WIDTH)),
        "bias": np.zeros(WIDTH),
    }
    layer = {"attention": attention, "attention_norm": {"film_scale": a, "film_shift": c}}
    return {"layer_0": jax.tree.map(np.float32, layer)}


def out_mass(config: ModelConfig, params: dict[str, Any], x_LxD: Any, lam: Any, tau: Any) -> Any:
    """Attention outside the block [H, L] of one layer that reads the residual stream x: the model's own
    LayerNorm and attention.
    """
    layer = params["layer_0"]
    norm = Norm(affine=False, film=config.film)
    y = norm.apply({"params": layer["attention_norm"]} if config.film else {}, x_LxD[None], lam)
    share = imposed_share(config, 0, lam, 1.0)
    rotation = (
        Rotation.of(jnp.arange(LENGTH)[None], WIDTH // HEADS, config.rotary_base)
        if config.rotary_base
        else None
    )
    _, stats = Attention(config).apply(
        {"params": layer["attention"]},
        y.astype(config.dtype),
        share,
        Setting(Relation(BLOCK_IDS), lam, tau, Request(weights=True), rotation),
    )
    return jnp.sum(stats.weights[0], axis=-1, where=BLOCK_IDS.T[None] != BLOCK_IDS[None])


@cache
def ascent(config: ModelConfig) -> Callable[..., Any]:
    """Compiled gradient ascent on the layer's input from many starts: the largest out-of-block mass met on
    the way [H, L].

    Each start goes for one query of one head; what any query of any head reaches on its way counts.
    """
    assert float(head_shares(config, 1.0).min()) == 1.0
    optimizer = optax.adam(RATE)

    def climb(params, key, lam, tau):
        start, goal = jax.random.split(key)
        x = jax.random.normal(start, (LENGTH, WIDTH))
        wanted = jax.nn.one_hot(jax.random.randint(goal, (), 0, 2 * HEADS), 2 * HEADS).reshape(HEADS, 2)

        def worth(x):
            mass = out_mass(config, params, x, lam, tau)
            inside = jnp.log1p(-jnp.minimum(mass[:, 2:], 1 - 1e-6))
            return jnp.sum(wanted * (jnp.log(mass[:, 2:] + 1e-30) - inside)), mass

        def step(carry, _):
            x, state, most = carry
            gradient, mass = jax.grad(worth, has_aux=True)(x)
            updates, state = optimizer.update(-gradient, state)
            return (optax.apply_updates(x, updates), state, jnp.maximum(most, mass)), None

        (x, _, most), _ = jax.lax.scan(step, (x, optimizer.init(x), jnp.zeros((HEADS, LENGTH))), length=STEPS)
        return jnp.maximum(most, out_mass(config, params, x, lam, tau))

    def all_starts(params, keys, lam, tau):
        return jnp.max(jax.vmap(climb, in_axes=(None, 0, None, None))(params, keys, lam, tau), axis=0)

    return jax.jit(all_starts)


def attack(
    config: ModelConfig, params: dict[str, Any], lam: float, tau: float, restarts: int, seed: int = 0
) -> np.ndarray:
    """The largest out-of-block mass [H, L] that `restarts` ascents met, 1,000 at a time."""
    keys = jax.random.split(jax.random.key(seed), restarts)
    chunk = min(restarts, 1000)
    found = [
        ascent(config)(params, keys[at : at + chunk], np.float32(lam), np.float32(tau))
        for at in range(0, restarts, chunk)
    ]
    return np.max(np.asarray(found, np.float64), axis=0)

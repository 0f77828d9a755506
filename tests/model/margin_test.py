"""Shares of the margin by layer and head: what is exact at the ends of the dial, the order of staggered
heads, float32 against float64.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aila_jax.config import MarginConfig, ModelConfig
from aila_jax.guarantees.gaps import STAGGER_ROUNDING
from aila_jax.model.margin import head_ranks, head_shares, imposed_share

STAGGERS = st.sampled_from((0.1, 1 / 3, 0.7, 0.75, 0.9))  # few, since each is compiled
LAMS = st.floats(0.0, 1.0, width=32)


def shaped(layers: int = 3, heads: int = 4, beta: float = 0.0, **margin: float) -> ModelConfig:
    return ModelConfig(
        n_layers=layers, n_heads=heads, d_model=8 * heads, layer_beta=beta, margin=MarginConfig(**margin)
    )


@partial(jax.jit, static_argnames=("config",))
def in_float32(config: ModelConfig, lam: jax.Array) -> jax.Array:
    """All layers' shares at λ, as the forward pass has them."""
    scales = (np.arange(1, config.n_layers + 1, dtype=np.float32) / config.n_layers) ** config.layer_beta
    shares = [
        jnp.reshape(imposed_share(config, layer, lam, scale), (-1,)) for layer, scale in enumerate(scales)
    ]
    return jnp.stack([jnp.broadcast_to(share, (config.n_heads,)) for share in shares])


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (1, 4), (2, 4), (3, 8), (5, 3)])
def test_every_head_has_a_rank_of_its_own_and_layers_keep_theirs_alike(layers: int, heads: int) -> None:
    ranks = head_ranks(shaped(layers, heads))
    step = 1.0 / max(layers * heads - 1, 1)
    np.testing.assert_allclose(np.sort(ranks.ravel()), np.arange(layers * heads) * step, atol=1e-12)
    assert (np.diff(ranks, axis=1) > 0).all()  # in each layer heads turn in order
    if heads % 2 == 0:
        np.testing.assert_allclose(ranks.mean(axis=1), 0.5)  # no layer is ahead of another


@pytest.mark.parametrize("stagger", [0.1, 1 / 3, 0.7, 0.75, 0.9])
@pytest.mark.parametrize(("power", "beta"), [(1.0, 0.0), (0.5, 2.0)])
def test_the_ends_of_the_dial_are_exact(stagger: float, power: float, beta: float) -> None:
    """0 at λ = 0, and at λ = 1 what the layer has without stagger, to the bit."""
    config = shaped(beta=beta, stagger=stagger, power=power)
    assert (np.asarray(in_float32(config, jnp.float32(0.0))) == 0.0).all()
    plain = in_float32(shaped(beta=beta, power=power), jnp.float32(1.0))
    np.testing.assert_array_equal(in_float32(config, jnp.float32(1.0)), plain)
    np.testing.assert_allclose(head_shares(config, 1.0), plain, rtol=1e-6)


@given(stagger=st.floats(0.0, 0.9), lams=st.tuples(LAMS, LAMS))
def test_shares_never_fall_as_the_dial_rises_and_earlier_heads_are_ahead(
    stagger: float, lams: tuple[float, float]
) -> None:
    config = shaped(stagger=stagger)
    low, high = (head_shares(config, lam) for lam in sorted(lams))
    assert (low >= 0.0).all()
    assert (low <= high).all()
    assert (high <= 1.0).all()
    assert (np.diff(high[:, np.argsort(head_ranks(config)[0])], axis=1) <= 0).all()
    np.testing.assert_allclose(
        low.mean() + head_shares(config, 1.0 - min(lams)).mean(), 1.0, atol=1e-9
    )  # the dial is even


def test_a_staggered_head_turns_where_its_rank_says() -> None:
    """σ = .75, 2 × 2 heads of ranks 0, 1/3, 2/3, 1: they begin at λ = 0, .25, .5, .75, and end a quarter
    later.
    """
    config = shaped(2, 2, stagger=0.75)
    np.testing.assert_allclose(head_ranks(config), np.array([[0, 3], [1, 2]]) / 3)
    for lam, want in (
        (0.25, [[1, 0], [0, 0]]),
        (0.3, [[1, 0], [0.2, 0]]),
        (0.6, [[1, 0], [1, 0.4]]),
        (0.9, [[1, 0.6], [1, 1]]),
    ):
        np.testing.assert_allclose(head_shares(config, lam), want, atol=1e-12)
        np.testing.assert_allclose(in_float32(config, jnp.float32(lam)), want, atol=1e-6)


def test_without_stagger_all_heads_have_the_curve_of_their_layer() -> None:
    config = shaped(beta=1.0, power=2.0, linear=0.25)
    lam = np.float32([0.3, 0.9])
    for layer in range(3):
        share = imposed_share(config, layer, jnp.asarray(lam), (layer + 1) / 3)
        own = 0.9 * (layer + 1) / 3
        assert share.shape == lam.shape
        np.testing.assert_allclose(head_shares(config, 0.9)[layer], 0.25 * own + 0.75 * own**2, rtol=1e-6)
        np.testing.assert_allclose(share[1], 0.25 * own + 0.75 * own**2, rtol=1e-6)
    staggered = imposed_share(shaped(stagger=0.5), 1, jnp.asarray(lam), 1.0)
    assert staggered.shape == (2, 4)
    np.testing.assert_allclose(
        staggered, [head_shares(shaped(stagger=0.5), float(x))[1] for x in lam], atol=1e-6
    )


@given(stagger=STAGGERS, lam=LAMS, power=st.sampled_from([0.25, 1.0]))
def test_what_a_certificate_takes_off_a_heads_lambda_covers_its_rounding(
    stagger: float, lam: float, power: float
) -> None:
    config = shaped(stagger=stagger, power=power)
    least = head_shares(config, lam, less=STAGGER_ROUNDING / (1.0 - stagger))
    found = np.asarray(in_float32(config, jnp.float32(lam)), np.float64)
    assert (
        found >= least * (1 - 4e-7)
    ).all()  # power and product round once more, which a certificate allows for elsewhere
    assert (least <= head_shares(config, lam)).all()

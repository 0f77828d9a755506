"""In-block entropy and attention on pointers: against float64 loops, the entropy identity, by hand, and
without effect on the output.
"""

from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aila_jax.metrics.pointers import anchor_pointers, answer_pointers
from aila_jax.model.attention import locality_attention
from tests.oracles.anchors import anchors
from tests.oracles.attention import attend, in_block, may_attend
from tests.oracles.bounds import binary_entropy
from tests.oracles.cases import DOCS, IDS, exposing, qkv

LENGTH, HEADS = 11, 2


@partial(jax.jit, static_argnames=("causal", "hard"))
def measured(q, k, v, lam, tau, pointers, causal=True, hard=False):
    return locality_attention(
        q,
        k,
        v,
        IDS,
        lam=lam,
        tau=tau,
        margin=3.0,
        causal=causal,
        doc_ids=DOCS,
        hard=hard,
        stats=True,
        in_block=True,
        log_mass=True,
        pointers=pointers,
    )


def pointed_oracle(
    weights: np.ndarray, pointers: np.ndarray, causal: bool, hard: bool
) -> tuple[np.ndarray, ...]:
    """(mass, mass_in) [B, H, L] and (n, n_in) [B, L] as loops."""
    mass, mass_in = np.zeros(weights.shape[:3]), np.zeros(weights.shape[:3])
    n, n_in = np.zeros(IDS.shape, int), np.zeros(IDS.shape, int)
    for b, t, j in np.ndindex(len(IDS), LENGTH, LENGTH):
        inside = in_block(IDS[b, t], IDS[b, j])
        if (
            j == t
            or not pointers[b, t, j]
            or not may_attend(IDS[b], t, j, causal, DOCS[b])
            or (hard and not inside)
        ):
            continue
        mass[b, :, t] += weights[b, :, t, j]
        mass_in[b, :, t] += weights[b, :, t, j] * inside
        n[b, t] += 1
        n_in[b, t] += inside
    return mass, mass_in, n, n_in


@pytest.mark.parametrize(("causal", "hard"), [(True, False), (False, False), (True, True)])
def test_statistics_equal_float64_loops(causal: bool, hard: bool) -> None:
    q, k, v = qkv(1)
    lam, tau = (1.0, 0.8) if hard else (0.4, 0.8)
    pointers = np.random.default_rng(2).random((3, LENGTH, LENGTH)) < 0.4
    _, stats = measured(q, k, v, lam, tau, pointers, causal, hard)
    wide = attend(q, k, v, IDS, lam=lam, tau=tau, margin=3.0, causal=causal, doc_ids=DOCS, hard=hard)
    mass, mass_in, n, n_in = pointed_oracle(wide.weights, pointers, causal, hard)
    np.testing.assert_allclose(stats.pointed.mass, mass, atol=2e-6)
    np.testing.assert_allclose(stats.pointed.mass_in, mass_in, atol=2e-6)
    np.testing.assert_array_equal(stats.pointed.n, n)
    np.testing.assert_array_equal(stats.pointed.n_in, n_in)
    assert 0 < n_in.sum() <= n.sum()
    entropy = np.zeros(mass.shape)
    outside = np.zeros(mass.shape)
    for b, h, t in np.ndindex(entropy.shape):
        for inner, into in ((True, entropy), (False, outside)):
            side = [
                wide.weights[b, h, t, j] for j in range(LENGTH) if in_block(IDS[b, t], IDS[b, j]) == inner
            ]
            side = [w / sum(side) for w in side if w > 0]
            into[b, h, t] = -sum(w * np.log2(w) for w in side)
    np.testing.assert_allclose(stats.in_block_entropy_bits, entropy, atol=2e-5)
    assert (np.asarray(stats.in_block_entropy_bits) <= np.log2(stats.n_in)[:, None] + 1e-5).all()
    np.testing.assert_allclose(stats.log_block_mass, np.log(wide.block_mass), atol=3e-6)
    # H = h_b(w) + w · H_in + (1 − w) · H_out, with the package's H, w and H_in.
    w = np.minimum(np.asarray(stats.block_mass, np.float64), 1.0)
    whole = np.vectorize(binary_entropy)(w) + w * stats.in_block_entropy_bits + (1 - w) * outside
    np.testing.assert_allclose(stats.entropy_bits, whole, atol=3e-5)


def test_measuring_changes_no_output_and_nothing_is_measured_unasked() -> None:
    q, k, v = qkv(3)
    pointers = np.ones((3, LENGTH, LENGTH), bool)
    plain = jax.jit(
        lambda q, k, v: locality_attention(
            q, k, v, IDS, lam=0.3, tau=1.0, margin=3.0, doc_ids=DOCS, stats=True
        )
    )
    out, stats = plain(q, k, v)
    more, measured_too = measured(q, k, v, 0.3, 1.0, pointers)
    np.testing.assert_array_equal(out, more)
    np.testing.assert_array_equal(stats.entropy_bits, measured_too.entropy_bits)
    assert stats.pointed is None
    assert stats.in_block_entropy_bits is None
    assert stats.log_block_mass is None


def test_fidelity_by_hand() -> None:
    """Weights 1/8, 1/8, 1/4, 1/2 of the last query of one block of four, anchors at 0 and 2: fidelity 3/8,
    H_in = 1.75 bits.
    """
    scores = np.zeros((1, 4, 4), np.float32)
    scores[0, 3] = np.log([1, 1, 2, 4])
    ids = np.zeros((1, 4), np.int32)
    chosen = np.array([[True, False, True, False]])
    pointers = anchor_pointers(chosen, ids)
    _, stats = locality_attention(
        *exposing(scores),
        ids,
        lam=1.0,
        tau=1.0,
        margin=8.0,
        scale=1.0,
        stats=True,
        in_block=True,
        pointers=pointers,
    )
    np.testing.assert_allclose(stats.pointed.mass[0, 0], [0, 1 / 2, 1 / 3, 3 / 8], rtol=1e-6)
    np.testing.assert_array_equal(stats.pointed.n, [[0, 1, 1, 2]])
    np.testing.assert_allclose(stats.in_block_entropy_bits[0, 0], [0, 1, np.log2(3), 1.75], atol=1e-6)


def test_entropy_and_logarithm_of_mass_where_the_block_has_none_left() -> None:
    """Out-of-block scores 200 nats higher leave in-block weights of 0 in float32, of which the entropy is
    still 1 bit and ln of the mass −200.
    """
    scores = np.zeros((1, 4, 4), np.float32)
    scores[0, 3, :2] = 200.0
    ids = np.array([[0, 0, 1, 1]], np.int32)
    _, stats = locality_attention(
        *exposing(scores),
        ids,
        lam=0.0,
        tau=1.0,
        margin=8.0,
        scale=1.0,
        stats=True,
        in_block=True,
        log_mass=True,
    )
    assert float(stats.block_mass[0, 0, 3]) == 0
    np.testing.assert_allclose(stats.in_block_entropy_bits[0, 0], [0, 1, 0, 1], atol=1e-6)
    np.testing.assert_allclose(stats.log_block_mass[0, 0], [0, 0, np.log(1 / 3), -200], atol=2e-5)


def test_a_query_without_a_key_in_its_block_has_no_entropy_there() -> None:
    q, k, v = qkv(4, (1, 3, 1, 4))
    ids = np.zeros((1, 3), np.int32)
    _, stats = locality_attention(
        q,
        k,
        v,
        ids,
        lam=1.0,
        tau=1.0,
        margin=3.0,
        key_block_ids=ids + 1,
        stats=True,
        in_block=True,
        log_mass=True,
        pointers=np.ones((1, 3, 3), bool),
    )
    np.testing.assert_array_equal(stats.in_block_entropy_bits, np.zeros((1, 1, 3)))
    np.testing.assert_array_equal(stats.log_block_mass, np.zeros((1, 1, 3)))
    np.testing.assert_array_equal(stats.pointed.n_in, [[0, 0, 0]])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_pointer_masks(seed: int) -> None:
    """Anchors of the query's own block; global and padding queries have none; −1 points nowhere."""
    rng = np.random.default_rng(seed)
    chosen = anchors(rng.integers(0, 5, IDS.shape), IDS, rng.random(5), 2)
    found = np.asarray(anchor_pointers(chosen, IDS).whole())
    for b, t, j in np.ndindex(found.shape):
        assert found[b, t, j] == (IDS[b, t] == IDS[b, j] and IDS[b, t] >= 0 and chosen[b, j])
    positions = rng.integers(-1, LENGTH, IDS.shape).astype(np.int32)
    known = np.asarray(answer_pointers(positions).whole())
    assert [np.nonzero(row)[0].tolist() for row in known[0]] == [
        [p] if p >= 0 else [] for p in positions[0].tolist()
    ]

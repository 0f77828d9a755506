"""locality_attention and its statistics against float64 loops."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax.model.attention import locality_attention
from aila_jax.model.margin import SelfScaling
from aila_jax.model.stats import StatsRequest
from aila_jax.partition.relations import Relation
from tests.oracles import attention as oracle
from tests.oracles.cases import DOCS, IDS, exposing, qkv

STATIC = (
    *("margin", "score_cap", "causal", "hard", "request", "weights"),
    *("stats", "delta", "in_block", "log_mass", "largest"),
)
ATTEND = jax.jit(locality_attention, static_argnames=STATIC)
LAM = np.array([0.3, 1.0, 0.0], np.float32)
TAU = np.array([0.5, 1.0, 2.0], np.float32)
KEY_IDS = np.where(IDS == -1, -1, (IDS + np.arange(11)) % 4).astype(np.int32)
SCALE = np.array([0.3, -1.2], np.float32)
EXACT, NORMS = SelfScaling(1.0, 8.0), SelfScaling(0.5, 3.0, exact=False)
BENT = SelfScaling(1.0, 4.0, bend=3.0)

CASES = {
    "causal": {"lam": 0.6, "tau": 0.7, "margin": 8.0},
    "bidirectional": {"lam": 0.6, "tau": 0.7, "margin": 8.0, "causal": False},
    "per example": {"lam": LAM, "tau": TAU, "margin": 8.0},
    "per example and head": {"lam": np.outer(LAM, [1.0, 0.4]).astype(np.float32), "tau": TAU, "margin": 8.0},
    "exact, by head": {"lam": np.float32([[0.9, 0.2]]), "tau": 0.7, "margin": BENT},
    "document mask": {"lam": 0.5, "tau": TAU, "margin": 2.5, "doc_ids": DOCS},
    "document mask, bidirectional": {"lam": LAM, "tau": 1.3, "margin": 2.5, "doc_ids": DOCS, "causal": False},
    "key ids": {"lam": 0.5, "tau": 1.0, "margin": 4.0, "key_block_ids": KEY_IDS},
    "hard, key ids": {"lam": 1.0, "tau": TAU, "margin": 8.0, "key_block_ids": KEY_IDS, "hard": True},
    "head scale": {"lam": 0.5, "tau": 1.0, "margin": 4.0, "scale": SCALE},
    "exact": {"lam": LAM, "tau": TAU, "margin": EXACT},
    "exact, document mask, bidirectional": {
        "lam": 0.8,
        "tau": 1.0,
        "margin": EXACT,
        "doc_ids": DOCS,
        "causal": False,
    },
    "exact, head scale": {"lam": 0.8, "tau": 1.0, "margin": EXACT, "scale": SCALE},
    "capped": {"lam": LAM, "tau": TAU, "margin": 4.0, "score_cap": 1.5},
    "exact, capped": {"lam": LAM, "tau": TAU, "margin": EXACT, "score_cap": 1.5, "doc_ids": DOCS},
    "exact, bent": {"lam": LAM, "tau": TAU, "margin": BENT},
    "norms": {"lam": LAM, "tau": TAU, "margin": NORMS},
    "norms, document mask, bidirectional": {
        "lam": 0.8,
        "tau": 1.0,
        "margin": NORMS,
        "doc_ids": DOCS,
        "causal": False,
    },
    "norms, head scale": {"lam": 0.8, "tau": 1.0, "margin": NORMS, "scale": SCALE},
    "hard": {"lam": 1.0, "tau": TAU, "margin": 8.0, "hard": True},
    "hard, document mask, bidirectional": {
        "lam": 1.0,
        "tau": 0.5,
        "margin": EXACT,
        "doc_ids": DOCS,
        "causal": False,
        "hard": True,
    },
}


def expected(q, k, v, ids, arguments) -> oracle.Attended:
    """The oracle's answer to the same call."""
    arguments = dict(arguments)
    arguments["key_ids"] = arguments.pop("key_block_ids", None)
    margin = arguments["margin"]
    if isinstance(margin, SelfScaling):
        shared = {
            name: arguments[name]
            for name in ("causal", "doc_ids", "key_ids", "scale", "score_cap")
            if arguments.get(name) is not None
        }
        # λ^b · c · r + λ · m0 is λ times what the oracle makes of c · λ^(b − 1).
        lam = np.asarray(arguments["lam"], np.float64)
        c = margin.c * lam.reshape(lam.shape if lam.ndim == 2 else (-1, 1))[..., None] ** (margin.bend - 1.0)
        arguments["margin"] = oracle.self_scaling(q, k, ids, c=c, m0=margin.m0, exact=margin.exact, **shared)
    return oracle.attend(q, k, v, ids, **arguments)


def assert_agrees(found, want: oracle.Attended, tolerance: float = 2e-5) -> None:
    """Output and every statistic; counts exactly."""
    out, stats = found
    np.testing.assert_allclose(out, want.out, atol=tolerance, rtol=tolerance)
    for name in ("entropy_bits", "block_mass", "local_mass", "delta"):
        np.testing.assert_allclose(
            getattr(stats, name), getattr(want, name), atol=3 * tolerance, rtol=tolerance, err_msg=name
        )
    for name in ("n_keys", "n_in", "n_local"):
        np.testing.assert_array_equal(getattr(stats, name), getattr(want, name), err_msg=name)
    if stats.weights is not None:
        assert stats.weights.dtype == jnp.float32
        np.testing.assert_allclose(stats.weights, want.weights, atol=tolerance, rtol=tolerance)
        np.testing.assert_array_equal(np.asarray(stats.weights)[want.weights == 0], 0.0)


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_float64_loops(name: str) -> None:
    q, k, v = qkv(seed=len(name))
    found = ATTEND(q, k, v, IDS, **CASES[name], stats=True, delta=True, weights=True)
    assert_agrees(found, expected(q, k, v, IDS, CASES[name]))


def test_eager_agrees_too() -> None:
    q, k, v = qkv(seed=1)
    name = "norms, document mask, bidirectional"
    found = locality_attention(*map(jnp.asarray, (q, k, v)), IDS, **CASES[name], stats=True, delta=True)
    assert_agrees(found, expected(q, k, v, IDS, CASES[name]), tolerance=1e-4)


@pytest.mark.parametrize(("lam", "third", "fourth"), [(0.0, -1.0, -5.0), (0.5, 0.0, -4.0), (1.0, 1.0, -3.0)])
def test_score_gaps_worked_out_by_hand(lam: float, third: float, fourth: float) -> None:
    """Blocks {0, 1} and {2, 3}. Query 2 has the score 2 inside, 3 and −1 outside; query 3 has 4 and 1 inside,
    6 and −2 outside. The margin is 2.
    """
    q, k = np.float32([1, 1, 1, 2]), np.float32([3, -1, 2, 0.5])
    ids = np.int32([[0, 0, 1, 1]])
    found = ATTEND(
        *(x.reshape(1, 4, 1, 1) for x in (q, k, k)), ids, lam=lam, tau=0.5, margin=2.0, stats=True, delta=True
    )
    np.testing.assert_allclose(
        found[1].delta.ravel(), [0.0, 0.0, third, fourth], atol=1e-6
    )  # nothing outside for the first block


def test_vmapped_over_dial_values() -> None:
    q, k, v = qkv(seed=2)
    call = partial(locality_attention, margin=EXACT, stats=True, delta=True)
    lams, taus = np.array([0.0, 0.7], np.float32), np.array([0.5, 2.0], np.float32)
    found = jax.jit(jax.vmap(lambda lam, tau: call(q, k, v, IDS, lam=lam, tau=tau)))(lams, taus)
    for i in range(2):
        want = expected(q, k, v, IDS, {"lam": lams[i], "tau": taus[i], "margin": EXACT})
        assert_agrees(jax.tree.map(lambda x, i=i: x[i], found), want)


def test_large_logits_keep_their_precision() -> None:
    q, k, v = qkv(seed=3, size=9.0)  # scores up to ±300 nats: float32 rounding of z alone is 3e-5
    found = ATTEND(q, k, v, IDS, lam=0.4, tau=0.5, margin=200.0, stats=True, delta=True)
    assert_agrees(found, expected(q, k, v, IDS, {"lam": 0.4, "tau": 0.5, "margin": 200.0}), tolerance=3e-4)


def test_bfloat16_inputs_differ_from_float64_by_their_rounding_only() -> None:
    """Scores, softmax and statistics stay float32, so statistics of the rounded inputs are exact to 1e-4, the
    output to bf16's 2⁻⁸.
    """
    q, k, v = (np.asarray(jnp.asarray(x, jnp.bfloat16)) for x in qkv(seed=4, size=4.0))
    out, stats = ATTEND(q, k, v, IDS, lam=0.6, tau=0.7, margin=8.0, stats=True, delta=True)
    assert out.dtype == jnp.bfloat16
    # XLA may widen a bf16 product by itself, so that values alone would not show a missing request for
    # float32.
    traced = str(jax.make_jaxpr(partial(locality_attention, lam=0.6, tau=0.7, margin=8.0))(q, k, v, IDS))
    assert re.findall(r":(\w+)\[[^\]]*\] = dot_general", traced) == ["f32", "bf16"]
    assert stats.entropy_bits.dtype == stats.block_mass.dtype == stats.delta.dtype == jnp.float32
    want = oracle.attend(*(x.astype(np.float64) for x in (q, k, v)), IDS, lam=0.6, tau=0.7, margin=8.0)
    np.testing.assert_allclose(stats.entropy_bits, want.entropy_bits, atol=1e-4)
    np.testing.assert_allclose(stats.block_mass, want.block_mass, atol=1e-4)
    np.testing.assert_allclose(stats.delta, want.delta, atol=1e-4)
    np.testing.assert_allclose(
        np.asarray(out, np.float64), want.out, atol=3 * 2.0**-8 * np.abs(want.out).max()
    )


def test_padding_attends_to_itself_only() -> None:
    q, k, v = qkv(seed=5)
    out, stats = ATTEND(q, k, v, IDS, lam=0.6, tau=0.7, margin=8.0, causal=False, stats=True)
    padded = IDS == -1
    assert padded.sum() == 2
    np.testing.assert_array_equal(np.asarray(out)[padded], v[padded])
    np.testing.assert_array_equal(np.asarray(stats.n_keys)[padded], 1)
    np.testing.assert_allclose(np.asarray(stats.entropy_bits).transpose(0, 2, 1)[padded], 0.0, atol=1e-6)
    changed = np.where(padded[..., None, None], v + 100, v)
    again, _ = ATTEND(
        q,
        np.where(padded[..., None, None], 9.0, k),
        changed,
        IDS,
        lam=0.6,
        tau=0.7,
        margin=8.0,
        causal=False,
        stats=True,
    )
    np.testing.assert_array_equal(np.asarray(again)[~padded], np.asarray(out)[~padded])


def test_a_key_marked_as_padding_is_attended_by_itself_only() -> None:
    q, k, v = qkv(seed=6)
    key_ids = IDS.copy()
    key_ids[0, 2] = -1
    arguments = {"lam": 0.5, "tau": 1.0, "margin": 4.0, "key_block_ids": key_ids, "causal": False}
    out, _ = ATTEND(q, k, v, IDS, **arguments)
    np.testing.assert_allclose(out, expected(q, k, v, IDS, arguments).out, atol=2e-5)


def test_statistics_are_none_unless_asked_for() -> None:
    q, k, v = qkv(seed=7)
    assert ATTEND(q, k, v, IDS, lam=0.6, tau=0.7, margin=8.0)[1] is None
    stats = ATTEND(q, k, v, IDS, lam=0.6, tau=0.7, margin=8.0, stats=True)[1]
    assert stats.delta is stats.weights is None


def reference(q, k, v, ids, tau, causal: bool):
    """Softmax attention without any locality, in the same order of operations."""
    scores = jnp.einsum("blhk,bmhk->bhlm", q, k) * (1 / np.sqrt(q.shape[-1])).astype(np.float32)
    real = ids != -1
    mask = (
        real[:, :, None] & real[:, None, :] & (jnp.tri(11, dtype=bool)[None] if causal else True)
        | jnp.eye(11, dtype=bool)[None]
    )
    weights = jax.nn.softmax(jnp.where(mask[:, None], scores / tau, -jnp.inf), axis=-1)
    return jnp.einsum("bhlm,bmhk->blhk", weights, v)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("margin", [8.0, EXACT, BENT, NORMS], ids=["fixed", "exact", "bent", "norms"])
def test_lambda_zero_is_softmax_attention_bit_for_bit(margin, causal: bool) -> None:
    for seed, tau in ((8, 1.0), (9, 0.37)):
        q, k, v = qkv(seed, size=3.0)
        want = jax.jit(reference, static_argnames="causal")(q, k, v, IDS, np.float32(tau), causal)
        found, _ = ATTEND(q, k, v, IDS, lam=np.float32(0), tau=np.float32(tau), margin=margin, causal=causal)
        np.testing.assert_array_equal(found, want)
        other_ids = np.where(IDS == -1, -1, np.random.default_rng(seed).integers(0, 5, IDS.shape)).astype(
            np.int32
        )
        elsewhere, _ = ATTEND(
            q, k, v, other_ids, lam=np.float32(0), tau=np.float32(tau), margin=margin, causal=causal
        )
        np.testing.assert_array_equal(elsewhere, want)
    moved, _ = ATTEND(
        q, k, v, other_ids, lam=np.float32(0.5), tau=np.float32(tau), margin=margin, causal=causal
    )
    assert np.abs(np.asarray(moved) - want).max() > 0.01


def test_the_papers_similarities() -> None:
    """Similarities .8, .3, .1 at τ = .5, by hand: e^1.6, e^.6, e^.2 = 4.9530, 1.8221, 1.2214; sum 7.9966;
    entropy 1.3283 bits.
    """
    scores = np.zeros((1, 3, 3), np.float32)
    scores[0, 2] = [0.8, 0.3, 0.1]
    out, stats = ATTEND(
        *exposing(scores),
        np.zeros((1, 3), np.int32),
        lam=0.0,
        tau=0.5,
        margin=8.0,
        scale=np.ones(1, np.float32),
        stats=True,
    )
    np.testing.assert_allclose(out[0, 2, 0], [0.619396, 0.227863, 0.152741], atol=1e-5)
    np.testing.assert_allclose(stats.entropy_bits[0, 0, 2], 1.328306, atol=1e-5)


def test_entropy_of_uniform_attention() -> None:
    """Two equal positions are 1 bit, 128 are 7; the causal mean is near log2 L − 1.44 + log2(2πL)/(2L) = 5.59
    bits.
    """
    zero = np.zeros((1, 128, 1, 1), np.float32)
    _, stats = ATTEND(
        zero, zero, zero, np.zeros((1, 128), np.int32), lam=0.0, tau=1.0, margin=8.0, stats=True
    )
    np.testing.assert_allclose(stats.entropy_bits[0, 0, [0, 1, 127]], [0.0, 1.0, 7.0], atol=1e-5)
    np.testing.assert_allclose(
        np.mean(stats.entropy_bits), 7 - 1 / np.log(2) + np.log2(2 * np.pi * 128) / 256, atol=2e-3
    )


@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
def test_a_query_without_a_key_in_its_block(hard: bool) -> None:
    """The dial leaves its weights as they are; hard attention gives it its own position; its δ is nothing
    that could be averaged.
    """
    q, k, v = qkv(seed=10)
    arguments = {"tau": 0.7, "margin": EXACT, "key_block_ids": KEY_IDS, "stats": True, "delta": True}
    out, stats = ATTEND(q, k, v, IDS, lam=1.0, hard=hard, **arguments)
    alone = np.asarray(stats.n_in) == 0
    assert 3 <= alone.sum() < alone.size
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((out, stats)))
    for name in ("block_mass", "local_mass", "delta"):
        np.testing.assert_array_equal(
            np.asarray(getattr(stats, name)).transpose(0, 2, 1)[alone], 0.0, err_msg=name
        )
    if hard:
        np.testing.assert_array_equal(np.asarray(stats.n_keys)[alone], 1)
        np.testing.assert_array_equal(np.asarray(out)[alone], v[alone])
    else:
        np.testing.assert_allclose(
            np.asarray(out)[alone], ATTEND(q, k, v, IDS, lam=0.0, **arguments)[0][alone], atol=2e-5
        )
    settings = {**arguments, "stats": False, "lam": 1.0, "hard": hard}
    gradient = jax.jit(jax.grad(lambda q: jnp.sum(locality_attention(q, k, v, IDS, **settings)[0] ** 2)))(q)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("value", [-0.1, float("inf"), float("nan"), 1.0001e4, 3e38])
def test_a_margin_outside_its_limits_is_refused(value: float) -> None:
    q, k, v = qkv(seed=0)
    message = f"is {re.escape(repr(value))}; it must be from 0 to 10000.*Fix"
    with pytest.raises(ValueError, match=f"margin {message}"):
        locality_attention(q, k, v, IDS, lam=0.5, tau=1.0, margin=value)
    with pytest.raises(ValueError, match=f"SelfScaling.c {message}"):
        SelfScaling(c=value)
    with pytest.raises(ValueError, match=f"SelfScaling.m0 {message}"):
        SelfScaling(m0=value)


@pytest.mark.parametrize("value", [0.5, -1.0, float("inf"), float("nan")])
def test_a_bend_outside_its_limits_is_refused(value: float) -> None:
    with pytest.raises(
        ValueError,
        match=f"SelfScaling.bend is {re.escape(repr(value))}; it must be finite and at least 1. Fix",
    ):
        SelfScaling(bend=value)


def test_the_largest_margin_still_tells_scores_a_thousandth_of_a_nat_apart() -> None:
    scores = np.zeros((1, 3, 3), np.float32)
    scores[0, 2] = [0.0, 0.001, 0.0]
    weights, _ = ATTEND(
        *exposing(scores),
        np.array([[1, 1, 0]], np.int32),
        lam=1.0,
        tau=1.0,
        margin=1e4,
        scale=np.ones(1, np.float32),
        causal=False,
    )
    both = ATTEND(
        *exposing(scores),
        np.array([[1, 1, 0]], np.int32),
        lam=1.0,
        tau=1e4,
        margin=1e4,
        scale=np.ones(1, np.float32),
    )[0]
    np.testing.assert_array_equal(weights[0, 2, 0], [0.0, 0.0, 1.0])
    assert 0 < both[0, 2, 0, 0] < both[0, 2, 0, 1]


@pytest.mark.parametrize("lam", [0.5, np.array([1.0, 0.0, 1.0], np.float32)], ids=["scalar", "per example"])
def test_hard_with_another_lambda_is_refused(lam) -> None:
    q, k, v = qkv(seed=0)
    with pytest.raises(ValueError, match=r"lam is .*0\.\D*.*must be 1.*Fix: lam=1, or hard=False"):
        locality_attention(q, k, v, IDS, lam=lam, tau=1.0, margin=8.0, hard=True)


def test_new_dial_values_do_not_retrace() -> None:
    traces = []

    @jax.jit
    def attend(q, k, v, lam, tau):
        traces.append(lam.shape)
        return locality_attention(q, k, v, IDS, lam=lam, tau=tau, margin=8.0, stats=True)

    q, k, v = qkv(seed=0)
    for lam, tau in ((0.0, 1.0), (0.6, 0.5), (1.0, 2.0)):
        attend(q, k, v, jnp.float32(lam), jnp.float32(tau))
    assert traces == [()]


def test_a_relation_and_a_request_say_what_the_loose_keywords_say() -> None:
    q, k, v = qkv(seed=2)
    dial = {"lam": 0.6, "tau": 0.7, "margin": EXACT, "weights": True}
    loose = {"doc_ids": DOCS, "key_block_ids": KEY_IDS, "causal": False}
    asked = {"delta": True, "in_block": True, "log_mass": True, "largest": True}
    old = ATTEND(q, k, v, IDS, **dial, **loose, stats=True, **asked)
    new = ATTEND(q, k, v, Relation(IDS, DOCS, KEY_IDS, False), **dial, request=StatsRequest(**asked))
    named = ATTEND(q, k, v, block_ids=IDS, **dial, **loose, request=StatsRequest(**asked))
    for other in (new, named):
        jax.tree.map(np.testing.assert_array_equal, other, old)
    assert None not in (
        old[1].delta,
        old[1].in_block_entropy_bits,
        old[1].log_block_mass,
        old[1].largest_score,
    )
    assert ATTEND(q, k, v, IDS, lam=0.6, tau=0.7, margin=8.0, delta=True)[1] is None


@pytest.mark.parametrize(
    ("relation", "given", "message"),
    [
        (None, {}, "relation is 'missing'; it must be given, once. Fix"),
        (IDS, {"block_ids": IDS}, "relation is 'given beside block_ids'; it must be given, once. Fix"),
        (Relation(IDS), {"causal": True}, "causal is 'given'; it must be left out beside a Relation"),
        (Relation(IDS), {"doc_ids": DOCS}, "doc_ids is 'given'; it must be left out beside a Relation"),
        (
            Relation(IDS),
            {"key_block_ids": KEY_IDS},
            "key_block_ids is 'given'; it must be left out beside a Relation",
        ),
        (IDS, {"request": StatsRequest(), "stats": True}, "request is .* left out beside stats"),
        (IDS, {"request": StatsRequest(), "delta": True}, "request is .* left out beside stats, delta"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_what_is_said_twice_or_not_at_all_is_refused(relation, given, message: str) -> None:
    q, k, v = qkv(seed=2)
    with pytest.raises(ValueError, match=message):
        locality_attention(q, k, v, relation, lam=0.6, tau=0.7, margin=8.0, **given)

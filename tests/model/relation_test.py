"""Attention under relations and the gate, against float64 loops and exact identities."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax.model.attention import locality_attention
from aila_jax.model.margin import SelfScaling
from aila_jax.model.stats import AttentionStats, StatsRequest
from aila_jax.partition.kinds import Given, Segments, Windows
from aila_jax.partition.pointers import Ends, LowestEntropy, RandomToken
from aila_jax.partition.relations import Relation
from aila_jax.partition.rules import Everything, Rules
from aila_jax.types import Batch
from tests.oracles import attention as plain
from tests.oracles.cases import DOCS, qkv
from tests.oracles.relations import attend

ROWS, LENGTH, HEADS, TYPES = 3, 11, 2, 5
TOKENS = np.random.default_rng(1).integers(0, TYPES, (ROWS, LENGTH)).astype(np.int32)
GIVEN = np.array(
    [
        [0, 0, 1, 1, 1, 2, 3, 3, 4, 4, 4],
        [-2, 4, 4, 5, 5, -2, 5, 7, 7, -1, -1],
        [0, 0, 0, 0, 0, 1, 2, 2, 2, 3, 3],
    ],
    np.int32,
)
CLOSES, ENTROPY = np.arange(TYPES) % 3 == 0, np.float32([1, 2, 1, 0, 3])
RULES = {
    "plain": (Windows(3), Rules()),
    "sink": (Windows(3), Rules(sink=True)),
    "shifted": (Windows(4), Rules(shift=2, layers=2)),
    "ends": (Windows(3), Rules(pointers=Ends())),
    "near ends, sink": (Segments(CLOSES), Rules(sink=True, pointers=Ends(1))),
    "anchors, shifted, sink": (
        Windows(4),
        Rules(sink=True, shift=1, pointers=LowestEntropy(ENTROPY, 2), layers=2),
    ),
    "random, given": (Given(), Rules(pointers=RandomToken(3, 2))),
    "ends, global first": (Windows(3, global_first=True), Rules(pointers=Ends())),
    "all above": (Windows(2), Rules(sink=True, partitions=(None, Everything()), layers=2)),
}
LAM = np.float32([0.4, 1.0, 0.0])
TAU = np.float32([0.5, 1.0, 2.0])
BY_HEAD = np.float32([[0.4, 1.0], [0.9, 0.0], [1.0, 1.0]])
MARGINS = {"fixed": 2.0, "exact": SelfScaling(1.0, 2.0), "bent": SelfScaling(0.5, 2.0, exact=False, bend=2.0)}
EVERY = StatsRequest(delta=True, in_block=True, log_mass=True, largest=True)
ATTEND = jax.jit(locality_attention, static_argnames=("margin", "request", "gate", "hard", "weights"))
MASSES = ("block_mass", "local_mass", "pointer_mass", "sink_mass")
COUNTS = ("n_keys", "n_in", "n_local", "n_pointers", "n_sinks")


@cache
def relation(name: str, documents: bool = False, layer: int = 1) -> Relation:
    """Of one layer, the second of those that have two."""
    partition, rules = RULES[name]
    batch = Batch.from_tokens(TOKENS, GIVEN, DOCS)
    if not documents:
        batch = batch.replace(positions=np.tile(np.arange(LENGTH, dtype=np.int32), (ROWS, 1)))
    return rules(batch, partition).of_layer(layer, batch.doc_ids if documents else None)


def masks(of: Relation) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(of.attendable())[:, 0], np.asarray(of.inside())[:, 0]


def margin_of(margin, q, k, reach: np.ndarray, lam: np.ndarray) -> np.ndarray:
    """m [B, H, L] in float64."""
    if not isinstance(margin, SelfScaling):
        return np.full((ROWS, HEADS, LENGTH), margin)
    s = plain.scores(q, k)
    if margin.exact:
        range_ = np.max(s, -1, where=reach[:, None], initial=-np.inf) - np.min(
            s, -1, where=reach[:, None], initial=np.inf
        )
    else:
        sizes = (np.linalg.norm(np.asarray(x, np.float64), axis=-1).transpose(0, 2, 1) for x in (q, k))
        queries, keys = sizes
        longest = np.max(np.where(reach[:, None], keys[:, :, None, :], 0.0), axis=-1)
        range_ = 2.02 * queries * longest / np.sqrt(q.shape[-1])
    return margin.c * lam[..., None] ** (margin.bend - 1.0) * range_ + margin.m0


def expected(of: Relation, q, k, *, lam, tau, margin, gate) -> dict[str, np.ndarray]:
    """Weights, entropy and masses in float64."""
    reach, inside = masks(of)
    heads = np.broadcast_to(np.asarray(lam, np.float64).reshape(ROWS, -1), (ROWS, HEADS))
    tau = np.broadcast_to(np.asarray(tau, np.float64), (ROWS,))
    m = margin_of(margin, q, k, reach, heads)
    alpha, entropy = attend(plain.scores(q, k), reach, inside, lam=heads, tau=tau, margin=m, gate=gate)
    found = {"weights": alpha, "entropy_bits": entropy, "n_keys": reach.sum(-1)}
    parts = {
        "block_mass": inside,
        "local_mass": of.own(),
        "pointer_mass": of.pointed(),
        "sink_mass": of.sunk(),
    }
    for (name, mask), count in zip(parts.items(), COUNTS[1:], strict=True):
        if mask is not None:
            mask = np.asarray(mask).reshape(ROWS, LENGTH, LENGTH) & reach
            found[name], found[count] = np.sum(alpha * mask[:, None], axis=-1), mask.sum(-1)
    return found


def assert_agrees(found: tuple, want: dict[str, np.ndarray], v: np.ndarray) -> None:
    out, stats = found
    np.testing.assert_allclose(out, np.einsum("bhtj,bjhk->bthk", want["weights"], v), atol=2e-5, rtol=2e-5)
    for name in ("pointer_mass", "sink_mass"):
        assert (getattr(stats, name) is None) == (name not in want)
    for name, values in want.items():
        if name in COUNTS:
            np.testing.assert_array_equal(getattr(stats, name), values, err_msg=name)
        else:
            np.testing.assert_allclose(getattr(stats, name), values, atol=6e-5, rtol=2e-5, err_msg=name)
    np.testing.assert_array_equal(np.asarray(stats.weights)[want["weights"] == 0], 0.0)


@pytest.mark.parametrize("documents", [False, True], ids=["", "documents"])
@pytest.mark.parametrize("name", RULES)
def test_gated_attention_agrees_with_float64_loops(name: str, documents: bool) -> None:
    q, k, v = qkv(seed=len(name))
    of = relation(name, documents)
    settings = {"lam": BY_HEAD if documents else LAM, "tau": TAU, "margin": MARGINS["fixed"], "gate": 1.0}
    found = ATTEND(q, k, v, of, **settings, request=EVERY, weights=True)
    assert_agrees(found, expected(of, q, k, **settings), v)


@pytest.mark.parametrize("gate", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("margin", MARGINS)
def test_every_margin_and_gate_agrees_with_float64_loops(margin: str, gate: float) -> None:
    q, k, v = qkv(seed=5)
    of = relation("near ends, sink")
    settings = {"lam": BY_HEAD, "tau": 0.7, "margin": MARGINS[margin], "gate": gate}
    found = ATTEND(q, k, v, of, **settings, request=EVERY, weights=True)
    assert_agrees(found, expected(of, q, k, **settings), v)


def test_eager_and_vmapped_agree_with_jit() -> None:
    q, k, v = qkv(seed=6)
    of = relation("anchors, shifted, sink")
    call = partial(locality_attention, q, k, v, of, margin=3.0, gate=1.0, request=EVERY)
    lams, taus = np.float32([0.0, 0.7, 1.0]), np.float32([0.5, 2.0, 1.0])
    mapped = jax.jit(jax.vmap(lambda lam, tau: call(lam=lam, tau=tau)))(lams, taus)
    for i in range(3):
        one = ATTEND(q, k, v, of, lam=lams[i], tau=taus[i], margin=3.0, gate=1.0, request=EVERY)
        eager = call(lam=jnp.float32(lams[i]), tau=jnp.float32(taus[i]))
        for other in (jax.tree.map(lambda x, i=i: x[i], mapped), eager):
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=2e-5), one, other)


@pytest.mark.parametrize("name", [name for name in RULES if name != "ends, global first"])
def test_own_pointers_and_sink_are_all_that_is_inside(name: str) -> None:
    """For queries that are not global; where no key is."""
    q, k, v = qkv(seed=7)
    stats = ATTEND(q, k, v, relation(name), lam=LAM, tau=TAU, margin=2.0, gate=1.0, request=EVERY)[1]
    parts = [getattr(stats, kind) for kind in MASSES[1:] if getattr(stats, kind) is not None]
    counts = [getattr(stats, kind) for kind in COUNTS[2:] if getattr(stats, kind) is not None]
    ids = np.asarray(relation(name).block_ids)
    alone = (ids >= 0) & ~np.logical_or.accumulate(ids == -2, axis=1)
    for total, whole in ((sum(parts), stats.block_mass), (sum(counts)[:, None], stats.n_in[:, None])):
        where = np.broadcast_to(alone[:, None], whole.shape)
        np.testing.assert_allclose(np.asarray(total)[where], np.asarray(whole)[where], atol=2e-6)
    assert alone.sum() > 20


def test_at_no_lam_neither_gate_nor_relation_is_there() -> None:
    """λ = 0: outputs, weights and entropies are equal bit for bit."""
    q, k, v = qkv(seed=8)
    base = None
    for name, gate, margin in [
        ("plain", 0.0, "fixed"),
        ("plain", 2.0, "exact"),
        *((name, 1.0, "bent") for name in RULES),
    ]:
        of = relation(name)
        out, stats = ATTEND(
            q, k, v, of, lam=0.0, tau=TAU, margin=MARGINS[margin], gate=gate, request=EVERY, weights=True
        )
        found = [
            np.asarray(x)
            for x in (out, stats.weights.transpose(0, 2, 1, 3), stats.entropy_bits.transpose(0, 2, 1))
        ]
        base = base or found
        jax.tree.map(np.testing.assert_array_equal, found, base)


@pytest.mark.parametrize(
    ("name", "margin"), [*((name, "fixed") for name in RULES), ("near ends, sink", "exact"), ("sink", "bent")]
)
def test_the_gate_at_full_lam_is_hard(name: str, margin: str) -> None:
    """Outputs, weights, entropy and masses of `hard`, whose A_t is its part inside."""
    q, k, v = qkv(seed=9)
    of, shared = (
        relation(name),
        {"lam": 1.0, "tau": TAU, "margin": MARGINS[margin], "request": EVERY, "weights": True},
    )
    gated, hard = (ATTEND(q, k, v, of, **shared, **one) for one in ({"gate": 0.7}, {"hard": True}))
    np.testing.assert_allclose(gated[0], hard[0], atol=1e-6)
    for field in ("weights", "entropy_bits", *MASSES, "in_block_entropy_bits", "log_block_mass"):
        if getattr(hard[1], field) is not None:
            np.testing.assert_allclose(
                getattr(gated[1], field), getattr(hard[1], field), atol=2e-6, err_msg=field
            )
    reach, inside = masks(of)
    assert not np.asarray(gated[1].weights)[
        np.broadcast_to((reach & ~inside)[:, None], gated[1].weights.shape)
    ].any()
    for field in ("n_in", "n_local", "n_pointers", "n_sinks"):
        jax.tree.map(np.testing.assert_array_equal, getattr(gated[1], field), getattr(hard[1], field))


@pytest.mark.parametrize("size", [1.0, 60.0], ids=["", "large scores"])
def test_a_query_without_a_key_inside_has_itself(size: float) -> None:
    """Keys with ids that no query has: all attention goes to the query's own position, none is inside."""
    q, k, v = qkv(seed=10, size=size)
    ids = np.zeros((ROWS, LENGTH), np.int32)
    of = Relation(ids, key_block_ids=np.where(np.arange(LENGTH)[None] < 4, ids + 5, ids))
    out, stats = ATTEND(q, k, v, of, lam=1.0, tau=1.0, margin=3.0, gate=1.0, request=EVERY, weights=True)
    np.testing.assert_array_equal(out[:, :4], v[:, :4])
    assert not np.asarray(stats.block_mass)[..., :4].any()
    assert not np.asarray(stats.entropy_bits)[..., :4].any()
    for field in ("in_block_entropy_bits", "log_block_mass", "delta"):
        assert not np.asarray(getattr(stats, field))[..., :4].any()
    settings = {"lam": np.float32([0.0, 0.5, 1.0]), "tau": 1.0, "margin": 3.0, "gate": 1.0}
    found = ATTEND(q, k, v, of, **settings, request=EVERY, weights=True)
    np.testing.assert_allclose(found[1].weights, expected(of, q, k, **settings)["weights"], atol=2e-5)


def test_the_gate_multiplies_what_is_outside() -> None:
    """w_out ÷ w_in becomes (1 − λ)^κ times itself, and H = h(w_in) + w_in · H_in + w_out · H_out."""
    q, k, v = qkv(seed=11)
    of, shared = (
        relation("near ends, sink"),
        {"lam": 0.8, "tau": 0.6, "margin": 1.0, "request": EVERY, "weights": True},
    )
    none, gated = (ATTEND(q, k, v, of, **shared, gate=gate)[1] for gate in (0.0, 2.5))
    mass, other = (np.asarray(one.block_mass, np.float64) for one in (none, gated))
    some = np.asarray(none.n_in < none.n_keys)[:, None] & (mass > 0)
    odds = (1 - mass) / np.maximum(mass, 1e-30) * 0.2**2.5
    np.testing.assert_allclose(other[some], (1 / (1 + odds))[some], rtol=1e-5)
    np.testing.assert_array_equal(gated.delta, none.delta)  # of the scores, where a gate is none
    reach, inside = masks(of)
    alpha = np.asarray(gated.weights, np.float64)
    outside = alpha * (reach & ~inside)[:, None]
    w = outside.sum(-1)
    h_in = np.asarray(gated.in_block_entropy_bits)
    share = outside / np.maximum(w, 1e-30)[..., None]
    h_out = -np.sum(share * np.log2(np.maximum(share, 1e-30)), axis=-1)
    binary = -sum(x * np.log2(np.maximum(x, 1e-30)) for x in (w, 1 - w))
    real = np.broadcast_to((np.asarray(of.block_ids) >= 0)[:, None], w.shape)
    np.testing.assert_allclose(
        gated.entropy_bits[real], (binary + (1 - w) * h_in + w * h_out)[real], atol=2e-5
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tau", [1.0, 1e-6])
@pytest.mark.parametrize("margin", ["fixed", "exact"])
def test_values_and_gradients_are_finite_with_the_gate(margin: str, tau: float, dtype: str) -> None:
    """At λ = 0, ½ and 1, of outputs and of every statistic; with keys that no query has, too."""
    arrays = [jnp.asarray(x, dtype) for x in qkv(seed=12)]
    alone = Relation(np.zeros((ROWS, LENGTH), np.int32), key_block_ids=np.full((ROWS, LENGTH), 3, np.int32))
    relations = (relation("near ends, sink", documents=True), alone)

    def of_all(arrays, lam):
        total = 0.0
        for of in relations:
            out, stats = locality_attention(
                *arrays, of, lam=lam, tau=tau, margin=MARGINS[margin], gate=1.0, request=EVERY
            )
            floats = [x for x in jax.tree.leaves(stats) if jnp.issubdtype(x.dtype, jnp.floating)]
            total += sum(
                jnp.sum(jnp.square(x.astype(jnp.float32))) for x in (out, *floats) if x is not stats.delta
            )
        return total

    both = jax.jit(jax.value_and_grad(of_all))
    for lam in (0.0, 0.5, 1.0):
        value, gradient = both(arrays, jnp.float32(lam))
        assert np.isfinite(value)
        assert all(np.isfinite(np.asarray(x, np.float32)).all() for x in gradient)
        assert float(jnp.abs(gradient[2].astype(jnp.float32)).max()) > 0


def test_lam_is_traced_and_a_gate_is_not() -> None:
    traces = []

    @partial(jax.jit, static_argnames="gate")
    def run(lam, gate):
        traces.append(gate)
        q, k, v = qkv(seed=13)
        return locality_attention(q, k, v, relation("ends"), lam=lam, tau=1.0, margin=2.0, gate=gate)[0]

    for lam in (0.0, 0.5, 1.0):
        assert np.isfinite(run(jnp.float32(lam), 1.0)).all()
    assert traces == [1.0]
    for gate in (-1.0, float("nan"), 1.1e4, None, "1"):
        with pytest.raises(
            ValueError, match=r"gate is .*; it must be a number from 0 to 10000\. Fix: 1 leaves nothing"
        ):
            run(jnp.float32(0.5), gate)


def test_pointed_statistics_are_of_the_relations_pointers_unless_others_are_given() -> None:
    q, k, v = qkv(seed=14)
    of = relation("near ends, sink")
    found, given = (
        ATTEND(q, k, v, of, lam=0.5, tau=1.0, margin=2.0, request=StatsRequest(), pointers=pointers)[1]
        for pointers in (None, np.tile(np.eye(LENGTH, k=-1, dtype=bool), (ROWS, 1, 1)))
    )
    np.testing.assert_array_equal(found.pointed.mass, found.pointer_mass)
    np.testing.assert_array_equal(found.pointed.n, found.n_pointers)
    assert isinstance(given, AttentionStats) and int(given.pointed.n.max()) == 1
    np.testing.assert_array_equal(given.pointer_mass, found.pointer_mass)

"""Fused attention, by the implementation that a CPU has, against the reference: outputs, statistics and
gradients; what it refuses, by name; and when it is taken.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax.config import AttentionRoute
from aila_jax.model import fused, route
from aila_jax.model.attention import locality_attention, reference_attention
from aila_jax.model.fused import fused_attention, why_not_fused
from aila_jax.model.interface import Dial, Request
from aila_jax.model.margin import SelfScaling
from aila_jax.model.network import Network
from aila_jax.model.push import Push
from aila_jax.model.route import may_fuse
from aila_jax.model.stats import StatsRequest
from aila_jax.model.transformer import Transformer
from aila_jax.partition.kinds import Windows
from aila_jax.partition.relations import Relation
from aila_jax.partition.rules import Rules
from aila_jax.types import GLOBAL_ID, PADDING_ID
from tests.model.chunked_test import (
    CLASSES,
    HEADS,
    LAM,
    LENGTH,
    RELATIONS,
    ROWS,
    TAU,
    WIDTH,
    WINDOWS,
    drawn,
    numbers_and_gradients,
)
from tests.model.chunked_test import check as check_numbers
from tests.support.tiny import MODEL, VOCAB_SIZE, random_batch

ASKED = StatsRequest(outside=True)
MIXED = CLASSES.copy()
MIXED[:, [2, 9, 30]], MIXED[1, 33:] = GLOBAL_ID, PADDING_ID
DOCUMENTS = np.repeat(np.arange(LENGTH)[None] // 11, ROWS, axis=0).astype(np.int32) + 7
TAKEN = {
    name: RELATIONS[name] for name in ("windows", "classes", "documents", "global", "both ways", "other keys")
}
TAKEN["everything"] = Relation(MIXED, DOCUMENTS)
TAKEN["everything, both ways"] = Relation(MIXED, DOCUMENTS, causal=False)
SCALE = jnp.float32([0.5, -0.8])
PUSHES = {
    "fixed": Push(LAM, TAU, 3.0, 0.0, SCALE, 0.0),
    "by head": Push(np.float32([[0.2, 0.7]]), TAU, 8.0, 0.0, SCALE, 0.0),
    "norms": Push(LAM, TAU, SelfScaling(0.1, 1.0, exact=False, bend=2.0), 0.0, SCALE, 0.0),
    "gate": Push(LAM, TAU, SelfScaling(0.1, 1.0, exact=False), 1.0, SCALE, 0.0),
    "the end": Push(np.float32(1.0), TAU, 3.0, 1.0, SCALE, 0.0),
    "the start": Push(np.float32(0.0), np.float32(1.0), 3.0, 1.0, SCALE, 0.0),
}
# Of the largest number: rounding of sums that hold what shuts a document out, and in bfloat16 that of what
# the kernel reads and returns. Entropy is a difference of two such, and so are the gradients by λ, τ and
# scale, which are sums over all queries.
LIMITS = {"float32": 4e-5, "bfloat16": 4e-2}
SUMMED = {"lam": 5.0, "tau": 5.0, "scale": 5.0}  # times the limit


def both(relation, push, hard=False, dtype="float32"):
    """As of `chunked_test`, of the reference and of fused attention."""
    for attention in (reference_attention, fused_attention):
        read = partial(attention, hard=hard, request=ASKED)
        yield numbers_and_gradients(read, relation, push, dtype)


check = partial(check_numbers, times=SUMMED)


def held(relation: Relation, push: Push, hard: bool = False) -> bool:
    shape = (ROWS, LENGTH, HEADS, WIDTH)
    asked = {"hard": hard, "request": ASKED, "pointers": False}
    return why_not_fused(shape, jnp.float32, relation, push, **asked) is None


EVERY = [(name, push) for name in TAKEN for push in PUSHES if held(TAKEN[name], PUSHES[push])]
SOME = [("windows", "by head"), ("everything", "gate"), ("other keys", "norms"), ("classes", "the end")]


@pytest.mark.parametrize(("relation", "push"), SOME)
def test_values_statistics_and_gradients_are_those_of_the_reference(relation: str, push: str) -> None:
    check(*both(TAKEN[relation], PUSHES[push]), atol=LIMITS["float32"])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize(("relation", "push"), EVERY)
def test_every_relation_with_every_push(relation: str, push: str, dtype: str) -> None:
    check(*both(TAKEN[relation], PUSHES[push], dtype=dtype), atol=LIMITS[dtype])


@pytest.mark.parametrize("relation", ["everything", "both ways"])
def test_hard_attention_is_that_of_the_reference(relation: str) -> None:
    push = replace(PUSHES["fixed"], lam=np.float32(1.0))
    reference, found = both(TAKEN[relation], push, hard=True)
    check(reference, found, atol=LIMITS["float32"])
    assert (np.asarray(found[0]["outside_mass"]) == 0.0).all()


def test_in_bfloat16_it_is_within_its_rounding() -> None:
    check(*both(TAKEN["everything"], PUSHES["gate"], dtype="bfloat16"), atol=LIMITS["bfloat16"])


def test_entropy_and_mass_have_their_gradients() -> None:
    """Stock attention gives its LSE without one, so entropy would lose a part of its own in silence."""
    q, k, v = drawn()
    push = PUSHES["fixed"]

    def entropy(attention, q, k):
        _, stats = attention((q, k, v), TAKEN["classes"], push, hard=False, request=ASKED)
        return jnp.sum(stats.entropy_bits * jnp.arange(LENGTH)[None, None])

    want, got = (
        jax.grad(partial(entropy, one), argnums=(0, 1))(q, k)
        for one in (reference_attention, fused_attention)
    )
    assert all(float(jnp.abs(one).max()) > 1.0 for one in want)
    for left, right in zip(want, got, strict=True):
        np.testing.assert_allclose(right, left, atol=1e-5 * float(jnp.abs(left).max()))


def call(relation=WINDOWS, hard=False, request=None, dtype="float32", **settings):
    q, k, v = drawn(dtype)
    given = {"lam": 1.0 if hard else 0.5, "tau": 1.0, "margin": 3.0, "route": "fused", **settings}
    return locality_attention(q, k, v, relation, hard=hard, request=request, **given)


REFUSED = {
    "score_cap is 2": {"score_cap": 2.0},
    "range of a self-scaling margin is exact": {"margin": SelfScaling()},
    "StatsRequest.largest is True": {"request": StatsRequest(largest=True)},
    "StatsRequest.delta is True": {"request": StatsRequest(delta=True)},
    "StatsRequest.log_mass is True": {"request": StatsRequest(log_mass=True)},
    "StatsRequest.in_block is True": {"request": StatsRequest(in_block=True)},
    "route is fused; it must be auto or reference where weights": {"weights": True},
    "pointers is given": {"request": ASKED, "pointers": np.ones((ROWS, LENGTH, LENGTH), bool)},
    "Relation.sinks is given": {"relation": RELATIONS["sinks"]},
    "Relation.pointers is given": {"relation": replace(RELATIONS["horizon"], sinks=None)},
    "Relation.key_block_ids is given": {"relation": RELATIONS["other keys"], "hard": True},
    "width is 312; it must be at most 256 columns: 4 of a head, one for each of 300 blocks": {
        "relation": Relation(WINDOWS, count=300)
    },
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_hold_is_refused_by_name(message: str) -> None:
    with pytest.raises(ValueError, match=r"must be .*Fix: leave") as refused:
        call(**REFUSED[message])
    assert message in str(refused.value).replace("'", "")


def test_a_number_of_blocks_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="number of blocks is 'not known'; it must be known when it is comp"):
        jax.jit(lambda ids: call(ids)[0])(WINDOWS)
    found = jax.jit(lambda ids: call(Relation(ids, count=8))[0])(WINDOWS)
    assert np.isfinite(found).all()


def test_a_block_that_no_column_is_of_is_no_number() -> None:
    """It would be outside of its own block."""
    found, _ = call(Relation(WINDOWS, count=7))
    assert np.isnan(found).all(axis=(1, 2, 3)).all()


def test_the_margin_is_rounded_up() -> None:
    values = jnp.abs(jnp.asarray(np.random.default_rng(0).standard_normal(1000), jnp.float32)) * 100
    up = fused._rounded_up(values, jnp.bfloat16)
    assert (up >= values).all() and (up <= values * (1 + 2**-7)).all()
    exact = values.astype(jnp.bfloat16).astype(jnp.float32)
    np.testing.assert_array_equal(fused._rounded_up(exact, jnp.bfloat16), exact)


def test_on_a_gpu_it_is_taken_where_it_holds(monkeypatch) -> None:
    """The backend's name alone is another: what is compiled is not run."""
    assert not may_fuse(AttentionRoute.AUTO, 4096, False)
    assert may_fuse(AttentionRoute.FUSED, 5, False)
    taken: list[tuple[int, ...]] = []

    def seen(qkv, *_, **__):
        taken.append(qkv[0].shape)
        return qkv[2], None

    monkeypatch.setattr("aila_jax.model.attention.fused_attention", seen)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(fused, "_widest", lambda on_gpu: 256)
    monkeypatch.setattr(route, "SHORTEST", 32)
    call(dtype="bfloat16", route="auto")
    assert len(taken) == 1
    call(dtype="float32", route="auto")  # cuDNN has no float32
    call(dtype="bfloat16", route="auto", request=StatsRequest(largest=True))
    call(dtype="bfloat16", route="auto", score_cap=1.0)
    call(dtype="bfloat16", route="chunked")
    assert len(taken) == 1
    with pytest.raises(ValueError, match="dtype is 'float32'; it must be bfloat16 or float16 on a GPU"):
        call()


def test_a_model_takes_it() -> None:
    """Windows of a model whose rules know how long it is; ids that are given have no number."""
    batch, found, asked = random_batch(3), [], Request(stats=ASKED)
    rules = Rules(length=MODEL.length)
    for route_name in ("reference", "fused"):
        config = replace(MODEL, attention=AttentionRoute(route_name), n_kv_heads=1)
        network = Network(Transformer(config, VOCAB_SIZE), Windows(4), rules)
        params = network.init(batch, jax.random.key(0))
        found.append(jax.jit(lambda params, net: net(params, batch, Dial(0.5, 1.0), asked))(params, network))
    reference, own = found
    assert (np.asarray(own.logits) != np.asarray(reference.logits)).any()
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-4), own, reference)


@pytest.mark.slow
@pytest.mark.parametrize("length", [129, 1000])
@pytest.mark.parametrize("dtype", LIMITS)
def test_lengths_that_are_no_multiple_of_a_tile(length: int, dtype: str) -> None:
    draw = np.random.default_rng(length)
    q, k, v = (jnp.asarray(draw.standard_normal((1, length, 2, 16)), dtype) for _ in range(3))
    relation = Relation(np.arange(length)[None] // 50, np.arange(length)[None] // 300)
    settings = {"lam": np.float32([0.4]), "tau": np.float32([0.8]), "margin": 8.0, "request": ASKED}
    every = [locality_attention(q, k, v, relation, **settings, route=one) for one in ("chunked", "fused")]
    (want, want_stats), (got, got_stats) = every
    check([dict(numbers(want, want_stats))], [dict(numbers(got, got_stats))], atol=LIMITS[dtype])

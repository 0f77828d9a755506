"""Attention by chunks against the reference: outputs, every statistic, every gradient."""

from dataclasses import fields, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax.config import AttentionRoute
from aila_jax.model import chunked
from aila_jax.model.attention import locality_attention, reference_attention
from aila_jax.model.chunked import chunked_attention
from aila_jax.model.interface import Dial, Request
from aila_jax.model.margin import SelfScaling
from aila_jax.model.network import Network
from aila_jax.model.push import Push
from aila_jax.model.route import tile_of
from aila_jax.model.stats import StatsRequest
from aila_jax.model.transformer import Transformer
from aila_jax.partition.kinds import Windows
from aila_jax.partition.relations import Relation
from aila_jax.types import GLOBAL_ID, PADDING_ID
from tests.support.tiny import MODEL, VOCAB_SIZE, random_batch

ROWS, LENGTH, HEADS, WIDTH = 2, 37, 2, 4
SIZES = (8, 6)  # neither divides the length
DRAW = np.random.default_rng(0)
WINDOWS = np.repeat(np.arange(LENGTH)[None] // 5, ROWS, axis=0).astype(np.int32)
CLASSES = DRAW.integers(0, 4, (ROWS, LENGTH)).astype(np.int32)
DOCUMENTS = np.repeat(np.arange(LENGTH)[None] // 13, ROWS, axis=0).astype(np.int32)
PADDED, PADDED_DOCUMENTS = WINDOWS.copy(), DOCUMENTS.copy()
PADDED[1, 30:], PADDED_DOCUMENTS[1, 30:] = PADDING_ID, PADDING_ID
GLOBAL = WINDOWS.copy()
GLOBAL[:, [0, 7, 20, 36]] = GLOBAL_ID
SINKS = np.zeros((ROWS, LENGTH), bool)
SINKS[:, [0, 13]] = True
POINTERS = DRAW.random((ROWS, LENGTH)) < 0.2
RELATIONS = {
    "windows": Relation(WINDOWS),
    "classes": Relation(CLASSES),
    "documents": Relation(PADDED, PADDED_DOCUMENTS),
    "global": Relation(GLOBAL),
    "sinks": Relation(WINDOWS, DOCUMENTS, sinks=SINKS),
    "pointers": Relation(WINDOWS, sinks=SINKS, pointers=POINTERS, order=WINDOWS),
    "horizon": Relation(PADDED, PADDED_DOCUMENTS, pointers=POINTERS, order=WINDOWS, horizon=2),
    "both ways": Relation(WINDOWS, causal=False),
    "other keys": Relation(CLASSES, key_block_ids=(CLASSES + 1) % 3),
}
LAM, TAU = np.float32([0.4, 0.9]), np.float32([0.7, 1.3])
PUSHES = {
    "fixed": Push(LAM, TAU, 3.0, 0.0, jnp.float32([0.5, 0.8]), 0.0),
    "gate and cap": Push(LAM, np.float32(1.0), 2.0, 1.0, jnp.float32([0.5, 0.8]), 1.5),
    "exact range": Push(
        np.float32([[0.2, 0.7]]), TAU, SelfScaling(0.7, 1.0, bend=2.0), 0.5, jnp.float32([1, 1]), 0.0
    ),
    "norms": Push(LAM, TAU, SelfScaling(0.1, 1.0, exact=False), 0.0, jnp.float32([0.5, -0.8]), 0.0),
    "the end": Push(np.float32(1.0), TAU, 3.0, 1.0, jnp.float32([0.5, 0.8]), 0.0),
    "the start": Push(np.float32(0.0), TAU, 3.0, 1.0, jnp.float32([0.5, 0.8]), 2.0),
}
EVERY = StatsRequest(delta=True, in_block=True, log_mass=True, largest=True)
PAIRS = DRAW.random((ROWS, LENGTH, LENGTH)) < 0.1


def drawn(dtype: str = "float32") -> list[jax.Array]:
    draw = np.random.default_rng(1)
    return [jnp.asarray(1.3 * draw.standard_normal((ROWS, LENGTH, HEADS, WIDTH)), dtype) for _ in range(3)]


def numbers(out, stats) -> list[tuple[str, jax.Array]]:
    """The output and each statistic by name."""
    found = [("out", out)]
    if stats is not None:
        some = [(one.name, getattr(stats, one.name)) for one in fields(stats)]
        found += [(name, value) for name, value in some if value is not None and name != "pointed"]
        if stats.pointed is not None:
            found += [
                (f"pointed.{one.name}", getattr(stats.pointed, one.name)) for one in fields(stats.pointed)
            ]
    return found


def both(relation, push, hard=False, dtype="float32", pairs=None, sizes=SIZES):
    """Of the reference and of the chunks: numbers by name, and gradients by q, k, v, λ, τ and the scale of a
    random sum of the float ones.
    """
    q, k, v = drawn(dtype)

    def summed(read, q, k, v, lam, tau, scale):
        put = replace(push, lam=lam, tau=tau, scale_H=scale)
        found = numbers(*read((q, k, v), relation, put))
        total = jnp.zeros(())
        for place, (_, value) in enumerate(found):
            if jnp.issubdtype(value.dtype, jnp.floating):
                total += jnp.sum(
                    value * np.random.default_rng(place).standard_normal(value.shape).astype(np.float32)
                )
        return total, dict(found)

    for name in ("reference", "chunked"):
        if name == "reference":
            read = partial(reference_attention, hard=hard, request=EVERY, pointers=pairs)
        else:
            read = partial(chunked_attention, hard=hard, request=EVERY, pointers=pairs, sizes=sizes)
        every = jax.jit(jax.value_and_grad(partial(summed, read), argnums=tuple(range(6)), has_aux=True))
        (_, found), gradients = every(q, k, v, push.lam, push.tau, push.scale_H)
        yield found, dict(zip(("q", "k", "v", "lam", "tau", "scale"), gradients, strict=True))


def check(reference, found, atol: float) -> None:
    for want, got in zip(reference, found, strict=True):
        assert want.keys() == got.keys()
        for name, value in want.items():
            left, right = np.asarray(value, np.float32), np.asarray(got[name], np.float32)
            if name == "lam" and not np.isfinite(left).all():
                continue  # at λ = 1 the gate's slope has no value
            size = max(1.0, float(np.abs(left).max()))
            np.testing.assert_allclose(right, left, atol=atol * size, rtol=0, err_msg=name)


PAIRWISE = [(name, list(PUSHES)[place % len(PUSHES)]) for place, name in enumerate(RELATIONS)]
EVERY_PAIR = [(name, push) for name in RELATIONS for push in PUSHES if (name, push) not in PAIRWISE]


@pytest.mark.parametrize(("relation", "push"), PAIRWISE)
def test_values_statistics_and_gradients_are_those_of_the_reference(relation: str, push: str) -> None:
    check(*both(RELATIONS[relation], PUSHES[push]), atol=2e-5)


@pytest.mark.medium
@pytest.mark.parametrize(("relation", "push"), EVERY_PAIR)
def test_every_relation_with_every_push(relation: str, push: str) -> None:
    check(*both(RELATIONS[relation], PUSHES[push]), atol=2e-5)


@pytest.mark.parametrize("relation", ["windows", "documents", "sinks", "horizon", "other keys"])
def test_hard_attention_is_that_of_the_reference(relation: str) -> None:
    push = replace(PUSHES["fixed"], lam=np.float32(1.0))
    check(*both(RELATIONS[relation], push, hard=True), atol=2e-5)


def test_pairs_that_are_given_are_measured() -> None:
    reference, found = both(RELATIONS["pointers"], PUSHES["fixed"], pairs=PAIRS)
    assert float(np.sum(reference[0]["pointed.mass"])) > 1.0
    check(reference, found, atol=2e-5)


def test_in_bfloat16_values_are_within_its_rounding() -> None:
    """Sums are of float32 in both; products of weights and values are of rounded weights, before the sum is
    divided by in one and after it in the other.
    """
    check(*both(RELATIONS["windows"], PUSHES["gate and cap"], dtype="bfloat16"), atol=2e-2)


@pytest.mark.parametrize("sizes", [(37, 37), (64, 64), (1, 5)])
def test_the_size_of_a_tile_does_not_matter(sizes: tuple[int, int]) -> None:
    check(*both(RELATIONS["sinks"], PUSHES["gate and cap"], sizes=sizes), atol=2e-5)


def chunks_of(relation: Relation, hard: bool, size: int = 8) -> np.ndarray:
    """How many chunks of keys each chunk of queries runs over."""
    more = -LENGTH % size
    plan = chunked.Plan(size, size, None, 0.0, False, hard, False, False)
    sides = relation.queries().padded(more), relation.keys().padded(more)
    return np.asarray(chunked._order(plan, chunked.Ids(*sides, relation.causal, relation.horizon)).count)


def test_chunks_without_a_key_are_skipped() -> None:
    """37 tokens in chunks of 8: causal ones run over those before, documents of 13 over their own, hard
    windows of 5 over those that they touch.
    """
    np.testing.assert_array_equal(chunks_of(RELATIONS["windows"], False), [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(chunks_of(Relation(WINDOWS, DOCUMENTS), False), [1, 2, 2, 3, 2])
    np.testing.assert_array_equal(chunks_of(RELATIONS["windows"], True), [1, 2, 2, 2, 2])
    np.testing.assert_array_equal(chunks_of(RELATIONS["sinks"], True), [1, 2, 2, 3, 2])
    np.testing.assert_array_equal(chunks_of(RELATIONS["both ways"], False), [5] * 5)


@pytest.mark.parametrize("name", RELATIONS)
@pytest.mark.parametrize("hard", [False, True])
def test_no_chunk_that_holds_a_key_is_skipped(name: str, hard: bool) -> None:
    relation, size = RELATIONS[name], 8
    attended = np.asarray(relation.masks(hard).attendable)[:, 0]
    more = -LENGTH % size
    padded = np.pad(attended, ((0, 0), (0, more), (0, more)))
    held = padded.reshape(ROWS, 5, size, 5, size).any(axis=(0, 2, 4))
    plan = chunked.Plan(size, size, None, 0.0, False, hard, False, False)
    sides = relation.queries().padded(more), relation.keys().padded(more)
    order = chunked._order(plan, chunked.Ids(*sides, relation.causal, relation.horizon))
    for chunk in range(5):
        run = np.asarray(order.chunks)[chunk, : int(order.count[chunk])]
        assert set(np.flatnonzero(held[chunk])) <= set(run), chunk


def test_the_route_is_chosen_by_shape_or_asked_for() -> None:
    """On a CPU tiles from 128 tokens on, as large as stay in a cache; the reference where weights are asked
    for.
    """
    assert tile_of(AttentionRoute.AUTO, (32, 4, 128), False) == (32, 32)
    assert tile_of(AttentionRoute.AUTO, (1, 4, 8192), False) == (256, 256)
    assert tile_of(AttentionRoute.AUTO, (32, 4, 127), False) is None
    assert tile_of(AttentionRoute.CHUNKED, (3, 2, 11), False) == (11, 11)
    for route, weights in ((AttentionRoute.REFERENCE, False), (AttentionRoute.AUTO, True)):
        assert tile_of(route, (32, 4, 8192), weights) is None
    with pytest.raises(ValueError, match="route is 'chunked'; it must be auto or reference where weights"):
        tile_of(AttentionRoute.CHUNKED, (32, 4, 128), True)
    q, k, v = drawn()
    with pytest.raises(ValueError, match="route is 'tiles'; it must be one of auto, chunked, reference"):
        locality_attention(q, k, v, WINDOWS, lam=0.5, tau=1.0, margin=3.0, route="tiles")


def test_attention_and_model_take_the_route() -> None:
    """Numbers of both routes, of the function and of a model, differ by rounding, and do differ."""
    q, k, v = drawn()
    both_ways = [
        locality_attention(q, k, v, WINDOWS, lam=0.5, tau=1.0, margin=3.0, stats=True, route=route)
        for route in ("reference", "chunked")
    ]
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), *both_ways)
    batch = random_batch(3)
    outputs = []
    for route in AttentionRoute:
        config = replace(MODEL, attention=route, n_kv_heads=1)
        network = Network(Transformer(config, VOCAB_SIZE), Windows(4))
        params = network.init(batch, jax.random.key(0))
        outputs.append(network(params, batch, Dial(0.5, 1.0), Request(stats=StatsRequest())))
    auto, chunked_one, reference = outputs
    np.testing.assert_array_equal(auto.logits, reference.logits)
    assert (np.asarray(chunked_one.logits) != np.asarray(reference.logits)).any()
    jax.tree.map(partial(np.testing.assert_allclose, atol=2e-5), chunked_one, reference)

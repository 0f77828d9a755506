"""Attention by chunks against the reference: outputs, every statistic, every gradient."""

from collections.abc import Mapping
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
from aila_jax.model.route import TileSize, tile_of
from aila_jax.model.stats import StatsRequest
from aila_jax.model.transformer import Transformer
from aila_jax.partition.kinds import Windows
from aila_jax.partition.pairs import KeyOfQuery, KeysOfBlock, WrittenPairs
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
EVERY = StatsRequest(delta=True, in_block=True, log_mass=True, largest=True, outside=True)
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


def numbers_and_gradients(read, relation, push, dtype):
    """Of one way to attend: numbers by name, and gradients by q, k, v, λ, τ and the scale of a random sum of
    the float ones.
    """

    def summed(q, k, v, lam, tau, scale):
        found = numbers(*read((q, k, v), relation, replace(push, lam=lam, tau=tau, scale_H=scale)))
        total = jnp.zeros(())
        for place, (_, value) in enumerate(found):
            if jnp.issubdtype(value.dtype, jnp.floating):
                draw = np.random.default_rng(place).standard_normal(value.shape).astype(np.float32)
                total += jnp.sum(value * draw)
        return total, dict(found)

    every = jax.jit(jax.value_and_grad(summed, argnums=tuple(range(6)), has_aux=True))
    (_, found), gradients = every(*drawn(dtype), push.lam, push.tau, push.scale_H)
    return found, dict(zip(("q", "k", "v", "lam", "tau", "scale"), gradients, strict=True))


def both(relation, push, hard=False, dtype="float32", pairs=None, sizes=SIZES, heads=None):
    """Of the reference and of the chunks."""
    asked = {"hard": hard, "request": EVERY, "pointers": pairs}
    chunks = partial(chunked_attention, **asked, sizes=sizes, heads=heads)
    for read in (partial(reference_attention, **asked), chunks):
        yield numbers_and_gradients(read, relation, push, dtype)


def check(reference, found, atol: float, times: Mapping[str, float] = {}) -> None:
    """Within `atol` of the largest number, or so many times that."""
    for want, got in zip(reference, found, strict=True):
        assert want.keys() == got.keys()
        for name, value in want.items():
            left, right = np.asarray(value, np.float32), np.asarray(got[name], np.float32)
            if name == "lam" and not np.isfinite(left).all():
                continue  # at λ = 1 the gate's slope has no value
            size = max(1.0, float(np.abs(left).max()))
            np.testing.assert_allclose(
                right, left, atol=atol * size * times.get(name, 1.0), rtol=0, err_msg=name
            )


# Of windows some tiles are outside as a whole, and at the end the gate closes them.
PAIRWISE = [
    ("windows", "the end"),
    *((name, list(PUSHES)[place % len(PUSHES)]) for place, name in enumerate(RELATIONS)),
]
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
    marked = DRAW.random((ROWS, LENGTH)) < 0.3
    places = DRAW.integers(-1, LENGTH, (ROWS, LENGTH)).astype(np.int32)
    for pairs in (
        WrittenPairs(jnp.asarray(PAIRS)),
        KeysOfBlock(jnp.asarray(WINDOWS), jnp.asarray(marked)),
        KeyOfQuery(jnp.asarray(places)),
    ):
        reference, found = both(RELATIONS["pointers"], PUSHES["fixed"], pairs=pairs)
        assert float(np.sum(reference[0]["pointed.mass"])) > 1.0
        check(reference, found, atol=2e-5)


def test_in_bfloat16_values_are_within_its_rounding() -> None:
    """Sums are of float32 in both; products of weights and values are of rounded weights, before the sum is
    divided by in one and after it in the other.
    """
    check(*both(RELATIONS["windows"], PUSHES["gate and cap"], dtype="bfloat16"), atol=2e-2)


@pytest.mark.parametrize("push", ["fixed", "gate and cap", "exact range"])
@pytest.mark.parametrize("of", [(0,), (2,), (3,), (4,), (5,)], ids=["q", "v", "lam", "tau", "scale"])
def test_gradients_by_some_arguments_alone(push: str, of: tuple[int, ...]) -> None:
    """What nobody differentiates by, and statistics that nobody differentiates, are left out."""
    put, cotangent = PUSHES[push], np.random.default_rng(9).standard_normal((ROWS, LENGTH, HEADS, WIDTH))

    def summed(read, q, k, v, lam, tau, scale):
        out, stats = read((q, k, v), RELATIONS["sinks"], replace(put, lam=lam, tau=tau, scale_H=scale))
        return jnp.sum(out * cotangent.astype(np.float32)), stats

    arguments = (*drawn(), put.lam, put.tau, put.scale_H)
    reads = (
        partial(reference_attention, hard=False, request=EVERY),
        partial(chunked_attention, hard=False, request=EVERY, sizes=SIZES),
    )
    wanted, found = (
        jax.jit(jax.grad(partial(summed, read), argnums=of, has_aux=True))(*arguments)[0] for read in reads
    )
    for want, got in zip(wanted, found, strict=True):
        size = max(1.0, float(jnp.abs(want).max()))
        np.testing.assert_allclose(got, want, atol=2e-5 * size, rtol=0)
        assert float(jnp.abs(want).max()) > 0


@pytest.mark.parametrize(
    ("sizes", "heads"), [((37, 37), None), ((64, 64), 1), ((1, 5), None), ((5, 3), 1), (SIZES, 1)]
)
def test_the_size_of_a_tile_does_not_matter(sizes: tuple[int, int], heads: int | None) -> None:
    check(*both(RELATIONS["sinks"], PUSHES["gate and cap"], sizes=sizes, heads=heads), atol=2e-5)


@pytest.mark.parametrize("push", PUSHES)
def test_heads_one_after_another_are_those_of_all_at_once(push: str) -> None:
    check(*both(RELATIONS["windows"], PUSHES[push], heads=1), atol=2e-5)


def chunks_of(relation: Relation, hard: bool, size: int = 8) -> np.ndarray:
    """How many chunks of keys each chunk of queries runs over."""
    more = -LENGTH % size
    plan = chunked.Plan(size, size, HEADS, None, 0.0, False, hard, False, False, not hard)
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
    plan = chunked.Plan(size, size, HEADS, None, 0.0, False, hard, False, False, not hard)
    sides = relation.queries().padded(more), relation.keys().padded(more)
    order = chunked._order(plan, chunked.Ids(*sides, relation.causal, relation.horizon))
    for chunk in range(5):
        run = np.asarray(order.chunks)[chunk, : int(order.count[chunk])]
        assert set(np.flatnonzero(held[chunk])) <= set(run), chunk


@pytest.mark.parametrize("name", RELATIONS)
def test_tiles_that_are_told_apart_are_outside_as_a_whole(name: str) -> None:
    """They need no mask: all their keys are attended to, none is inside, and none is of another kind."""
    relation, size = RELATIONS[name], 4
    sides = relation.queries().padded(-LENGTH % size), relation.keys().padded(-LENGTH % size)
    plan = chunked.Plan(size, size, HEADS, EVERY, 0.0, False, False, False, False, True)
    ids = chunked.Ids(*sides, relation.causal, relation.horizon)
    order, told = chunked._order(plan, ids), 0
    for chunk in range(len(order.chunks)):
        assert 0 <= order.first[chunk] <= order.last[chunk] <= order.count[chunk]
        for key in np.asarray(order.chunks)[chunk, int(order.first[chunk]) : int(order.last[chunk])]:
            kinds = chunked._kinds(plan, ids, jnp.int32(chunk * size), jnp.int32(key * size))
            assert kinds.attended.all() and not kinds.inside.any() and not kinds.gated.any()
            assert kinds.sums.pop("outside_mass").all() and not any(
                mask.any() for mask in kinds.sums.values()
            )
            told += 1
    # Classes and global tokens are everywhere; a pointer is one for all that follow.
    few = {"classes", "global", "pointers", "other keys"}
    assert told > 0 or name in few


def test_at_zero_no_bit_depends_on_blocks() -> None:
    """One program, and blocks under which tiles are outside as a whole here or there, or nowhere."""
    push = replace(PUSHES["fixed"], lam=jnp.float32(0.0), tau=jnp.float32(1.0))
    read = partial(chunked_attention, drawn(), push=push, hard=False, request=EVERY, sizes=SIZES)
    at = np.arange(LENGTH)[None]
    blocks = (WINDOWS, at // 13, CLASSES, np.zeros_like(WINDOWS), GLOBAL, np.where(at < 20, 0, at))
    attend = jax.jit(lambda ids: read(relation=Relation(ids))[0])
    first, *others = (
        np.asarray(attend(np.broadcast_to(ids, WINDOWS.shape).astype(np.int32))) for ids in blocks
    )
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_the_route_is_chosen_by_shape_or_asked_for() -> None:
    """On a CPU tiles from 128 tokens on, as large as stay in a cache; the reference where weights are asked
    for.
    """
    assert tile_of(AttentionRoute.AUTO, (32, 4, 128), False) == TileSize(32, 4)
    assert tile_of(AttentionRoute.AUTO, (1, 4, 8192), False) == TileSize(512, 1)
    assert tile_of(AttentionRoute.AUTO, (8, 6, 1024), False) == TileSize(128, 2)
    assert tile_of(AttentionRoute.AUTO, (1, 4, 8192), False, hard=True) == TileSize(64, 4)
    assert tile_of(AttentionRoute.AUTO, (32, 4, 127), False) is None
    assert tile_of(AttentionRoute.CHUNKED, (3, 2, 11), False) == TileSize(11, 2)
    assert tile_of(AttentionRoute.CHUNKED, (1, 4, 8192), False, cpu=False) == TileSize(512, 4)
    for route, weights in ((AttentionRoute.REFERENCE, False), (AttentionRoute.AUTO, True)):
        assert tile_of(route, (32, 4, 8192), weights) is None
    with pytest.raises(ValueError, match=r"route is .chunked.; it must be auto or reference where weights"):
        tile_of(AttentionRoute.CHUNKED, (32, 4, 128), True)
    q, k, v = drawn()
    with pytest.raises(
        ValueError, match=r"route is 'tiles'; it must be one of auto, chunked, fused, reference"
    ):
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
    for route in ("auto", "chunked", "reference"):
        config = replace(MODEL, attention=route, n_kv_heads=1)
        network = Network(Transformer(config, VOCAB_SIZE), Windows(4))
        params = network.init(batch, jax.random.key(0))
        outputs.append(network(params, batch, Dial(0.5, 1.0), Request(stats=StatsRequest())))
    auto, chunked_one, reference = outputs
    np.testing.assert_array_equal(auto.logits, reference.logits)
    assert (np.asarray(chunked_one.logits) != np.asarray(reference.logits)).any()
    jax.tree.map(partial(np.testing.assert_allclose, atol=2e-5), chunked_one, reference)

"""Reach: against paths written out one by one, closed forms, and whole models whose tokens are changed."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aila_jax.config import Config, MarginConfig, ModelConfig, PartitionConfig, RelationConfig
from aila_jax.guarantees.flow import condition_of, with_generated
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.transformer import build_transformer
from aila_jax.partition.relations import reach_through
from aila_jax.partition.rules import Blocks
from aila_jax.types import Batch
from tests.support.related import CASES, LAYERS, blocks_of, compiled, config_of, partition_of, random_batch

L = 12
VOCABULARY = 40  # more types than a text has tokens


def by_paths(masks: list[np.ndarray]) -> np.ndarray:
    """Every path from each position down through the layers, one by one."""
    length = len(masks[0])
    found = np.zeros((length, length), bool)

    def walk(start: int, at: int, layer: int) -> None:
        if layer < 0:
            found[start, at] = True
            return
        for below in range(length):
            if below == at or masks[layer][at, below]:
                walk(start, below, layer - 1)

    for start in range(length):
        walk(start, start, len(masks) - 1)
    return found


@given(st.integers(0, 2**31), st.integers(1, 4), st.floats(0.05, 0.6))
@settings(max_examples=60, deadline=None)
def test_reach_is_that_of_all_paths(seed: int, depth: int, density: float) -> None:
    draw = np.random.default_rng(seed)
    masks = [np.tril(draw.random((6, 6)) < density) for _ in range(depth)]
    np.testing.assert_array_equal(reach_through(masks), by_paths(masks))


@given(st.integers(0, 2**31), st.floats(0.1, 0.9))
@settings(max_examples=60, deadline=None)
def test_generated_tokens_carry_their_own_reach(seed: int, share: float) -> None:
    """Against a walk that follows every generated token to the position that it was drawn from."""
    draw = np.random.default_rng(seed)
    reach = np.tril(draw.random((9, 9)) < 0.25) | np.eye(9, dtype=bool)
    generated = draw.random(9) < share
    closed = with_generated(reach, generated)
    for t in range(9):
        seen, left = set(), list(np.flatnonzero(reach[t]))
        while left:
            s = int(left.pop())
            if s not in seen:
                seen.add(s)
                left += list(np.flatnonzero(reach[s - 1])) if generated[s] and s else []
        assert set(np.flatnonzero(closed[t]).tolist()) == seen


def masks_of(blocks: Blocks, row: int = 0) -> list[np.ndarray]:
    """The hard masks of all layers."""
    found = [
        np.asarray(blocks.of_layer(layer).masks(hard=True).attendable)[row, 0]
        for layer in range(len(blocks.layers))
    ]
    return found if len(found) > 1 else found * LAYERS


def reach(
    relation: RelationConfig, size: int = 4, length: int = 24, layers: int = LAYERS, **given_ids: Any
) -> np.ndarray:
    """R of a relation on windows, or on ids that are given."""
    partition = PartitionConfig(kind="given") if given_ids else PartitionConfig(size=size)
    shape = ModelConfig(length=length, d_model=8, n_heads=2, d_ff=8, n_layers=layers)
    config = Config(partition=partition, relation=relation, model=shape)
    batch = Batch.from_tokens(np.zeros((1, length), np.int32), given_ids.get("ids"))
    masks = masks_of(blocks_of(config, batch))[:layers]
    return reach_through(masks * layers if len(masks) == 1 else masks)


IN_ORDER = np.arange(24)
EARLIER = IN_ORDER[None, :] <= IN_ORDER[:, None]


def test_equal_hard_blocks_reach_the_block_and_a_sink_adds_itself_alone() -> None:
    block = (IN_ORDER[:, None] // 4 == IN_ORDER[None, :] // 4) & EARLIER
    np.testing.assert_array_equal(reach(RelationConfig()), block)
    with_sink = block.copy()
    with_sink[:, 0] = True
    np.testing.assert_array_equal(reach(RelationConfig(sink=True)), with_sink)


@pytest.mark.parametrize(("size", "shift", "layers"), [(4, 1, 3), (4, 2, 3), (5, 3, 4), (6, 5, 2)])
def test_shifted_windows_reach_a_shift_further_a_layer(size: int, shift: int, layers: int) -> None:
    """From the start of the last layer's window (N − 1) · shift tokens further back, and all after it."""
    start = (IN_ORDER - shift * (layers - 1)) // size * size + shift * (layers - 1)
    start = np.maximum(start - shift * (layers - 1), 0)
    found = reach(RelationConfig(shift=shift), size, layers=layers)
    np.testing.assert_array_equal(found, EARLIER & (IN_ORDER[None, :] >= start[:, None]))


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_segments_in_pairs_reach_one_further_a_layer(layers: int) -> None:
    """N segments back where the last layer pairs the segment with the one before it, and else N − 1."""
    segment = np.repeat(np.arange(8), 3)
    found = reach(RelationConfig(shift=1), layers=layers, ids=segment[None].astype(np.int32))
    second = (segment + (layers - 1) % 2) % 2 == 1  # in the last layer's pair
    first = segment - np.where(second, layers, layers - 1)
    np.testing.assert_array_equal(found, EARLIER & (segment[None, :] >= first[:, None]))


@pytest.mark.parametrize(("horizon", "layers"), [(1, 1), (1, 3), (2, 2), (2, 3)])
def test_ends_with_a_horizon(horizon: int, layers: int) -> None:
    """The last (N − 1) · p blocks whole, and ends back to N · p blocks."""
    block = IN_ORDER // 3
    back = block[:, None] - block[None, :]
    end = IN_ORDER % 3 == 2
    expected = EARLIER & ((back <= (layers - 1) * horizon) | (end[None, :] & (back <= layers * horizon)))
    found = reach(RelationConfig(pointers="ends", horizon=horizon), 3, layers=layers)
    np.testing.assert_array_equal(found, expected)


def test_ends_without_a_horizon_reach_everything_from_two_layers_on() -> None:
    np.testing.assert_array_equal(reach(RelationConfig(pointers="ends"), layers=2), EARLIER)
    assert not reach(RelationConfig(pointers="ends"), layers=1)[23, 4]


@pytest.mark.parametrize("name", ["anchors", "two anchors, sink"])
def test_what_follows_the_last_anchor_of_a_block_never_leaves_it(name: str) -> None:
    config = config_of("windows", name)
    blocks = compiled("windows", name)(random_batch(config, 48, 3))
    ids, anchors = np.asarray(blocks.ids), np.asarray(blocks.layers[0].pointers)
    followed = 0
    for row in range(48):
        found = reach_through(masks_of(blocks, row))
        for block in range(2):  # whole blocks with a later one
            places = np.flatnonzero(ids[row] == block)
            after = places[places > np.flatnonzero(anchors[row] & (ids[row] == block)).max()]
            assert not found[np.ix_(ids[row] > block, after)].any()
            followed += len(after)
    assert followed > 48
    assert found[11, ids[row] == 1].any()  # anchors themselves do


@cache
def network_of(kind: str, name: str, gate: float = 1.0) -> tuple[Network, Any]:
    """A model with drawn parameters, scores of order 1, and a gate; its blocks are given to it."""
    config = config_of(kind, name, margin=MarginConfig(gate=gate))
    network = Network(build_transformer(config, VOCABULARY), partition_of(config))
    return network, parameters()


@cache
def parameters() -> Any:
    config = config_of("windows", "plain")
    network = Network(build_transformer(config, VOCABULARY), partition_of(config))
    params = jax.jit(network.init)(random_batch(config, 1, 0), jax.random.key(0))
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return jax.tree.unflatten(
        tree, [x + 0.4 * jax.random.normal(key, x.shape) for key, x in zip(keys, leaves, strict=True)]
    )


@partial(jax.jit, static_argnames=("hard",))
def logits(network: Network, params: Any, batch: Batch, blocks: Blocks, hard: bool) -> jax.Array:
    """At λ = τ = 1, on blocks that are given, whatever the tokens are."""
    ones = jnp.ones(batch.tokens.shape[0])
    found = network.on_blocks(blocks)(params, batch, Dial(ones, ones), Request(hard=hard)).logits
    assert found is not None
    return found


def interfering(kind: str, name: str, can: np.ndarray, tokens: np.ndarray, hard: bool) -> list[int]:
    """Positions whose logits change, in any bit, when all tokens that `can` leaves out of them change; same
    executable, shapes and ids.
    """
    network, params = network_of(kind, name)
    rows = np.repeat(tokens[None], L, axis=0)
    blocks = jax.tree.map(lambda x: jnp.repeat(x[:1], L, axis=0), blocks_here(kind, name))
    changed = np.where(can, rows, (rows + 17) % VOCABULARY).astype(np.int32)
    before, after = (
        np.asarray(logits(network, params, Batch.from_tokens(one), blocks, hard)) for one in (rows, changed)
    )
    assert np.isfinite(before).all() and np.isfinite(after).all()
    return [t for t in range(L) if before[t, t].tobytes() != after[t, t].tobytes()]


def blocks_here(kind: str, name: str) -> Blocks:
    """Of a text whose ids and pointers were made from its tokens, and are kept when the tokens change."""
    return compiled(kind, name)(random_batch(config_of(kind, name), 48, 11))


TOKENS = np.random.default_rng(3).permutation(VOCABULARY)[:L].astype(np.int32)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_tokens_out_of_reach_change_no_bit_and_a_missing_entry_is_caught(kind: str, name: str) -> None:
    can = reach_through(masks_of(blocks_here(kind, name)))
    assert interfering(kind, name, can, TOKENS, hard=False) == []
    draw = np.random.default_rng(5)
    inside = np.argwhere(np.tril(can, -1))
    for t, j in inside[draw.choice(len(inside), 2, replace=False)]:
        wrong = can.copy()
        wrong[t, j] = False
        assert interfering(kind, name, wrong, TOKENS, hard=False) == [t], (t, j)


JACOBIAN = [
    ("windows", "shifted, ends, sink"),
    ("windows", "ends, horizon 2, sink"),
    ("windows", "global below"),
    ("sentences", "two anchors, sink"),
    ("given", "shifted"),
    ("classes", "sink"),
]


@pytest.mark.parametrize(("kind", "name"), JACOBIAN)
def test_the_support_of_the_jacobian_is_the_reach(kind: str, name: str) -> None:
    """With the flag `hard`. Tokens are all different, so the derivative by a type's embedding is that by its
    token; the logit is of a type that the text does not have, whose own embedding is no input.
    """
    network, params = network_of(kind, name)
    blocks = jax.tree.map(lambda x: x[:1], blocks_here(kind, name))
    other = int(np.setdiff1d(np.arange(VOCABULARY), TOKENS)[0])

    def of_embedding(embedding: jax.Array) -> jax.Array:
        batch = Batch.from_tokens(TOKENS[None])
        return logits(network, {**params, "embedding": embedding}, batch, blocks, True)[0, :, other]

    slopes = np.asarray(jax.jacrev(of_embedding)(params["embedding"]))[:, TOKENS]
    support = (slopes != 0.0).any(axis=-1)
    np.testing.assert_array_equal(support, reach_through(masks_of(blocks_here(kind, name))))


def decoder(x_LxD: np.ndarray, masks: list[np.ndarray], draw: np.random.Generator) -> np.ndarray:
    """A pre-LayerNorm decoder in NumPy, of two heads, drawn weights and scores of order 1; analytic in its
    input, so that a step along the imaginary axis gives derivatives without cancellation.
    """

    def normed(x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)

    width = x_LxD.shape[1]
    for mask in masks:
        read, added = normed(x_LxD), np.zeros_like(x_LxD)
        for _ in range(2):
            q, k, v = (read @ draw.standard_normal((width, width)) / width for _ in range(3))
            weights = np.where(mask, np.exp(np.where(mask, q @ k.T, 0.0)), 0.0)
            mixed = weights / weights.sum(axis=-1, keepdims=True) @ v
            added = added + mixed @ draw.standard_normal((width, width))
        x_LxD = x_LxD + added
        hidden = np.tanh(normed(x_LxD) @ draw.standard_normal((width, 2 * width)))
        x_LxD = x_LxD + hidden @ draw.standard_normal((2 * width, width))
    return normed(x_LxD) @ draw.standard_normal(width)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_float64_decoder_of_its_own_depends_on_what_is_in_reach_and_on_nothing_else(
    kind: str, name: str
) -> None:
    masks = masks_of(blocks_here(kind, name))
    x_LxD = np.random.default_rng(0).standard_normal((L, 6))
    support = np.zeros((L, L), bool)
    for token in range(L):
        moved = x_LxD.astype(np.complex128)
        moved[token] += 1e-100j * np.random.default_rng(1).standard_normal(6)
        support[:, token] = decoder(moved, masks, np.random.default_rng(2)).imag != 0.0
    np.testing.assert_array_equal(support, reach_through(masks))


def test_a_claim_says_of_which_texts_it_holds() -> None:
    def said(kind: str, name: str, **given_by_caller: bool) -> tuple[str, bool]:
        asked = {"given_ids": False, "given_documents": False, **given_by_caller}
        found = condition_of(config_of(kind, name), **asked)
        return found.text, found.unconditional

    places = ("for every input with these positions", True)
    for name in (
        "plain",
        "sink",
        "ends, horizon 2, sink",
        "random, sink",
        "shifted",
        "by layer",
        "global below",
    ):
        assert said("windows", name) == places
    assert (
        said("windows", "plain", given_documents=True)[0]
        == "for every input with these positions and documents"
    )
    ids = ("for every input with these positions and block ids", True)
    assert said("given", "shifted, ends, sink", given_ids=True) == ids
    blocks, both = (
        ("for every text with the same blocks", False),
        ("for every text with the same blocks and pointers", False),
    )
    assert said("given", "plain") == said("sentences", "shifted") == said("classes", "sink") == blocks
    assert (
        said("windows", "anchors")
        == said("given", "anchors", given_ids=True)
        == said("sentences", "ends")
        == both
    )
    assert said("windows", "by layer, ends, sink") == both

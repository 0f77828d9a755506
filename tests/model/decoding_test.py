"""One position at a time from kept keys and values, against the forward pass over the whole text."""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax.config import AdapterConfig, Config, MarginConfig, ModelConfig, RotaryConfig
from aila_jax.inference.inputs import example_batch
from aila_jax.model import decoding
from aila_jax.model.decoding import in_parts, keys_and_values, next_logits, query_in_parts, query_logits
from aila_jax.model.interface import Dial, Request
from aila_jax.model.kept import nothing_kept, put_rows
from aila_jax.model.network import Network
from aila_jax.model.transformer import Transformer
from aila_jax.partition.kinds import Classes, Given, Segments, Windows
from aila_jax.partition.pointers import Ends, LowestEntropy, RandomToken
from aila_jax.partition.rules import Everything, Rules
from aila_jax.types import PADDING_ID, Batch

ROWS, LENGTH, TYPES = 3, 14, 9
DRAW = np.random.default_rng(5)
TOKENS = DRAW.integers(0, TYPES, (ROWS, LENGTH)).astype(np.int32)
GIVEN = np.cumsum(DRAW.random((ROWS, LENGTH)) < 0.3, axis=1).astype(np.int32)
DOCS = np.repeat([[0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2]], ROWS, axis=0).astype(np.int32)
CLOSES = np.arange(TYPES) % 3 == 0
ENTROPY = np.float32([3, 1, 2, 5, 4, 0, 6, 2, 1])
PLAIN = (Windows(4), Rules())
RELATIONS: dict[str, tuple[Any, Rules]] = {
    "windows": PLAIN,
    "segments": (Segments(CLOSES), Rules()),
    "given": (Given(), Rules()),
    "classes": (Classes(np.arange(TYPES) % 4), Rules()),
    "global first": (Windows(4, global_first=True), Rules()),
    "sink": (Windows(4), Rules(sink=True)),
    "shifted windows": (Windows(4), Rules(shift=2, layers=2)),
    "segments in pairs": (Segments(CLOSES), Rules(shift=1, layers=2)),
    "given in pairs": (Given(), Rules(shift=1, layers=2)),
    "ends": (Segments(CLOSES), Rules(pointers=Ends())),
    "anchors": (Segments(CLOSES), Rules(pointers=LowestEntropy(ENTROPY, 2))),
    "random": (Given(), Rules(pointers=RandomToken(3))),
    "horizon, sink": (Windows(3), Rules(sink=True, pointers=Ends(2))),
    "by layer": (Windows(3), Rules(pointers=Ends(), partitions=(Segments(CLOSES), Windows(5)), layers=2)),
    "six by layer": (
        Windows(4),
        Rules(sink=True, partitions=(None, Windows(2), None, None, Windows(2), Windows(3)), layers=6),
    ),
    "global layer": (Windows(3), Rules(sink=True, partitions=(None, Everything()), layers=2)),
}
SHAPE = ModelConfig(length=LENGTH, d_model=16, n_heads=4, d_ff=24, n_layers=2)
FORMS: dict[str, ModelConfig] = {
    "gate": replace(SHAPE, margin=MarginConfig(gate=1.0, stagger=0.5), adapters=AdapterConfig(rank=2)),
    "range": replace(
        SHAPE, margin=MarginConfig(form="self_scaling", range_bend=2.0), score_cap=1.5,
        rotary_base=100.0, rotary=RotaryConfig(share=0.5),
    ),
    "norms": replace(
        SHAPE, margin=MarginConfig(form="self_scaling", range="norms", c=0.5), n_kv_heads=2, layer_beta=1.0,
        rotary_base=100.0, rotary=RotaryConfig(layout="interleaved"),
    ),
    "unit queries": replace(SHAPE, qk_norm=True, film=True, dial_weights="qkv", localist=True),
    "llama": replace(
        SHAPE, rotary_base=100.0, learned_positions=False, norm="rms_norm", feed_forward="swiglu", tied=False,
        n_kv_heads=2, head_width=6, qkv_bias=True,
    ),
    "neox": replace(SHAPE, parallel=True, norm="layer_norm", feed_forward="gelu_exact"),
    "deep": replace(SHAPE, n_layers=6, n_kv_heads=1, rotary_base=100.0, layer_beta=1.0),
}  # fmt: skip
DIAL = Dial(np.float32([0.4, 1.0, 0.0]), np.float32([0.7, 1.0, 1.3]))


@cache
def network_of(relation: str, model: ModelConfig) -> tuple[Network, Any]:
    """With weights far from 0."""
    partition, rules = RELATIONS[relation]
    network = Network(Transformer(model, TYPES, 4), partition, rules)
    params = jax.jit(lambda key: network.init(example_batch(Config(model=model)), key))(jax.random.key(1))
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    drawn = [x + 0.3 * jax.random.normal(key, x.shape) for x, key in zip(leaves, keys, strict=True)]
    return network, jax.tree.unflatten(tree, drawn)


@partial(jax.jit, static_argnames="request")
def whole(network: Network, params: Any, batch: Batch, dial: Dial, request: Request) -> Any:
    return network(params, batch, dial, request).logits


first = jax.jit(keys_and_values, static_argnames="request")
step = jax.jit(next_logits, static_argnames="request")
QUERIES = {
    "loop": jax.jit(query_logits, static_argnames="request"),
    "one program": jax.jit(query_in_parts, static_argnames="request"),
    "small programs": query_in_parts,
}


def texts(masked: bool) -> Batch:
    batch = Batch.from_tokens(TOKENS, GIVEN, DOCS if masked else None)
    return (
        batch
        if masked
        else replace(batch, positions=np.repeat([np.arange(LENGTH)], ROWS, 0).astype(np.int32))
    )


def up_to(batch: Batch, used: np.ndarray) -> Batch:
    """The first tokens of each row alone, and what no model may read after them."""
    after = np.arange(LENGTH)[None] >= used[:, None]
    return replace(
        batch,
        tokens=np.where(after, TYPES - 1, batch.tokens),
        doc_ids=np.where(after, PADDING_ID, batch.doc_ids),
        given_ids=np.where(after, PADDING_ID, batch.given_ids),
    )


def one_by_one(
    network: Network, params: Any, batch: Batch, request: Request, dial: Dial = DIAL
) -> tuple[np.ndarray, np.ndarray]:
    """Logits of every position from a row's start on; rows begin with 1, 4 and 6 tokens, which come too."""
    start = np.array([1, 4, 6])
    kept = nothing_kept(network.module.config, ROWS, LENGTH)
    for row in range(ROWS):
        own = jax.tree.map(lambda x, row=row: x[row : row + 1], (up_to(batch, start), dial))
        kept = put_rows(kept, first(network, params, *own, request), jnp.int32(row))
    found = np.full((ROWS, LENGTH, TYPES), np.nan, np.float32)
    for more in range(LENGTH):
        at = np.minimum(start - 1 + more, LENGTH - 1).astype(np.int32)
        logits, kept = step(network, params, up_to(batch, at + 1), dial, request, at, kept)
        found[np.arange(ROWS), at] = logits
    return found, start


def check(
    relation: str, model: ModelConfig, hard: bool = False, masked: bool = False, within: float = 1e-5
) -> None:
    network, params = network_of(relation, replace(model, document_mask=masked))
    dial = replace(DIAL, lam=np.ones(ROWS, np.float32)) if hard else DIAL
    batch, request = texts(masked), Request(hard=hard)
    want = np.asarray(whole(network, params, batch, dial, request))
    found, start = one_by_one(network, params, batch, request, dial)
    size = np.abs(want).max()
    for row in range(ROWS):
        here = slice(start[row] - 1, None)
        np.testing.assert_allclose(found[row, here], want[row, here], rtol=0, atol=within * max(size, 1.0))
        if within <= 1e-5:
            assert (found[row, here].argmax(-1) == want[row, here].argmax(-1)).all()


def some_often(names: Iterable[str], often: set[str]) -> list[Any]:
    """All, those beside `often` in the medium run alone: together they take two minutes."""
    return [name if name in often else pytest.param(name, marks=pytest.mark.medium) for name in names]


@pytest.mark.parametrize(
    "relation", some_often(RELATIONS, {"windows", "given", "anchors", "horizon, sink", "by layer"})
)
def test_every_relation(relation: str) -> None:
    check(relation, SHAPE)


@pytest.mark.parametrize("relation", ["sink", "horizon, sink", "by layer"])
def test_hard_attention(relation: str) -> None:
    check(relation, SHAPE, hard=True)


@pytest.mark.parametrize("relation", ["horizon, sink", "anchors"])
def test_documents(relation: str) -> None:
    check(relation, SHAPE, masked=True)


@pytest.mark.parametrize("form", some_often(FORMS, {"gate", "llama", "deep"}))
def test_every_form_of_the_model(form: str) -> None:
    check("horizon, sink", FORMS[form])


def test_relations_by_layer_of_a_deep_model() -> None:
    check("six by layer", FORMS["deep"])


@pytest.mark.parametrize("relation", ["horizon, sink", "six by layer"])
def test_parts_are_one_program_bit_for_bit(relation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside jit: here two layers, and the same program for two more, twice."""
    monkeypatch.setattr(decoding, "TOGETHER", 2)
    network, params = network_of(relation, FORMS["deep"])
    assert in_parts(network.module) and not in_parts(network_of(relation, SHAPE)[0].module)
    batch, at = texts(False), np.array([6, 9, 13], np.int32)
    kept = first(network, params, batch, DIAL, Request())
    given = (network, params, up_to(batch, at + 1), DIAL, Request(), at)
    want = step(*given, kept)
    whole_BxV = np.asarray(whole(network, params, batch, DIAL, Request()))[np.arange(ROWS), at]
    np.testing.assert_allclose(want[0], whole_BxV, rtol=0, atol=1e-5 * np.abs(whole_BxV).max())
    before = decoding._through._cache_size()
    found = next_logits(*given, jax.tree.map(jnp.copy, kept))
    assert decoding._through._cache_size() - before == 1
    jax.tree.map(np.testing.assert_array_equal, found, want)


def test_bfloat16() -> None:
    """Eight bits of each number: 2⁻⁸ of the largest logit, a few times."""
    check("horizon, sink", replace(FORMS["llama"], dtype="bfloat16"), within=0.03)


def test_a_row_depends_on_no_companion_bit_for_bit() -> None:
    network, params = network_of("horizon, sink", SHAPE)
    batch = texts(False)
    others = replace(batch, tokens=np.concatenate([TOKENS[:1], (TOKENS[1:] + 1) % TYPES]))
    alone, _ = one_by_one(network, params, batch, Request())
    again, _ = one_by_one(network, params, others, Request())
    np.testing.assert_array_equal(alone[0], again[0])
    assert not np.array_equal(alone[1], again[1], equal_nan=True)


def test_what_is_kept_is_read() -> None:
    """Else nothing above could fail: other keys, or other values, are other logits."""
    network, params = network_of("windows", SHAPE)
    batch, at = texts(False), np.full(ROWS, 6, np.int32)
    kept = first(network, params, batch, DIAL, Request())
    want, _ = step(network, params, up_to(batch, at + 1), DIAL, Request(), at, kept)
    for name in ("keys", "values"):
        wrong = tuple(replace(one, **{name: getattr(one, name).at[:, 5].add(0.5)}) for one in kept)
        found, _ = step(network, params, up_to(batch, at + 1), DIAL, Request(), at, wrong)
        assert np.abs(np.asarray(found - want)).max() > 1e-3


def test_rows_of_a_relation_are_rows_of_its_masks() -> None:
    for partition, rules in RELATIONS.values():
        batch, at = texts(True), np.array([[0, 3], [7, 5], [13, 9]], np.int32)
        for layer in range(2):
            relation = rules(batch, partition).of_layer(min(layer, rules.layers - 1), batch.doc_ids)
            for part in ("attendable", "inside", "own", "pointed", "sunk", "itself"):
                every, rows = (getattr(one.whole(), part)() for one in (relation, relation.rows(at)))
                if every is not None:
                    full = np.broadcast_to(every, (ROWS, 1, LENGTH, LENGTH))
                    np.testing.assert_array_equal(
                        rows, np.take_along_axis(full, at[:, None, :, None], axis=2)
                    )
            for hard in (False, True):
                every, rows = relation.masks(hard), relation.rows(at).masks(hard)
                want = np.take_along_axis(np.asarray(every.attendable), at[:, None, :, None], axis=2)
                np.testing.assert_array_equal(rows.attendable, want)


def queried(
    relation: str, model: ModelConfig, hard: bool = False, way: str = "loop"
) -> tuple[Any, Any, np.ndarray]:
    """Five queries in no order after keys and values of the rest; the whole pass, and where they stand."""
    network, params = network_of(relation, model)
    batch, at = texts(False), np.array([[13, 9, 10, 11, 12]] * ROWS, np.int32)
    dial = replace(DIAL, lam=np.ones(ROWS, np.float32)) if hard else DIAL
    kept = jax.tree.map(
        lambda *layers: jnp.stack(layers), *first(network, params, batch, dial, Request(hard=hard))
    )
    kept = jax.tree.map(lambda every: every.at[:, :, 9:].set(7.0), kept)  # the queries bring their own
    pieces = np.eye(LENGTH, 3, dtype=np.float32)[:, :2]
    pieces[2:, 1] = 1.0
    found = QUERIES[way](network, params, batch, dial, Request(hard=hard), at, kept, pieces)
    asked = Request(hard=hard, weights=True)
    whole = jax.jit(lambda *given: network(*given, asked))(params, batch, dial)
    return found, whole, at


@pytest.mark.parametrize(
    ("relation", "form", "hard"),
    [
        ("horizon, sink", "gate", False),
        ("anchors", "llama", True),
        ("sink", "deep", False),
        ("six by layer", "deep", False),
    ],
)
@pytest.mark.parametrize("way", QUERIES)
def test_several_queries_at_once(
    relation: str, form: str, hard: bool, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "TOGETHER", 4)
    found, whole, at = queried(relation, FORMS[form], hard, way)
    want = np.take_along_axis(np.asarray(whole.logits), at[:, :, None], axis=1)
    np.testing.assert_allclose(found.logits, want, rtol=0, atol=1e-5 * np.abs(want).max())
    weights = np.asarray(whole.weights).mean(axis=(0, 2))
    rows = np.take_along_axis(weights, at[:, :, None], axis=1)
    mass = np.stack([rows[..., 0], rows[..., 1:].sum(axis=-1)], axis=-1)
    np.testing.assert_allclose(found.mass, mass, atol=2e-6)
    kept = first(*network_of(relation, FORMS[form]), texts(False), DIAL, Request())
    assert found.fresh.keys.shape == (len(kept), ROWS, 5, *kept[0].keys.shape[2:])

"""A deep model's layers in a loop against the same layers one by one, and low-rank adapters."""

import re
from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax.config import AdapterConfig, Config, MarginConfig, ModelConfig, PartitionConfig, RelationConfig
from aila_jax.model.interface import Dial, ModelOutput, Request
from aila_jax.model.network import Network
from aila_jax.model.scanned import UNROLLED, scans
from aila_jax.model.stats import StatsRequest
from aila_jax.model.transformer import Transformer
from aila_jax.partition.build import build_partition
from aila_jax.partition.rule_tables import build_rules
from aila_jax.types import Batch

TYPES = 24
MODEL = ModelConfig(
    length=12, d_model=16, n_heads=4, n_kv_heads=2, d_ff=20, n_layers=6, norm="rms_norm", feed_forward="swiglu",  # type: ignore[arg-type]
    rotary_base=1e3, learned_positions=False, tied=False, dropout=0.2, layer_beta=1.0,
    margin=MarginConfig(form="self_scaling", m0=3.0, gate=1.0, stagger=0.3),  # type: ignore[arg-type]
)  # fmt: skip
PLAIN, SINK = RelationConfig(), RelationConfig(sink=True)
BY_LAYER = RelationConfig(layers=("windows:3", "own", "all", "windows:5", "own", "all"), sink=True)
BATCH = Batch.from_tokens(np.random.default_rng(0).integers(0, TYPES, (3, 12)).astype(np.int32))
DIALS = {
    "one λ": Dial(jnp.float32(0.6), jnp.float32(0.9)),
    "one λ each": Dial(jnp.array([0.0, 0.4, 1.0]), jnp.array([1.0, 0.7, 1.3])),
}
REQUEST = Request(stats=StatsRequest(delta=True), weights=True)


def network(model: ModelConfig = MODEL, relation: RelationConfig = PLAIN) -> Network:
    config = Config(model=model, partition=PartitionConfig(size=4), relation=relation)
    return Network(Transformer(model, TYPES), build_partition(config.partition), build_rules(config))


@cache
def params(model: ModelConfig = MODEL) -> Any:
    drawn = network(model).init(BATCH, jax.random.key(0))
    leaves, tree = jax.tree.flatten(drawn)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return jax.tree.unflatten(
        tree, [x + 0.2 * jax.random.normal(key, x.shape) for key, x in zip(keys, leaves, strict=True)]
    )


@partial(jax.jit, static_argnames="request")
def looped(net: Network, weights: Any, dial: Dial, request: Request, keys: Any = None) -> ModelOutput:
    return net(weights, BATCH, dial, request, keys)


@partial(jax.jit, static_argnames="request")
def unrolled(net: Network, weights: Any, dial: Dial, request: Request, keys: Any = None) -> ModelOutput:
    """The module itself, which has its layers one by one."""
    batch = BATCH
    return net.module.apply(
        {"params": weights},
        batch.tokens,
        batch.positions,
        net.blocks(batch),
        batch.doc_ids,
        dial,
        request,
        keys,
    )  # type: ignore[return-value]


def near(found: Any, want: Any, tolerance: float = 1e-5) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(want)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("relation", [PLAIN, BY_LAYER], ids=["alike", "by layer"])
@pytest.mark.parametrize("dial", DIALS)
def test_a_loop_gives_the_values_and_statistics_of_layers_one_by_one(
    dial: str, relation: RelationConfig
) -> None:
    net = network(relation=relation)
    assert scans(net.module) and MODEL.n_layers > UNROLLED
    near(looped(net, params(), DIALS[dial], REQUEST), unrolled(net, params(), DIALS[dial], REQUEST))


def test_a_loop_is_told_from_one_with_the_layers_in_another_order() -> None:
    """The comparison above sees a layer in the wrong place."""
    net, weights = network(), dict(params())
    weights["layer_0"], weights["layer_5"] = weights["layer_5"], weights["layer_0"]
    found = looped(net, weights, DIALS["one λ"], Request()).logits
    want = unrolled(net, params(), DIALS["one λ"], Request()).logits
    assert np.abs(np.asarray(found) - np.asarray(want)).max() > 1e-2


def test_a_loop_has_the_dropout_of_layers_one_by_one() -> None:
    net, keys = network(), jax.random.split(jax.random.key(7), 3)
    found = looped(net, params(), DIALS["one λ each"], Request(), keys).logits
    near(found, unrolled(net, params(), DIALS["one λ each"], Request(), keys).logits)
    assert np.abs(found - looped(net, params(), DIALS["one λ each"], Request()).logits).max() > 1e-2


def test_a_loop_has_the_gradients_of_layers_one_by_one() -> None:
    net, dial = network(relation=BY_LAYER), DIALS["one λ each"]

    def loss(run: Any, weights: Any) -> Any:
        return jnp.mean(jax.nn.log_softmax(run(weights).logits)[..., 0])

    found = jax.grad(lambda weights: loss(lambda w: looped(net, w, dial, Request()), weights))(params())
    want = jax.grad(lambda weights: loss(lambda w: unrolled(net, w, dial, Request()), weights))(params())
    assert max(float(np.abs(one).max()) for one in jax.tree.leaves(want)) > 1e-3
    near(found, want)


def test_weights_are_arguments_of_the_program() -> None:
    """No array of their size is a constant in it."""
    net, dial = network(), DIALS["one λ"]
    run = jax.jit(lambda weights: net(weights, BATCH, dial, Request()).logits)
    text = run.lower(params()).as_text()
    constants = [
        int(np.prod([int(one) for one in shape.split("x")[:-1] or ["1"]]))
        for shape in re.findall(r"stablehlo.constant dense<[^>]*> : tensor<([^>]*)>", text)
    ]
    smallest = min(x.size for x in jax.tree.leaves(params()) if x.ndim > 1)
    splats = re.findall(
        r'stablehlo.constant dense<"', text
    )  # those with numbers of their own, in hexadecimal
    assert constants and not splats and smallest >= 128
    held = jax.jit(lambda: net(params(), BATCH, dial, Request()).logits).lower().as_text()
    assert re.findall(r'stablehlo.constant dense<"', held)  # what it would look like otherwise


ADAPTED = replace(MODEL, dropout=0.0, adapters=AdapterConfig(rank=3))


@cache
def adapted_params(scale: float) -> Any:
    """Those of the model without adapters, and adapters that are far from nothing."""
    own, base = params(ADAPTED), params(replace(ADAPTED, adapters=AdapterConfig()))
    found = {}
    for name, part in own.items():
        found[name] = dict(base[name]) if isinstance(part, dict) and name in base else base[name]
        if "attention" in (part if isinstance(part, dict) else {}):
            extra = {
                one: part["attention"][one] for one in part["attention"] if one.endswith(("_down", "_up"))
            }
            assert len(extra) == 8
            more = jax.tree.map(lambda x: scale * x, extra)
            found[name]["attention"] = {**base[name]["attention"], **more}
    return found


def adapted(
    scale: float, lam: Any, margin: MarginConfig = MODEL.margin, relation: RelationConfig = PLAIN
) -> np.ndarray:
    net = network(replace(ADAPTED, margin=margin), relation)
    dial = Dial(jnp.asarray(lam, jnp.float32), jnp.float32(1.0))
    return np.asarray(looped(net, adapted_params(scale), dial, Request()).logits)


def test_at_λ_0_adapters_margin_and_blocks_change_no_bit() -> None:
    base = adapted(0.0, 0.0)
    for scale in (1.0, 30.0, np.inf, np.nan):
        np.testing.assert_array_equal(adapted(scale, 0.0), base)
    other = replace(MODEL.margin, m0=9.0, c=4.0)
    np.testing.assert_array_equal(adapted(1.0, 0.0, other, SINK), base)
    assert np.abs(adapted(1.0, 1e-3) - adapted(0.0, 1e-3)).max() > 0
    assert np.abs(adapted(1.0, 0.0) - adapted(1.0, 0.5)).max() > 1e-2


def test_one_example_at_λ_0_beside_others_is_the_base_too() -> None:
    lams = [0.0, 0.5, 1.0]
    np.testing.assert_array_equal(adapted(5.0, lams)[0], adapted(0.0, lams)[0])


def test_at_λ_0_the_program_is_that_without_a_dial_bit_for_bit() -> None:
    """In float32 on the CPU: against a model without adapters, under a plain causal mask, with no margin."""
    model = replace(ADAPTED, adapters=AdapterConfig(), margin=MarginConfig(nats=0.0), layer_beta=0.0)
    net = Network(Transformer(model, TYPES), build_partition(PartitionConfig(size=12)))
    dial = Dial(jnp.float32(0.0), jnp.float32(1.0))
    want = jax.jit(lambda weights: net(weights, BATCH, dial, Request()).logits)(params(model))
    np.testing.assert_array_equal(adapted(7.0, 0.0), np.asarray(want))


def program(layers: int) -> jax.stages.Lowered:
    net = network(replace(MODEL, n_layers=layers, dropout=0.0))
    weights = jax.eval_shape(lambda: net.init(BATCH, jax.random.key(0)))
    return jax.jit(lambda w, dial: net(w, BATCH, dial, REQUEST)).lower(weights, DIALS["one λ"])


def test_thirty_layers_make_a_program_no_longer_than_three_times_that_of_two() -> None:
    """Two layers stand one by one; without the loop, thirty are 15 times as long."""
    lines = {layers: program(layers).as_text().count("\n") for layers in (2, 30)}
    assert lines[30] <= 3 * lines[2], lines


@pytest.mark.slow
def test_thirty_layers_compile_in_three_times_the_time_of_two() -> None:
    """The best of three each, so that another process does not decide."""
    import time

    def seconds(layers: int) -> float:
        best = np.inf
        for _ in range(3):
            jax.clear_caches()
            start = time.perf_counter()
            program(layers).compile()
            best = min(best, time.perf_counter() - start)
        return best

    assert seconds(30) <= 3.0 * seconds(2)

"""What of a layer is kept for its gradient, counted in bytes; and that the gradient is the same."""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from aila_jax.config import ModelConfig, Remat
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.shards import mapped_part, specs_of
from aila_jax.model.transformer import Transformer
from aila_jax.partition.kinds import Windows
from tests.support.tiny import VOCAB_SIZE, random_batch

SHALLOW = ModelConfig(length=12, d_model=16, n_heads=2, d_ff=32, n_layers=2, film=True)
DEEP = replace(SHALLOW, n_layers=5)
ROWS = 4
DIAL = Dial(np.linspace(0, 1, ROWS, dtype=np.float32), np.float32(1))


def network(model: ModelConfig, remat: Remat) -> Network:
    return Network(Transformer(model, VOCAB_SIZE, remat=remat), Windows())


@cache
def params(model: ModelConfig):
    drawn = network(model, Remat.AUTO).init(random_batch(ROWS), jax.random.key(0))
    return jax.tree.map(lambda x: x + 0.05, drawn)


def loss(net: Network, weights, dial: Dial = DIAL):
    logits = net(weights, random_batch(ROWS), dial, Request()).logits
    return jnp.mean(jax.nn.log_softmax(logits)[..., 0])


def kept(net: Network, weights) -> list[jax.ShapeDtypeStruct]:
    """What the forward pass leaves for the gradient."""
    return jax.tree.leaves(jax.eval_shape(lambda tree: jax.vjp(partial(loss, net), tree)[1], weights))


def size(arrays) -> int:
    return sum(one.size * one.dtype.itemsize for one in arrays)


@pytest.mark.parametrize("model", [SHALLOW, DEEP], ids=["one by one", "in a loop"])
def test_the_more_is_computed_again_the_less_is_kept(model):
    none, dots, full, auto = (
        size(kept(network(model, remat), params(model)))
        for remat in (Remat.NONE, Remat.DOTS, Remat.FULL, Remat.AUTO)
    )
    assert none > dots > full
    assert auto == (full if model is DEEP else none)


def test_of_a_layer_that_is_computed_again_its_input_alone_is_kept():
    """So that each layer more keeps one residual stream more, beside its parameters."""
    more = replace(DEEP, n_layers=6)
    grown = [size(kept(network(model, Remat.FULL), params(model))) for model in (DEEP, more)]
    stream = 4 * ROWS * DEEP.length * DEEP.d_model
    weights = size(jax.tree.leaves(params(more))) - size(jax.tree.leaves(params(DEEP)))
    # But for a bias that no gradient reads, and a λ an example: less than one number a token.
    assert abs(grown[1] - grown[0] - stream - weights) < 4 * ROWS * DEEP.length


@pytest.mark.parametrize("model", [SHALLOW, DEEP], ids=["one by one", "in a loop"])
def test_the_gradient_is_the_same_whatever_is_computed_again(model):
    none, *others = (
        jax.jit(jax.grad(partial(loss, network(model, remat))))(params(model))
        for remat in (Remat.NONE, Remat.DOTS, Remat.FULL)
    )
    assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(none)) > 1e-3
    for other in others:
        for mine, yours in zip(jax.tree.leaves(other), jax.tree.leaves(none), strict=True):
            np.testing.assert_allclose(mine, yours, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("remat", [Remat.NONE, Remat.DOTS, Remat.FULL])
@pytest.mark.parametrize("model", [SHALLOW, DEEP], ids=["one by one", "in a loop"])
def test_weights_that_were_gathered_are_not_kept(model, remat):
    """Traced on a mesh that is not there: a device keeps its own fourth of each kernel, and no whole one."""
    mesh = AbstractMesh((1, 4, 1), ("data", "fsdp", "tensor"))
    specs = jax.tree.map(mapped_part, specs_of(params(model), dict(mesh.shape)))
    shapes: list[tuple[int, ...]] = []

    def on_device(parts):
        value, back = jax.vjp(partial(loss, network(model, remat), dial=Dial(0.5, 1.0)), parts)
        shapes.extend(one.shape for one in jax.tree.leaves(back))
        return value

    mapped = jax.shard_map(
        on_device, mesh=mesh, in_specs=(specs,), out_specs=PartitionSpec(),
        axis_names={"data", "fsdp"}, check_vma=False,
    )  # fmt: skip
    jax.eval_shape(mapped, params(model))
    inner = {shape[1:] if model is DEEP and shape[:1] == (5,) else shape for shape in shapes}
    assert (4, 32) in inner and (32, 4) in inner, "the parts of the feed-forward kernels are"
    assert not {(16, 32), (32, 16), (16, 2, 8), (2, 8, 16), (16, 16)} & inner

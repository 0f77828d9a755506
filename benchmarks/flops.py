"""What training adapters on a frozen base saves: floating-point operations of a step's matrix products, as
its program says.

    python -m benchmarks.flops

prints them a token for the shape of SmolLM2-135M and 8 sequences of 256 tokens: of a forward pass, of a step
that trains adapters alone, with a teacher and without, and of one that trains all weights. No weights are
read, and nothing is run. (XLA's own count takes a loop's body once, however often it runs.)
"""

from collections.abc import Iterator
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend import core

from aila_jax.config import (
    AdapterConfig,
    Config,
    FeedForwardKind,
    MarginConfig,
    ModelConfig,
    NormKind,
)
from aila_jax.inference.inputs import example_batch
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.parts import base_part, dial_part
from aila_jax.model.transformer import Transformer
from aila_jax.partition.kinds import Windows
from aila_jax.training.state import create_state
from aila_jax.training.step import Objective, make_train_step

SMOLLM2 = ModelConfig(
    length=256,
    d_model=576,
    n_heads=9,
    n_kv_heads=3,
    d_ff=1536,
    n_layers=30,
    rotary_base=100_000.0,
    norm=NormKind.RMS,
    feed_forward=FeedForwardKind.SWIGLU,
    learned_positions=False,
    out_bias=False,
    mlp_bias=False,
    margin=MarginConfig(gate=1.0),
    adapters=AdapterConfig(rank=8),
)
VOCABULARY = 49_152


def matmul_flops(program: core.Jaxpr) -> int:
    """Floating-point operations of all matrix products of a program, a loop's as often as it runs: 2 of each
    product of two numbers. Branches count with the larger one, a `while` loop once.
    """
    total = 0
    for equation in program.eqns:
        if equation.primitive.name == "dot_general":
            total += _product(equation)
            continue
        inner = [matmul_flops(one) for one in _programs(equation.params)]
        if equation.primitive.name == "cond":
            total += max(inner)
        else:
            total += sum(inner) * equation.params.get("length", 1)
    return total


def _product(equation: Any) -> int:
    (contracted, _), (shared, _) = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    if not contracted or len(shared) == equation.outvars[0].aval.ndim:
        return 0  # rows by rows (`aila_jax.inner`): a sum, or its gradient, written as a product
    return 2 * prod(equation.outvars[0].aval.shape) * prod(left[axis] for axis in contracted)


def _programs(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
    """The programs within an equation: of those that call each other's gradients, the forward one alone."""
    for value in params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            if isinstance(one, core.ClosedJaxpr):
                yield one.jaxpr
            elif isinstance(one, core.Jaxpr):
                yield one


def step_flops(model: ModelConfig, vocabulary: int, rows: int, frozen: bool, objective: Objective) -> int:
    """Of one training step, of adapters on a frozen base or of all weights."""
    config = Config(model=model)
    network = Network(Transformer(model, vocabulary), Windows())
    batch = jax.tree.map(lambda x: jnp.repeat(x, rows, axis=0), example_batch(config))

    def state() -> Any:
        params = network.init(batch, jax.random.key(0))
        trained, base = (dial_part(params), base_part(params)) if frozen else (params, None)
        return create_state(trained, optax.sgd(1.0), jax.random.key_data(jax.random.key(0)), base=base)

    lam, tau = np.ones(rows, np.float32), np.ones(rows, np.float32)
    step = make_train_step(network, optax.sgd(1.0), objective)
    return matmul_flops(jax.make_jaxpr(step)(jax.eval_shape(state), batch, lam, tau).jaxpr)


def forward_flops(model: ModelConfig, vocabulary: int, rows: int) -> int:
    """Of one forward pass with logits."""
    config = Config(model=model)
    network = Network(Transformer(model, vocabulary), Windows())
    batch = jax.tree.map(lambda x: jnp.repeat(x, rows, axis=0), example_batch(config))
    params = jax.eval_shape(lambda: network.init(batch, jax.random.key(0)))
    run = jax.make_jaxpr(lambda p, b: network(p, b, Dial(1.0, 1.0), Request()).logits)
    return matmul_flops(run(params, batch).jaxpr)


def main() -> None:
    rows, chunk = 8, 256
    tokens = rows * SMOLLM2.length
    forward = forward_flops(SMOLLM2, VOCABULARY, rows)
    cases = (
        ("adapters alone", True, Objective(loss_chunk=chunk, frozen=True)),
        ("adapters, taught", True, Objective(loss_chunk=chunk, frozen=True, taught=0.5)),
        ("all weights", False, Objective(loss_chunk=chunk)),
    )
    print(f"{'forward pass':<18}{forward / tokens / 1e6:8.1f} MFLOP a token")
    for name, frozen, objective in cases:
        flops = step_flops(SMOLLM2, VOCABULARY, rows, frozen, objective)
        print(f"{name:<18}{flops / tokens / 1e6:8.1f} MFLOP a token, {flops / forward:.2f} forward passes")


if __name__ == "__main__":
    main()

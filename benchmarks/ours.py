"""Our own training step and sweep cell, called as the product calls them."""

import time
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from aila_jax.config import (
    Config,
    DialMode,
    LocalityConfig,
    MarginConfig,
    MarginForm,
    ModelConfig,
    RelationConfig,
    Remat,
)
from aila_jax.evaluation.evaluator import Evaluation, eval_step
from aila_jax.loss.scores import scores_of
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.transformer import Transformer
from aila_jax.partition.build import Partition, build_partition
from aila_jax.partition.kinds import Classes, Given, Segments
from aila_jax.partition.rule_tables import build_rules
from aila_jax.training.locality import draw_locality
from aila_jax.training.optimizer import build_optimizer
from aila_jax.training.sharding import AXIS, Sharding, map_step
from aila_jax.training.state import create_state
from aila_jax.training.step import Objective, make_train_step
from aila_jax.types import Array, Batch
from benchmarks.forms import SWEEP, TRAIN, OursForm
from benchmarks.shapes import Shape
from benchmarks.workload import draw_weights

LAM = 0.6  # of the contestants with a fixed λ; its value changes nothing but the numbers


def model_config(form: OursForm, shape: Shape, exact: bool) -> ModelConfig:
    """The model of one contestant."""
    margin = MarginConfig(
        form=MarginForm.SELF_SCALING if form.self_scaling else MarginForm.FIXED,
        stagger=0.75 if form.staggered else 0.0,
        gate=1.0 if form.shift else 0.0,
    )
    return replace(
        shape.config.model,
        film=form.film,
        margin=margin,
        rotary_base=1000.0 if form.rotary else shape.config.model.rotary_base,
        score_cap=4.0 if form.capped else 0.0,
        dial_weights="qkv" if form.dial_weights else "none",
        dtype="float32" if exact else shape.dtype,
    )


def blocks_config(form: OursForm, shape: Shape) -> Config:
    """The shape's configuration, with the windows and the relation of one contestant; windows end with the
    text, so that the toy shape has a shift too.
    """
    if not form.shift:
        return shape.config
    size = min(2 * form.shift, shape.config.model.length)
    windows = replace(shape.config.partition, size=size)
    return replace(shape.config, partition=windows, relation=RelationConfig(shift=size // 2))


def draw_partition(form: OursForm, shape: Shape, seed: int = 0) -> Partition:
    """The partition of one contestant; a tenth of the types close segments, and there are 52 classes,
    drawn.
    """
    draw = np.random.default_rng(seed)
    drawn = {
        "windows": build_partition(blocks_config(form, shape).partition),
        "given": Given(),
        "segments": Segments(draw.random(shape.vocab_size) < 0.1),
        "classes": Classes(draw.integers(0, 52, shape.vocab_size).astype(np.int32)),
    }
    return drawn[form.partition]


def make_batch(tokens: Int[np.ndarray, "B L+1"]) -> Batch:
    """A batch whose every target is scored: one document without end."""
    batch = Batch.from_tokens(tokens[:, :-1])
    return replace(batch, targets=tokens[:, 1:], weights=np.ones(batch.weights.shape, np.float32))


def add_film(weights: dict[str, Any], seed: int = 1) -> dict[str, Any]:
    """The weights with random FiLM vectors; at λ = 0 they must not matter."""
    draw, width = np.random.default_rng(seed), weights["embedding"].shape[1]

    def vectors() -> dict[str, Any]:
        return {
            name: (0.1 * draw.standard_normal(width)).astype(np.float32)
            for name in ("film_scale", "film_shift")
        }

    layers = {
        name: {
            **layer,
            "attention_norm": {**layer.get("attention_norm", {}), **vectors()},
            "mlp_norm": {**layer["mlp_norm"], **vectors()},
        }
        for name, layer in weights.items()
        if name.startswith("layer_")
    }
    return {**weights, **layers, "final_norm": {**weights["final_norm"], **vectors()}}


def add_dial_weights(weights: dict[str, Any], seed: int = 2) -> dict[str, Any]:
    """The weights with random parts that turn with the dial; at λ = 0 they must not matter."""
    draw = np.random.default_rng(seed)

    def turning(attention: dict[str, Any]) -> dict[str, Any]:
        shape = attention["query"]["kernel"].shape
        return {
            f"{name}_dial": {"kernel": (0.1 * draw.standard_normal(shape)).astype(np.float32)}
            for name in ("query", "key", "value")
        }

    layers = {
        name: {**layer, "attention": {**layer["attention"], **turning(layer["attention"])}}
        for name, layer in weights.items()
        if name.startswith("layer_")
    }
    return {**weights, **layers}


@partial(jax.jit, static_argnames=("evaluation", "mesh"))
def eval_without_stats(
    network: Network,
    params: Any,
    batch: Batch,
    dial: Dial,
    evaluation: Evaluation,
    mesh: Mesh,
) -> tuple[Array, Array]:
    """Summed loss and correct targets: the sweep cell without its statistics, on one device (`mesh` is
    eval_step's alone).
    """
    output = network(params, batch, dial, Request(logits=evaluation.loss_chunk == 0))
    scores = scores_of(output, params, batch, evaluation.loss_chunk)
    scored = batch.weights > 0
    return jnp.sum(scores.losses, where=scored), jnp.sum(scores.first & scored)


class OursRunner:
    """See `benchmarks.runner.Runner`."""

    def __init__(
        self,
        form: OursForm,
        shape: Shape,
        tokens: Int[np.ndarray, "batches B L+1"],
        exact: bool,
        tasks: tuple[str, ...],
    ):
        config = replace(shape.config, model=model_config(form, shape, exact))
        locality = LocalityConfig(
            mode=DialMode.CONDITIONAL if form.conditional else DialMode.FIXED,
            lam=LAM,
            views=form.views,
            distill=form.distill,
            pressure=form.pressure,
        )
        chunk = shape.chunk if form.chunk < 0 else form.chunk
        rules = build_rules(blocks_config(form, shape))
        # As its twins, it computes nothing again for the gradient.
        decoder = Transformer(config.model, shape.vocab_size, remat=Remat.NONE)
        network = Network(decoder, draw_partition(form, shape), rules)
        optimizer = build_optimizer(config.train)
        sharding = Sharding(Mesh(np.asarray(jax.local_devices()[:1]), (AXIS,)))
        weights = draw_weights(config.model, shape.vocab_size)
        weights = add_film(weights) if form.film else weights
        weights = add_dial_weights(weights) if form.dial_weights else weights
        params = sharding.replicate(weights)
        # NumPy's, because the step takes the state's arrays for itself.
        key = np.asarray(jax.random.key_data(jax.random.key(0)))
        self.state = sharding.replicate(create_state(params, optimizer, key))
        self.eval_params = sharding.replicate(weights)
        self.batches = [sharding.shard(make_batch(one)) for one in tokens]
        rows = shape.batch_size
        self.zero, self.fixed, self.one = (
            sharding.shard(np.full(rows, value, np.float32)) for value in (0.0, LAM, 1.0)
        )
        draw = partial(draw_locality, locality, config.train.steps, rows, key)
        self.draw = jax.jit(draw, out_shardings=sharding.batch)
        self.compile_seconds: dict[str, float] = {}
        self.versions: dict[str, str] = {}
        step = make_train_step(
            network,
            optimizer,
            Objective(loss_chunk=chunk, distill=form.distill, pressure=form.pressure),
            axis_name=AXIS,
        )
        evaluate: Any = eval_step if form.stats else eval_without_stats
        with jax.default_matmul_precision("highest" if exact else "default"):
            if TRAIN in tasks:
                jitted: Any = map_step(step, sharding)
                began = time.perf_counter()
                self.step = jitted.lower(self.state, self.batches[0], *self.draw(0)).compile()
                self.compile_seconds[TRAIN] = time.perf_counter() - began
            if SWEEP in tasks:
                arguments = (
                    network,
                    self.eval_params,
                    self.batches[0],
                    Dial(self.zero, self.one),
                    Evaluation(loss_chunk=chunk),
                    sharding.mesh,
                )
                began = time.perf_counter()
                self.cell = evaluate.lower(*arguments).compile()
                self.compile_seconds[SWEEP] = time.perf_counter() - began
        self.network = network
        self.form = form

    def train(self, index: int, ordinary: bool = False) -> tuple[Any, Any]:
        lam, tau = (self.zero, self.one) if ordinary else self.draw(index)
        self.state, metrics = self.step(self.state, self.batches[index % len(self.batches)], lam, tau)
        return metrics.loss, metrics.grad_norm

    def evaluate(self, index: int, ordinary: bool = False) -> tuple[Any, Any]:
        lam = self.zero if ordinary else self.fixed
        sums = self.cell(
            self.network, self.eval_params, self.batches[index % len(self.batches)], Dial(lam, self.one)
        )
        return sums if isinstance(sums, tuple) else (sums.loss, sums.correct)

    def wait(self, value: Any) -> None:
        jax.block_until_ready(value)

    def device_peak_bytes(self) -> int | None:
        return jax_peak_bytes()


def jax_peak_bytes() -> int | None:
    """Most memory that JAX has held on its device; None where it does not count, as on CPUs."""
    stats = jax.local_devices()[0].memory_stats()
    return None if not stats else int(stats["peak_bytes_in_use"])

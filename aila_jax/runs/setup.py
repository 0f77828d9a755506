"""How a run starts: its parameters at step 0, the λ, τ and penalty strength of each step, and what it is
watched by.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import PRNGKeyArray

from aila_jax.config import Config, DialMode, Solver, TrainedPart
from aila_jax.data.packing import Windows as TokenWindows
from aila_jax.data.pipeline import eval_batches
from aila_jax.evaluation.evaluator import Evaluation
from aila_jax.evaluation.evaluator import evaluate as evaluate_batches
from aila_jax.inference.inputs import example_batch
from aila_jax.metrics.sums import perplexity, summarize
from aila_jax.model.interface import Dial
from aila_jax.model.layers import INIT_STD
from aila_jax.model.network import Network
from aila_jax.model.parts import base_part, dial_part, merged, turns_with_dial
from aila_jax.model.transformer import Transformer
from aila_jax.partition.kinds import Windows
from aila_jax.training.locality import draw_locality
from aila_jax.training.penalty import initial_importance, penalty_strength
from aila_jax.training.sharding import Sharding
from aila_jax.training.state import TrainState, create_state
from aila_jax.types import Array

# The seed's own key for each kind of draw, so that none repeats another's.
STREAMS = ("params", "draws", "dropout")


def key_of(config: Config, stream: str) -> PRNGKeyArray:
    """The key of one of `STREAMS`, a function of the run's seed."""
    return jax.random.fold_in(jax.random.key(config.seed), STREAMS.index(stream))


def initial_state(
    config: Config, module: Transformer, optimizer: Any, params: Any | None = None
) -> TrainState:
    """Parameters and optimizer state at step 0: drawn from the run's seed, or `params`, with nothing that
    their own training knew of them. What turns with the dial and is not among `params` is drawn.

    Where the base is frozen, or teaches, it is kept beside what is trained.
    """
    key_dropout = jax.random.key_data(key_of(config, "dropout"))
    if params is None:
        params = drawn_params(config, module)
    base, frozen = base_part(params), config.train.trained == TrainedPart.DIAL
    if turns_with_dial(config.model) and not dial_part(params):
        params = merged(drawn_dial_part(config, module), params)
    trained = dial_part(params) if frozen else params
    kept = base if frozen or config.locality.taught else None
    return create_state(trained, optimizer, key_dropout, initial_importance(config), kept)


def drawn_params(config: Config, module: Transformer) -> Any:
    """Parameters from the run's seed."""
    # They depend on no partition, so any will do, and one without a table needs no corpus.
    return Network(module, Windows()).init(example_batch(config), key_of(config, "params"))


def drawn_dial_part(config: Config, module: Transformer) -> Any:
    """Parameters from the run's seed, of those alone that turn with the dial: A of the adapters normal, all
    else 0. (To make them with the others would take a deep model a minute.)
    """
    shapes = dial_part(jax.eval_shape(lambda: drawn_params(config, module)))
    key = key_of(config, "params")

    def draw(path: tuple[Any, ...], shape: jax.ShapeDtypeStruct) -> Array:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if not name.endswith("_down/kernel"):
            return jnp.zeros(shape.shape, shape.dtype)
        own = jax.random.fold_in(key, zlib.crc32(name.encode()))
        return INIT_STD * jax.random.normal(own, shape.shape, shape.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def locality_draws(config: Config, sharding: Sharding) -> Any:
    """step → (λ [B], τ [B]) on the devices, one compiled draw for all steps; a function of seed and step
    only.
    """
    key = key_of(config, "draws")
    draw = jax.jit(
        partial(draw_locality, config.locality, config.train.steps, config.train.batch_size),
        out_shardings=sharding.batch,
    )
    return lambda step: draw(key, np.int32(step))


def step_draws(config: Config, sharding: Sharding) -> Any:
    """step → what a training step takes beside its batch: (λ [B], τ [B]) and, with a penalty, its
    strength.
    """
    draw = locality_draws(config, sharding)
    if config.penalty.solver == Solver.NONE:
        return draw
    strength = jax.jit(partial(penalty_strength, config), out_shardings=sharding.replicated)
    return lambda step: (*draw(step), strength(np.int32(step)))


def member_draws(configs: Sequence[Config], split: NamedSharding) -> Any:
    """step → what `step_draws` gives for each of several runs that differ in seed and λ, along a first axis
    that lies as `split` says; one compiled draw for all of them.
    """
    keys = [key_of(config, "draws") for config in configs]

    @partial(jax.jit, out_shardings=split)
    def draw(keys: list[PRNGKeyArray], step: Array) -> Any:
        found = []
        for config, key in zip(configs, keys, strict=True):
            train = config.train
            drawn = draw_locality(config.locality, train.steps, train.batch_size, key, step)
            penalised = config.penalty.solver != Solver.NONE
            found.append((*drawn, *([penalty_strength(config, step)] if penalised else [])))
        return jax.tree.map(lambda *each: jnp.stack(each), *found)

    return lambda step: draw(keys, np.int32(step))


def evaluated_lams(config: Config) -> tuple[float, ...]:
    """The λ at which training is watched: both ends of the dial for conditional training, its own λ
    otherwise.
    """
    return (0.0, 1.0) if config.locality.mode == DialMode.CONDITIONAL else (config.locality.lam,)


def eval_record(
    config: Config,
    network: Network,
    params: Any,
    batches: list[Any],
    sharding: Sharding,
    lam: float,
) -> dict[str, Any]:
    """The numbers of one evaluation during training, at λ and the run's τ (where that is drawn, its
    median).
    """
    batch_size = config.train.batch_size
    tau = config.locality.median_tau
    lams, taus = np.full(batch_size, lam, np.float32), np.full(batch_size, tau, np.float32)
    sums = evaluate_batches(
        network,
        params,
        batches,
        Dial(lams, taus),
        sharding,
        Evaluation(config.model.hard, config.train.loss_chunk, answers=batches[0].pointers is not None),
    )
    summary = summarize(sums)
    pointed = summary.pointers
    answers: dict[str, float | None] = {}
    if pointed is not None:
        answers["pointer_fidelity"] = float(pointed.fidelity.mean())
        if batches[0].pointers is not None:
            answers["accuracy_determined"] = pointed.accuracy_determined
    for name, mass in (("pointer_mass", summary.pointer_mass), ("sink_mass", summary.sink_mass)):
        if mass is not None:
            answers[name] = float(mass.mean())
    return {
        "lam": lam,
        "tau": tau,
        "loss": summary.loss,
        "perplexity": perplexity(summary.loss),
        "accuracy": summary.accuracy,
        "entropy_bits": float(summary.entropy_bits.mean()),
        "block_mass": float(summary.block_mass.mean()),
        "targets": summary.targets,
        **answers,
    }


@dataclass(frozen=True)
class Measured:
    """What evaluations during training are of.

    Attributes:
      config: the run's.
      network: its decoder and partition.
      validation: the split's windows.
      sharding: where its batches go.
    """

    config: Config
    network: Network
    validation: TokenWindows
    sharding: Sharding

    def records(self, params: Any, batches: int) -> list[dict[str, Any]]:
        """One for each λ that training is watched at; 0 batches are all."""
        config = self.config
        chosen = list(eval_batches(self.validation, config.train.batch_size, batches, config.sweep.part))
        return [
            eval_record(config, self.network, params, chosen, self.sharding, lam)
            for lam in evaluated_lams(config)
        ]

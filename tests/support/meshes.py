"""Training steps on a mesh of simulated devices, for programs that tests run in a process of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from aila_jax.config import Config, LocalityConfig, MeshConfig, ModelConfig, TrainConfig
from aila_jax.evaluation.evaluator import evaluate
from aila_jax.metrics.sums import MetricSums
from aila_jax.model.interface import Dial
from aila_jax.model.network import Network
from aila_jax.model.transformer import build_transformer
from aila_jax.partition.kinds import Windows
from aila_jax.runs._train import mapped_step
from aila_jax.runs.setup import drawn_params, initial_state, step_draws
from aila_jax.training.optimizer import build_optimizer
from aila_jax.training.sharding import AXIS, Sharding, device_bytes, mesh_sharding, whole_bytes
from aila_jax.training.state import TrainState
from tests.support.tiny import VOCAB_SIZE, random_batch

ROWS, STEPS = 16, 20
MODEL = ModelConfig(
    length=12, d_model=32, n_heads=8, n_kv_heads=4, d_ff=64, n_layers=2, dropout=0.1, film=True
)


def mesh_config(mesh: tuple[int, int, int], model: ModelConfig = MODEL, **train: Any) -> Config:
    """A conditional run of STEPS steps on that mesh."""
    settings = {"steps": STEPS, "batch_size": ROWS, "warmup_steps": 4, **train}
    return Config(
        model=model,
        locality=LocalityConfig(mode="conditional"),  # type: ignore[arg-type]
        mesh=MeshConfig(*mesh),
        train=TrainConfig(**settings),
    )


def one_device() -> Sharding:
    """The first device alone."""
    return Sharding(Mesh(np.asarray(jax.devices()[:1]), (AXIS,)))


@dataclass
class Placed:
    """A run's parts on its devices.

    Attributes:
      config: its settings.
      sharding: where it is.
      network: what is trained.
      state: as the last step left it.
      step: compiled once.
      draw: λ and τ of a step.
    """

    config: Config
    sharding: Sharding
    network: Network
    state: TrainState
    step: Callable[..., Any]
    draw: Callable[[int], tuple[Any, ...]]

    @classmethod
    def begin(cls, config: Config, sharding: Sharding | None = None) -> "Placed":
        sharding = mesh_sharding(config) if sharding is None else sharding
        network = Network(build_transformer(config, VOCAB_SIZE), Windows())
        optimizer = build_optimizer(config.train, config.penalty, config.feature_groups)
        start = None
        if config.train.trained == "dial":
            start = jax.tree.map(lambda x: np.array(x) + 0.02, drawn_params(config, network.module))
        make = partial(initial_state, config, network.module, optimizer)
        state = sharding.begin(make, start)
        step = mapped_step(config, network, optimizer, sharding, state)
        return cls(config, sharding, network, state, step, step_draws(config, sharding))

    def batch(self, step: int) -> Any:
        """That of a step."""
        batch = random_batch(self.config.train.batch_size, step % 7)
        return self.sharding.shard(batch)

    def losses(self, steps: int = STEPS) -> list[float]:
        """Of so many steps."""
        found = []
        for step in range(steps):
            self.state, metrics = self.step(self.state, self.batch(step), *self.draw(step))
            found.append([float(metrics.loss), float(metrics.grad_norm), *map(float, metrics.bin_loss)])
        return found

    def measured(self) -> MetricSums:
        """Sums over two batches, at every example's own λ."""
        rows = self.config.train.batch_size
        dial = Dial(np.linspace(0, 1, rows, dtype=np.float32), np.ones(rows, np.float32))
        batches = [random_batch(rows, seed) for seed in (30, 31)]
        return evaluate(self.network, self.state.whole, batches, dial, self.sharding)

    def held(self) -> dict[str, list[int]]:
        """Bytes of parameters and optimizer state: on the fullest device, and of the whole."""
        parts = {"params": self.state.params, "opt_state": self.state.opt_state}
        if self.state.base is not None:
            parts["base"] = self.state.base
        return {name: [device_bytes(tree), whole_bytes(tree)] for name, tree in parts.items()}


def numbers(tree: Any) -> list[Any]:
    return [np.asarray(leaf).tolist() for leaf in jax.tree.leaves(tree)]


def facts(placed: Placed, steps: int = STEPS) -> dict[str, Any]:
    """What a mesh is compared by."""
    began = placed.held()
    losses = placed.losses(steps)
    assert placed.held() == began, "the step left arrays where they were"
    traces = placed.step._cache_size()  # type: ignore[attr-defined]
    return {"losses": losses, "held": began, "sums": numbers(placed.measured()), "traces": traces}

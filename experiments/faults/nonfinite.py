"""Numbers that are not finite, put into whole runs: no checkpoint has one."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import optax

from aila_jax import presets, runs
from aila_jax.checkpoint import SaveError, find_checkpoint, whole_steps
from aila_jax.checkpoint.store import not_finite
from aila_jax.config import Config
from aila_jax.runs import _train as training
from aila_jax.training.anchors import AnchorsAtWarmup
from aila_jax.training.loop import NonFiniteError
from experiments.faults.subject import compiled_once, newest, small_config

AT = 12  # the update that is spoiled, from 0; saved are 8, 16, 24
VALUES = (float("nan"), float("inf"), -float("inf"))
PLACES = ("loss", "penalty", "gradient", "update", "optimizer state", "statistics", "adapters")


@dataclass(frozen=True)
class Spoiled:
    """One run.

    Attributes:
      place: where the number was put.
      value: which.
      often: in one update, or in all from then on.
      wrong: what was wrong; empty where nothing was.
    """

    place: str
    value: float
    often: bool
    wrong: str


def spoiled_runs(folder: Path, values: tuple[float, ...] = VALUES) -> list[Spoiled]:
    """A run for each place and value: spoiled in one update, which is left out, and in all, which end it."""
    base, found = folder / "base", []
    with compiled_once(folder / "compiled"):
        runs.train(small_config(), base, quiet=True)
        for place, value in itertools.product(PLACES, values):
            for often in (False, True) if place != "statistics" else (True,):  # they are made once
                here = folder / f"{place} {value} {often}"
                found.append(Spoiled(place, value, often, _wrong(here, base, place, value, often)))
    return found


def _wrong(run: Path, base: Path, place: str, value: float, often: bool) -> str:
    """What is wrong after a run; empty where nothing is."""
    config, start = small_config(max_skipped=2), None
    if place == "adapters":
        config, start = _adapters(base), base
    ended = ""
    with spoiling(place, value, often):
        try:
            runs.train(config, run, quiet=True, start=start)
        except (NonFiniteError, SaveError) as error:
            ended = str(error)
    if often and not ended:
        return "the run did not end"
    if ended and "not finite" not in ended and "non-finite" not in ended:
        return f"it does not say why: {ended}"
    if place == "statistics" and not ended:
        return "the run did not end"
    if place != "statistics" and not often and (ended or newest(run) != config.train.steps):
        return f"one update ended the run: {ended}"
    for step in whole_steps(run / "checkpoints"):
        found = find_checkpoint(run, step)
        where = not_finite({"arrays": _arrays(found.folder)})
        if where:
            return f"step {step} has numbers that are not finite: {where}"
    return ""


def _adapters(base: Path) -> Config:
    config = presets.localised(find_checkpoint(base).config, length=10, rank=2)
    train = replace(config.train, steps=24, checkpoint_every=8, eval_every=12, warmup_steps=1, max_skipped=2)
    return replace(config, train=train)


def _arrays(folder: Path) -> dict[str, Any]:
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        items = [path.name for path in folder.iterdir() if path.is_dir() and path.name != "record"]
        return {item: checkpointer.restore(folder / item) for item in items}


@contextlib.contextmanager
def spoiling(place: str, value: float, often: bool) -> Iterator[None]:
    """Puts a value into a place of the training, at update `AT` and, if `often`, at all later ones."""
    if place == "statistics":
        with patch.object(AnchorsAtWarmup, "__call__", _spoiled_statistics(value)):
            yield
        return
    mapped = training.mapped_step

    def both(config: Config, network: Any, optimizer: Any, sharding: Any, state: Any) -> Callable[..., Any]:
        """The step as it is, and one that is spoiled, of which the host takes its choice."""
        clean = mapped(config, network, optimizer, sharding, state)
        bad = mapped(config, network, _spoiled_optimizer(optimizer, place, value), sharding, state)
        count = itertools.count()

        def step(state: Any, batch: Any, lam: Any, tau: Any, *strength: Any) -> Any:
            number = next(count)
            if number < AT or (number > AT and not often):
                return clean(state, batch, lam, tau, *strength)
            if place in ("loss", "adapters"):
                batch = replace(batch, weights=batch.weights * value)
            if place == "penalty":
                strength = jax.tree.map(lambda leaf: leaf * value, strength)
            return bad(state, batch, lam, tau, *strength)

        return step

    with patch.object(training, "mapped_step", both):
        yield


def _spoiled_statistics(value: float) -> Callable[..., Any]:
    """Anchors whose importance is not finite, as the penalty's weights then are."""
    real = AnchorsAtWarmup.__call__

    def call(self: AnchorsAtWarmup, step: int, state: Any) -> Any:
        state = real(self, step, state) or state
        if self.made is not None:
            self.made = replace(self.made, importance=np.full_like(self.made.importance, value))
        return state

    return call


def _spoiled_optimizer(
    optimizer: optax.GradientTransformationExtraArgs, place: str, value: float
) -> optax.GradientTransformationExtraArgs:
    """One whose gradients, updates or state have the value in each array's first place."""

    def spoil(tree: Any) -> Any:
        def one(leaf: jax.Array) -> jax.Array:
            if not jnp.issubdtype(leaf.dtype, jnp.inexact) or leaf.size == 0:
                return leaf
            return leaf.ravel().at[0].set(value).reshape(leaf.shape)

        return jax.tree.map(one, tree)

    def update(grads: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        updates, after = optimizer.update(
            spoil(grads) if place == "gradient" else grads, state, params, **extra
        )
        return spoil(updates) if place == "update" else updates, spoil(
            after
        ) if place == "optimizer state" else after

    return optax.GradientTransformationExtraArgs(optimizer.init, update)

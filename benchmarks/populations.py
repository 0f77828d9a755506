"""Time of one step of every member of a population, in a loop and under vmap, beside single runs in turn.

    python -m benchmarks.populations --preset=small --members=1,2,4,6 --out=docs/results/populations
    python -m benchmarks.populations --preset=tiny --members=2 --rounds=1

Members differ in λ, seed and learning rate; tokens are drawn. Before anything is timed all three say the same
losses at the same weights, within 1e-4, of two steps.

    single          the program of `aila train`, one run after another
    loop            the one program of a population, one member after another
    vmap            the same, all members side by side

They take turns, in a new order each round; medians and quartiles are over rounds, ratios of the same round.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aila_jax import presets
from aila_jax.cli.huge_pages import restart_in_huge_pages
from aila_jax.config import Config, DialMode, require
from benchmarks.generation import use_cpu
from benchmarks.turns import in_turns, write_files

SINGLE, LOOP, VMAP = "single", "loop", "vmap"
EVERYONE = (SINGLE, LOOP, VMAP)
CLOSE = 1e-4


@dataclass(frozen=True)
class Cell:
    """One contestant at one size of the grid.

    Attributes:
      who: as above.
      members: of the grid.
      apart: largest relative difference of its losses from `single`.
      compile_seconds: of the first step.
      seconds: of a step of all members, one number a round.
    """

    who: str
    members: int
    apart: float
    compile_seconds: float
    seconds: tuple[float, ...]


def fixed(config: Config) -> Config:
    """The configuration at one λ, with one view of each sequence."""
    locality = replace(config.locality, mode=DialMode.FIXED, lam=0.0, views=1, distill=0.0, pressure=0.0)
    return replace(config, locality=locality)


def contestant(who: str, config: Config, members: int, vocabulary: int) -> Callable[[], list[float]]:
    """A function that makes one step of every member and returns their losses."""
    import jax

    from aila_jax.model.network import Network
    from aila_jax.model.transformer import build_transformer
    from aila_jax.partition.build import build_partition
    from aila_jax.runs._train import mapped_step
    from aila_jax.runs.setup import initial_state
    from aila_jax.training.optimizer import build_optimizer
    from aila_jax.training.population import Program, Seats
    from aila_jax.training.sharding import mesh_sharding
    from aila_jax.types import Batch

    rows, draw = config.train.batch_size, np.random.default_rng(0)
    network = Network(build_transformer(config, vocabulary), build_partition(config.partition))
    rates = np.linspace(0.5, 1.0, members, dtype=np.float32) * np.float32(config.train.learning_rate)
    configs = [replace(config, seed=seed, train=replace(config.train, learning_rate=float(rate)))
               for seed, rate in enumerate(rates)]  # fmt: skip
    optimizers = [build_optimizer(one.train) for one in configs]
    states = [
        initial_state(one, network.module, optimizer)
        for one, optimizer in zip(configs, optimizers, strict=True)
    ]
    batches = [Batch.from_tokens(draw.integers(0, vocabulary, (rows, config.model.length)).astype(np.int32))
               for _ in range(members)]  # fmt: skip
    lams = [np.full(rows, lam, np.float32) for lam in np.linspace(0, 1, members)]
    tau = np.ones(rows, np.float32)

    if who == SINGLE:
        sharding = mesh_sharding(config)
        placed = [sharding.place(state) for state in states]
        inputs: list[Any] = [
            sharding.shard((batch, lam, tau)) for batch, lam in zip(batches, lams, strict=True)
        ]
        steps = [mapped_step(one, network, optimizer, sharding, state)
                 for one, optimizer, state in zip(configs, optimizers, placed, strict=True)]  # fmt: skip
        each = 1
    else:
        each = members if who == VMAP else 1
        program = Program.of(config, network, Seats(each))
        groups = [slice(first, first + each) for first in range(0, members, each)]
        placed = [program.seats.stacked(states[group]) for group in groups]
        every = list(zip(batches, lams, [tau] * members, list(rates), strict=True))
        inputs = [program.seats.stacked(every[group]) for group in groups]
        steps = [program.step] * len(groups)

    def step() -> list[float]:
        losses = []
        for place, own in enumerate(inputs):
            placed[place], metrics = steps[place](placed[place], *own)
            losses.append(metrics.loss)
        jax.block_until_ready(placed)
        return [float(loss) for some in jax.device_get(losses) for loss in np.atleast_1d(some)]

    return step


def timed(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measured(config: Config, members: int, vocabulary: int, rounds: int) -> list[Cell]:
    """Everyone at one size of the grid; ValueError where they do not say the same."""
    steps = {who: contestant(who, config, members, vocabulary) for who in EVERYONE}
    said, compiled = {}, {}
    for who, step in steps.items():
        began = time.perf_counter()
        first = step()
        compiled[who] = time.perf_counter() - began
        said[who] = np.array([first, step()])
    apart = {who: float(np.abs(said[who] / said[SINGLE] - 1).max()) for who in EVERYONE}
    for who, by in apart.items():
        require(by <= CLOSE, f"{who}, losses apart by", by, f"at most {CLOSE:g}", "the program is wrong")
    seconds = in_turns({who: partial(timed, step) for who, step in steps.items()}, rounds)
    return [Cell(who, members, apart[who], compiled[who], seconds[who]) for who in EVERYONE]


def table(cells: Sequence[Cell]) -> str:
    """Markdown, a line for each contestant and size."""
    from benchmarks.rounds import quartiles, ratios

    lines = [
        "| members | | ms a member | ÷ single | first step, s | apart |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    by = {(one.members, one.who): one for one in cells}
    for one in cells:
        own = quartiles(1e3 * np.array(one.seconds) / one.members)
        against = ratios(one.seconds, by[one.members, SINGLE].seconds)
        lines.append(
            f"| {one.members} | {one.who} | {own.shown(1)} | {against.shown(2)} |"
            f" {one.compile_seconds:.1f} | {one.apart:.0e} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Proves, measures, prints a table and writes it and JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="small")
    parser.add_argument("--members", default="1,2,4,6", help="sizes of the grid with commas between")
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=0, help="sequences a step; 0: the preset's")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu, or any: what JAX finds")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", default="", help="folder for populations.json and table.md")
    asked = parser.parse_args(arguments)
    if asked.device == "cpu":
        use_cpu(asked.threads)
    from aila_jax.training.sharding import describe_devices
    from benchmarks.record import describe_machine

    config = fixed(presets.preset(asked.preset))
    if asked.batch:
        config = replace(config, train=replace(config.train, batch_size=asked.batch))
    machine, cells = describe_machine(describe_devices()), list[Cell]()
    for members in map(int, asked.members.split(",")):
        cells += measured(config, members, asked.vocabulary, asked.rounds)
        print(table(cells[-len(EVERYONE) :]), flush=True)
    if not asked.out:
        return
    rows = f"{config.train.batch_size} × {config.model.length} tokens, {asked.vocabulary:,} types"
    heading = (
        f"`{asked.preset}`, {rows}. {machine.processor}, {machine.device}, {asked.threads} threads, load"
        f" {machine.load_before:.1f} before; medians and quartiles of {asked.rounds} rounds.\n\n"
    )
    write_files(Path(asked.out), "populations", arguments, machine, cells, heading + table(cells))


if __name__ == "__main__":
    restart_in_huge_pages()  # as aila does
    main(sys.argv[1:])

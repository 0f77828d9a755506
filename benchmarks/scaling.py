"""How time and memory grow with the vocabulary, the layers, the devices, and the settings of a sweep.

    python -m benchmarks.scaling --out=docs/results/scaling
    python -m benchmarks.scaling --axes=grid --grid=1,6 --rounds=1

    vocabulary   loss and gradients of the output layer: 1,024 tokens of width 128, by `chunks` (512 tokens'
                 logits at once) and from `whole` logits
    layers       a training step of a model of width 64: beyond four layers one compiled loop
    devices      a training step of a model of width 256 on so many simulated devices, whose weights and
                 moments `fsdp` shares, or matrices and heads `tensor`; all devices run on the same cores, so
                 that seconds say what sharing costs, not what more devices give
    grid         a sweep of λ and τ over one checkpoint, beside as many `evaluate` calls, on the corpus
                 `recall`; and how many programs both compile

Each cell has a process of its own. Contestants of one size take turns; medians and quartiles are over rounds.
Memory is what the compiler says that a function holds beside its arguments; on devices, of one of them, the
training state with it. Of a grid, which is many calls, it is the rise of the process's resident peak (Linux),
which misses what was freed before and is taken again.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from aila_jax.cli.huge_pages import restart_in_huge_pages
from aila_jax.reporting import save_figure
from aila_jax.reporting.style import CATEGORIES, LIGHT, MARKERS, house_style
from benchmarks.generation import use_cpu
from benchmarks.turns import Contestant, held, in_turns, rise, write_files

TOKENS, WIDTH, CHUNK = 1024, 128, 512
FORMS = {
    "vocabulary": ("chunks", "whole"),
    "layers": ("scanned",),
    "devices": ("fsdp", "tensor"),
    "grid": ("sweep", "evaluate"),
}


@dataclass(frozen=True)
class Cell:
    """One contestant at one size.

    Attributes:
      axis: what grows.
      size: how far.
      who: the contestant.
      first_seconds: of the first call, which compiles.
      seconds: one number a round.
      peak_bytes: held beside the arguments; on devices, by one of them with its part of the state; for a
        grid the rise of the resident peak; None where it is not known.
      programs: that were compiled for it; None where it is not counted.
    """

    axis: str
    size: int
    who: str
    first_seconds: float
    seconds: tuple[float, ...]
    peak_bytes: int | None
    programs: int | None = None


@dataclass(frozen=True)
class Job:
    """What is timed.

    Attributes:
      run: once.
      held: bytes that one run holds.
    """

    run: Callable[[], Any]
    held: Callable[[], int | None]


def vocabulary_job(who: str, size: int) -> Job:
    """Loss and gradients of one chunk size."""
    import jax
    import jax.numpy as jnp

    from aila_jax.loss.cross_entropy import linear_cross_entropy, token_losses

    draw = np.random.default_rng(size)
    features = jnp.asarray(draw.standard_normal((4, TOKENS // 4, WIDTH)), jnp.float32)
    embedding = jnp.asarray(0.1 * draw.standard_normal((size, WIDTH)), jnp.float32)
    targets = jnp.asarray(draw.integers(0, size, features.shape[:2]), jnp.int32)

    def loss(x: Any, e: Any) -> Any:
        if who == "chunks":
            return linear_cross_entropy(x, e, targets, jnp.ones(targets.shape), CHUNK)[0]
        return jnp.sum(token_losses(jnp.einsum("bld,vd->blv", x, e), targets))

    compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    return Job(
        lambda: jax.block_until_ready(compiled(features, embedding)),
        lambda: held(compiled, features, embedding),
    )


def layers_job(who: str, size: int) -> Job:
    """A training step."""
    import jax

    from aila_jax.config import Config, ModelConfig, TrainConfig
    from aila_jax.model.network import Network
    from aila_jax.model.transformer import build_transformer
    from aila_jax.partition.build import build_partition
    from aila_jax.runs.setup import initial_state
    from aila_jax.training.optimizer import build_optimizer
    from aila_jax.training.step import Objective, make_train_step
    from benchmarks.ours import make_batch

    shape = ModelConfig(length=64, d_model=64, n_heads=2, d_ff=128, n_layers=size)
    config = Config(model=shape, train=TrainConfig(steps=100, batch_size=4, loss_chunk=0))
    module = build_transformer(config, 512)
    optimizer = build_optimizer(config.train, config.penalty, 0)
    network = Network(module, build_partition(config.partition))
    state = initial_state(config, module, optimizer)
    step = jax.jit(make_train_step(network, optimizer, Objective.of(config)))
    batch = make_batch(np.random.default_rng(0).integers(0, 512, (4, 65)).astype(np.int32))
    lam, tau = np.full(4, 0.6, np.float32), np.ones(4, np.float32)
    return Job(
        lambda: jax.block_until_ready(step(state, batch, lam, tau)[1].loss),
        lambda: held(step, state, batch, lam, tau),
    )


def devices_job(who: str, size: int) -> Job:
    """A training step on a mesh of simulated devices."""
    import jax

    jax.config.update("jax_num_cpu_devices", size)
    from aila_jax.config import Config, MeshConfig, ModelConfig, TrainConfig
    from aila_jax.model.network import Network
    from aila_jax.model.transformer import build_transformer
    from aila_jax.partition.build import build_partition
    from aila_jax.runs._train import mapped_step
    from aila_jax.runs.setup import initial_state, step_draws
    from aila_jax.training.optimizer import build_optimizer
    from aila_jax.training.sharding import device_bytes, mesh_sharding
    from benchmarks.ours import make_batch

    config = Config(
        model=ModelConfig(length=64, d_model=256, n_heads=8, d_ff=1024, n_layers=2),
        mesh=MeshConfig(**{"data": 1, who: size}),
        train=TrainConfig(steps=10**6, batch_size=16, loss_chunk=256),
    )
    sharding, module = mesh_sharding(config), build_transformer(config, 1024)
    optimizer = build_optimizer(config.train)
    state = sharding.begin(partial(initial_state, config, module, optimizer), None)
    network = Network(module, build_partition(config.partition))
    step = mapped_step(config, network, optimizer, sharding, state)
    batch = sharding.shard(make_batch(np.random.default_rng(0).integers(0, 1024, (16, 65)).astype(np.int32)))
    draws = step_draws(config, sharding)(0)
    own, beside = device_bytes(state), held(step, state, batch, *draws)

    def run() -> None:
        nonlocal state
        state, metrics = step(state, batch, *draws)  # which reuses the old state's buffers
        jax.block_until_ready(metrics.loss)

    return Job(run, lambda: None if beside is None else own + beside)


def grid_job(who: str, size: int) -> Job:
    """`size` settings of one checkpoint."""
    import jax

    import aila_jax as aila
    from aila_jax.inference.inputs import example_batch
    from aila_jax.inference.language_model import LanguageModel

    config = aila.presets.recall()
    dataset = aila.load_dataset(config.data)
    empty = LanguageModel(None, config, dataset.tokenizer, "drawn", 0, {})
    params = jax.jit(lambda key: empty.network.init(example_batch(config), key))(jax.random.key(0))
    model = dataclasses.replace(empty, params=params)
    taus = (0.5, 1.0, 2.0) if size % 3 == 0 else (1.0,)
    lams = tuple(float(lam) for lam in np.linspace(0.0, 1.0, size // len(taus)))
    scope: dict[str, Any] = {"split": "validation", "quiet": True}

    def sweep() -> Any:
        return aila.sweep(model, dataset, lams=lams, taus=taus, **scope)

    def evaluate() -> Any:
        return [aila.evaluate(model, dataset, lam=lam, tau=tau, **scope) for lam in lams for tau in taus]

    run = {"sweep": sweep, "evaluate": evaluate}[who]
    return Job(run, lambda: rise(run))


JOBS = {"vocabulary": vocabulary_job, "layers": layers_job, "devices": devices_job, "grid": grid_job}


def begin(axis: str, who: str, size: int) -> tuple[tuple[float, int | None, int | None], Callable[[], Any]]:
    """What a contestant's first call took, its memory and its programs; and the job that is timed."""
    job = JOBS[axis](who, size)
    began = time.perf_counter()
    job.run()
    first, programs = time.perf_counter() - began, None
    if axis == "grid":
        from aila_jax.evaluation.evaluator import eval_step

        programs = eval_step._cache_size()  # type: ignore[attr-defined]
    return (first, job.held(), programs), job.run


def measured(axis: str, size: int, rounds: int) -> list[Cell]:
    """All contestants at one size, in turns."""
    running: dict[str, Contestant] = {}
    try:
        said = {}
        for who in FORMS[axis]:
            running[who] = Contestant(who, begin, axis, who, size)
            said[who] = running[who].answer()
        seconds = in_turns({who: one.seconds for who, one in running.items()}, rounds)
    finally:
        for one in running.values():
            one.end()
    return [
        Cell(axis, size, who, first, seconds[who], peak, programs)
        for who, (first, peak, programs) in said.items()
    ]


def table(cells: Sequence[Cell]) -> str:
    """Markdown, a line for each cell; ratios are by that of the last contestant, round by round."""
    from benchmarks.rounds import quartiles, ratios

    lines = [
        "| grows | size | | first call, s | seconds | ÷ the other | memory, MiB | programs |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    by = {(one.axis, one.size, one.who): one for one in cells}
    for one in cells:
        own, other = quartiles(one.seconds), by[one.axis, one.size, FORMS[one.axis][-1]]
        against = "–"
        if other is not one:
            against = ratios(one.seconds, other.seconds).shown(2)
        peak = "–" if one.peak_bytes is None else f"{one.peak_bytes / 2**20:,.1f}"
        lines.append(
            f"| {one.axis} | {one.size:,} | {one.who} | {one.first_seconds:.2f} |"
            f" {own.shown(4)} | {against} | {peak} |"
            f" {'–' if one.programs is None else one.programs} |"
        )
    return "\n".join(lines) + "\n"


@house_style(LIGHT)
def draw_figure(cells: Sequence[Cell], path_without_suffix: Path) -> None:
    """Time above, memory below, a column for each axis; all logarithmic."""
    axes_names = list(dict.fromkeys(one.axis for one in cells))
    figure = Figure(figsize=(3.4 * len(axes_names), 5.2), layout="constrained")
    panels = figure.subplots(2, len(axes_names), squeeze=False)
    for column, axis in enumerate(axes_names):
        for who, colour, marker in zip(FORMS[axis], CATEGORIES, MARKERS, strict=False):
            own = [one for one in cells if (one.axis, one.who) == (axis, who)]
            look: dict[str, Any] = {"color": colour, "marker": marker, "label": who}
            panels[0, column].plot([one.size for one in own], [np.median(one.seconds) for one in own], **look)
            peaks = [(one.size, one.peak_bytes / 2**20) for one in own if one.peak_bytes]
            panels[1, column].plot([size for size, _ in peaks], [peak for _, peak in peaks], **look)
        sizes = sorted({one.size for one in cells if one.axis == axis})
        for panel, what in zip(panels[:, column], ("seconds", "memory, MiB"), strict=True):
            panel.set(xscale="log", yscale="log", xlabel=axis, ylabel=what)
            panel.set_xticks(sizes, labels=[f"{size:,}" for size in sizes], rotation=30)
            panel.minorticks_off()
            panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            panel.yaxis.set_major_formatter("{x:,g}")
        panels[0, column].legend(frameon=False)
    save_figure(figure, path_without_suffix)


def main(arguments: Sequence[str]) -> None:
    """Measures, prints tables and writes JSON, a table and a figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--axes", default="vocabulary,layers,devices,grid", help="with commas between")
    parser.add_argument("--vocabulary", default="4096,16384,32768,65536,131072")
    parser.add_argument("--layers", default="2,4,8,16,32")
    parser.add_argument("--devices", default="1,2,4,8", help="simulated ones")
    parser.add_argument("--grid", default="1,6,18,54")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", default="", help="folder for scaling.json, table.md and figures")
    asked = parser.parse_args(arguments)
    use_cpu(asked.threads)
    from benchmarks.record import describe_machine

    machine = describe_machine("cpu")
    cells: list[Cell] = []
    for axis in asked.axes.split(","):
        for size in map(int, getattr(asked, axis).split(",")):
            cells += measured(axis, size, asked.rounds)
            print(table(cells[-len(FORMS[axis]) :]), flush=True)
    if not asked.out:
        return
    heading = (
        f"{machine.processor}, {asked.threads} threads, float32; medians and quartiles of {asked.rounds}"
        " rounds.\n\n"
    )
    out = Path(asked.out)
    write_files(out, "scaling", arguments, machine, cells, heading + table(cells))
    draw_figure(cells, out / "scaling")


if __name__ == "__main__":
    restart_in_huge_pages()  # as aila does
    main(sys.argv[1:])

"""Time and memory of attention over the length, forward and backward, statistics included, beside PyTorch's.

    python -m benchmarks.attention --lengths=128,512,2048,8192,32768 --out=docs/results/attention
    python -m benchmarks.attention --lengths=128 --rounds=1

One sequence of 4 heads of width 32 is attended to causally, in windows of 40 that are shifted by half. Each
contestant has a process of its own. Before anything is timed all must say the same at λ = 0, outputs and
gradients, within 1e-4 of the largest number; hard windows, which skip what is outside, must say what all keys
with a gate say at λ = 1.

    reference       arrays of L · L, as in tests; up to --reference_most
    chunked         in tiles, with all statistics
    bare            in tiles, without statistics
    hard            in tiles, hard windows, with all statistics
    torch           scaled_dot_product_attention, causal, no dial, no statistics; where PyTorch is installed

Contestants take turns, in a new order each round; medians and quartiles are over rounds, ratios of the same
round. Memory is what a compiled program holds beside its arguments, as XLA says; PyTorch's is the rise of its
process's resident peak while it runs once (Linux), which misses what was freed and kept before.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from aila_jax.cli.huge_pages import restart_in_huge_pages
from aila_jax.reporting import save_figure
from aila_jax.reporting.style import CATEGORIES, LIGHT, MARKERS, house_style
from benchmarks.generation import use_cpu
from benchmarks.turns import Contestant, held, in_turns, rise, versions_of, write_files

HEADS, WIDTH, WINDOW, NATS = 4, 32, 40, 8.0
CLOSE = 1e-4  # of the largest number
REFERENCE, CHUNKED, BARE, HARD, TORCH = "reference", "chunked", "bare", "hard", "torch"
EVERYONE = (REFERENCE, CHUNKED, BARE, HARD, TORCH)
Numbers = list[np.ndarray]  # the output and the gradients of queries, keys and values


@dataclass(frozen=True)
class Cell:
    """One contestant at one length.

    Attributes:
      who: as above.
      length: L.
      skipped: why it was not measured; empty where it was.
      apart: its largest difference from `chunked`, or of `hard` from all keys with a gate, divided by the
        largest number.
      seconds: one number a round.
      peak_bytes: held beside the arguments; None where nobody says.
    """

    who: str
    length: int
    skipped: str = ""
    apart: float = 0.0
    seconds: tuple[float, ...] = ()
    peak_bytes: int | None = None


def drawn(length: int) -> Numbers:
    """Queries, keys, values and the cotangent of the output, [1, L, H, K]."""
    draw = np.random.default_rng(length)
    return [draw.standard_normal((1, length, HEADS, WIDTH)).astype(np.float32) for _ in range(4)]


@dataclass(frozen=True)
class Compiled:
    """A compiled function of λ and the gate's exponent.

    Attributes:
      call: it.
      held: bytes that it holds beside its arguments at one λ.
    """

    call: Callable[[float, float], Numbers]
    held: Callable[[float], int | None]


def by_jax(who: str, length: int) -> Compiled:
    """Of our attention."""
    import jax
    import jax.numpy as jnp

    from aila_jax.model.attention import locality_attention
    from aila_jax.model.stats import StatsRequest
    from aila_jax.partition.relations import Relation

    q, k, v, cotangent = map(jnp.asarray, drawn(length))
    windows = jnp.asarray((np.arange(length)[None] + WINDOW // 2) // WINDOW, jnp.int32)
    request = None if who == BARE else StatsRequest()
    route = REFERENCE if who == REFERENCE else "chunked"

    def attended(q: Any, k: Any, v: Any, lam: Any, gate: float) -> Any:
        out, stats = locality_attention(
            q, k, v, Relation(windows), lam=lam, tau=jnp.float32(1.0), margin=NATS, gate=gate,
            request=request, hard=who == HARD, route=route,
        )  # fmt: skip
        return jnp.sum(out * cotangent), (out, stats)

    compiled = jax.jit(jax.value_and_grad(attended, argnums=(0, 1, 2), has_aux=True), static_argnums=4)

    def at(lam: float) -> Any:
        # A hard end has λ = 1 alone, which the function must know.
        return 1.0 if who == HARD else jnp.float32(lam)

    def call(lam: float, gate: float = 0.0) -> Numbers:
        (_, (out, stats)), gradients = jax.block_until_ready(compiled(q, k, v, at(lam), gate))
        assert (stats is None) == (request is None)
        return [out, *gradients]

    return Compiled(call, lambda lam: held(compiled, q, k, v, at(lam), 0.0))


def by_torch(length: int, threads: int) -> Compiled:
    """The same of PyTorch, which has no λ."""
    import torch

    torch.set_num_threads(threads)
    q, k, v, cotangent = (torch.from_numpy(one).transpose(1, 2).contiguous() for one in drawn(length))
    for one in (q, k, v):
        one.requires_grad_()

    def call(lam: float, gate: float = 0.0) -> Numbers:
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        gradients = torch.autograd.grad(out, (q, k, v), cotangent)
        return [one.detach().transpose(1, 2).numpy() for one in (out, *gradients)]

    return Compiled(call, lambda lam: rise(lambda: call(lam)))


def begin(who: str, length: int, threads: int) -> tuple[tuple[Numbers, int | None], Callable[[], object]]:
    """A contestant's numbers and memory, and the call that is timed."""
    own = by_torch(length, threads) if who == TORCH else by_jax(who, length)
    said = [np.asarray(one) for one in own.call(0.0, 0.0)]
    if who == HARD:
        # What the same rule says where nothing is skipped.
        said = [a - b for a, b in zip(said, by_jax(CHUNKED, length).call(1.0, 1.0), strict=True)]

    def timed() -> Numbers:
        return own.call(0.5, 0.0)

    return (said, own.held(0.5)), timed


def largest(numbers: Numbers) -> float:
    """The largest absolute value."""
    return max(float(np.abs(one).max()) for one in numbers)


def measured(length: int, rounds: int, reference_most: int, threads: int) -> list[Cell]:
    """Everyone at one length; ValueError where they do not say the same."""
    skipped = {REFERENCE: f"above {reference_most} positions"} if length > reference_most else {}
    if find_spec("torch") is None:
        skipped[TORCH] = "PyTorch is not installed"
    running: dict[str, Contestant] = {}
    try:
        base: Numbers = []
        apart, peaks = {}, {}
        # One after another, so that nobody's memory or time is touched by another's.
        for who in (CHUNKED, *(one for one in EVERYONE if one != CHUNKED and one not in skipped)):
            running[who] = Contestant(who, begin, who, length, threads)
            said, peaks[who] = running[who].answer()
            base = base or said
            gaps = said if who == HARD else [a - b for a, b in zip(said, base, strict=True)]
            apart[who] = largest(gaps) / largest(base)
            if not apart[who] <= CLOSE:
                raise ValueError(
                    f"{who} at {length} differs by {apart[who]:.1e}; at most {CLOSE:g}. Fix: the program is wrong"
                )
        seconds = in_turns({who: one.seconds for who, one in running.items()}, rounds)
    finally:
        for one in running.values():
            one.end()
    return [
        Cell(who, length, skipped[who])
        if who in skipped
        else Cell(who, length, "", apart[who], seconds[who], peaks[who])
        for who in EVERYONE
    ]


def table(cells: Sequence[Cell]) -> str:
    """Markdown, a line for each contestant and length."""
    from benchmarks.rounds import quartiles, ratios

    lines = [
        "| L | | seconds | ÷ torch | ÷ chunked | memory held, MiB | apart |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    by = {(one.length, one.who): one for one in cells}
    for one in cells:
        if one.skipped:
            lines.append(f"| {one.length:,} | {one.who} | {one.skipped} | | | | |")
            continue
        own = quartiles(one.seconds)
        against = []
        for other in (TORCH, CHUNKED):
            theirs = by[one.length, other]
            there = not theirs.skipped
            against.append(f"{ratios(one.seconds, theirs.seconds).median:.2f}" if there else "–")
        peak = "–" if one.peak_bytes is None else f"{one.peak_bytes / 2**20:,.0f}"
        lines.append(
            f"| {one.length:,} | {one.who} | {own.shown(4)} |"
            f" {' | '.join(against)} | {peak} | {one.apart:.0e} |"
        )
    return "\n".join(lines) + "\n"


@house_style(LIGHT)
def draw_figure(cells: Sequence[Cell], path_without_suffix: Path) -> None:
    """Time and memory against the length, both axes logarithmic."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for who, colour, marker in zip(EVERYONE, CATEGORIES, MARKERS, strict=False):
        own = [one for one in cells if one.who == who and one.seconds]
        look: dict[str, Any] = {"color": colour, "marker": marker, "label": who}
        left.plot([one.length for one in own], [np.median(one.seconds) for one in own], **look)
        peaks = [(one.length, one.peak_bytes / 2**20) for one in own if one.peak_bytes]
        right.plot([length for length, _ in peaks], [peak for _, peak in peaks], **look)
    lengths = sorted({one.length for one in cells})
    for axes, what in ((left, "seconds"), (right, "memory held, MiB")):
        axes.set(xscale="log", yscale="log", xlabel="positions", ylabel=what)
        axes.set_xticks(lengths, labels=[f"{length:,}" for length in lengths])
        axes.minorticks_off()
    left.legend(frameon=False)
    save_figure(figure, path_without_suffix)


def main(arguments: Sequence[str]) -> None:
    """Proves, measures, prints a table and writes it, JSON and a figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lengths", default="128,512,2048,8192,32768", help="with commas between")
    parser.add_argument("--reference_most", type=int, default=8192, help="longest of the reference")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", default="", help="folder for attention.json, table.md and figures")
    asked = parser.parse_args(arguments)
    use_cpu(asked.threads)
    os.environ["OMP_NUM_THREADS"] = str(asked.threads)
    from benchmarks.record import describe_machine

    machine = describe_machine("cpu")
    cells: list[Cell] = []
    for length in map(int, asked.lengths.split(",")):
        cells += measured(length, asked.rounds, asked.reference_most, asked.threads)
        print(table(cells[-len(EVERYONE) :]), flush=True)
    if not asked.out:
        return
    heading = (
        f"{machine.processor}, {asked.threads} threads, float32; medians and quartiles of {asked.rounds}"
        " rounds.\n\n"
    )
    out = Path(asked.out)
    write_files(out, "attention", arguments, machine, cells, heading + table(cells), versions_of("torch"))
    draw_figure(cells, out / "attention")


if __name__ == "__main__":
    restart_in_huge_pages()  # as aila does
    main(sys.argv[1:])

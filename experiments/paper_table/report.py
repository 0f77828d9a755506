"""The paper's table beside ours, made from the result files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aila_jax.evaluation.rows import SweepResult
from aila_jax.files import write_atomically
from aila_jax.formats import MISSING
from aila_jax.presets import small
from aila_jax.reporting import read_sweep
from aila_jax.reporting.results import result_paths, with_spread
from aila_jax.reporting.tables import markdown
from experiments.leak.report import PAPER
from experiments.leak.runs import read_rows
from experiments.paper_table.runs import LAMS, MASKS, paper_runs
from experiments.results import cell_at, results_by_run

Results = dict[str, list[SweepResult]]


@dataclass(frozen=True)
class Quantity:
    """One table: what is read from a run at λ (None where it has none), times `factor`, and how the mean is
    written.
    """

    value: Callable[[SweepResult, float], float | None]
    decimals: int
    factor: float = 1.0
    unit: str = ""
    paper: str = ""


def _cell(name: str) -> Callable[[SweepResult, float], float | None]:
    return lambda result, lam: getattr(cell_at(result, lam), name)


def _dead_heads(result: SweepResult, lam: float) -> float | None:
    return None if result.meta.sparsity is None else result.meta.sparsity.dead_heads


# The paper's names of the first three are those of `PAPER`; it is not quoted here on the others.
QUANTITIES = {
    "Attention entropy (bits)": Quantity(_cell("entropy_bits"), 2, paper="entropy_bits"),
    "Perplexity per token": Quantity(_cell("perplexity_token"), 2, paper="perplexity"),
    "Accuracy": Quantity(_cell("accuracy"), 1, 100.0, " %", paper="accuracy"),
    "Pointer fidelity (attention on the anchors of the query's block)": Quantity(
        _cell("pointer_fidelity"), 3
    ),
    "Pointer fidelity ÷ that of uniform attention": Quantity(_cell("pointer_lift"), 2),
    "Block mass": Quantity(_cell("block_mass"), 3),
    "Dead heads, of 8": Quantity(_dead_heads, 1),
}
KINDS = {
    "penalty": "penalty alone, trained at each λ",
    "margin": "margin alone, one checkpoint",
    "both": "both, one checkpoint",
}


def collect(directory: Path) -> str:
    """Makes table.md from the result files in `directory`; returns it.

    Means over seeds, with half the range where there are several. What is not measured yet is a dash, and
    named at the end.

    Raises:
      ValueError: there is no result file, or one that is no sweep.
    """
    found = results_by_run(directory, paper_runs(small()))
    tables = [_table(found, title, quantity) for title, quantity in QUANTITIES.items()]
    text = "\n".join([*tables, *_missing(found)])
    write_atomically(directory / "table.md", text.encode())
    return text


def longer_table(results: Path) -> str:
    """The margin alone after 4.9M tokens, from the files of two other experiments in `results`: read on the
    validation split, without anchors.

    Causal: one checkpoint, trained with λ drawn. Leaky: trained at λ = 0, and only read with the margin.
    """
    (path,) = result_paths(results / "first_dial")["conditional"]
    cells = [cell_at(read_sweep(path), lam) for lam in LAMS]
    (path,) = result_paths(results / "leak")["leaky"]
    rows = {row.lam: row for row in read_rows(path) if row.window == 5}
    causal = [(cell.entropy_bits, cell.perplexity_token, cell.accuracy, cell.block_mass) for cell in cells]
    leaky = [
        (row.entropy_bits, row.perplexity, row.accuracy, row.block_mass)
        for row in map(rows.__getitem__, LAMS)
    ]
    titles = ["entropy (bits)", "perplexity per token", "accuracy", "block mass"]
    lines = []
    for title, form, place in zip(titles, ("{:.2f}", "{:.2f}", "{:.1%}", "{:.3f}"), range(4), strict=True):
        for label, values in (("causal, one checkpoint", causal), ("leaky, trained at λ = 0", leaky)):
            shown = [form.format(value[place]).replace("%", " %") for value in values]
            lines.append([title, label, *shown])
    return markdown(["", "", *(f"λ = {lam:g}" for lam in LAMS)], lines)


def runs_of(mask: str, kind: str) -> Iterator[tuple[float, str]]:
    """(λ, name of the run that is read there) of one row."""
    for lam in LAMS:
        own = f"{mask}-penalty-{lam:g}" if lam else f"{mask}-plain"
        yield lam, own if kind == "penalty" else f"{mask}-{kind}"


def _table(found: Results, title: str, quantity: Quantity) -> str:
    paper = PAPER.get(quantity.paper, {})
    lines = [["paper", *(paper.get(lam, MISSING) for lam in LAMS)]]
    for mask in MASKS:
        for kind, label in KINDS.items():
            cells = [
                _mean(quantity, [quantity.value(result, lam) for result in found.get(name, [])])
                for lam, name in runs_of(mask, kind)
            ]
            lines.append([f"{mask}, {label}", *cells])
    header = ["", *(f"λ = {lam:g}" for lam in LAMS)]
    return f"{title}.\n\n{markdown(header, lines)}"


def _mean(quantity: Quantity, values: list[float | None]) -> str:
    known = np.array([quantity.factor * value for value in values if value is not None])
    return f"{with_spread(known, quantity.decimals)}{quantity.unit}" if len(known) else MISSING


def _missing(found: Results) -> list[str]:
    """Names the runs without a result, and the command that makes them."""
    names = [name for name in paper_runs(small()) if name not in found]
    if not names:
        return []
    return [
        f"Not measured yet: {', '.join(names)}. `python -m experiments.paper_table --data_dir=$WIKITEXT2"
        f" --only={','.join(names)}` continues.\n"
    ]

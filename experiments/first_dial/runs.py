"""The first dial: plain, fixed and conditional training, each read over λ; its configurations, and the table
made from its files.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from aila_jax.config import Config, DialMode, LocalityConfig, MarginConfig, MarginForm
from aila_jax.evaluation.rows import SweepResult
from aila_jax.files import write_atomically
from aila_jax.presets import small
from aila_jax.reporting import dial_figure, save_figure
from aila_jax.reporting.results import with_spread
from aila_jax.reporting.tables import markdown
from experiments.results import cell_at, results_by_run

SHORT, LONG = 1200, 4500  # steps of 4,096 tokens: 4.9M and 18.4M


def first_dial(base: Config) -> dict[str, Config]:
    """Plain, fixed and conditional training at equal tokens, and two of them at 18.4M, by name; from the
    preset `small`.
    """
    conditional = LocalityConfig(mode=DialMode.CONDITIONAL)
    margin = MarginConfig(form=MarginForm.SELF_SCALING)
    variants = {
        "plain": _variant(base, LocalityConfig(mode=DialMode.FIXED, lam=0.0), film=False),
        "fixed-0.6": _variant(base, LocalityConfig(mode=DialMode.FIXED, lam=0.6), film=False),
        "fixed-1": _variant(base, LocalityConfig(mode=DialMode.FIXED, lam=1.0), film=False),
        "conditional": _variant(base, conditional, film=True),
        "conditional-self-scaling": _variant(base, replace(conditional, power=3.0), film=True, margin=margin),
    }
    for name in ("plain", "conditional"):
        variants[f"{name}-18M"] = replace(
            variants[name], train=replace(base.train, steps=LONG, eval_every=1500, checkpoint_every=1500)
        )
    return variants


def _variant(
    base: Config, locality: LocalityConfig, film: bool, margin: MarginConfig | None = None
) -> Config:
    model = replace(base.model, film=film, dial_weights="none", margin=margin or MarginConfig())
    return replace(base, model=model, locality=locality)


LAMS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def collect_first_dial(directory: str | Path) -> str:
    """Makes table.md and the figures from the result files in `directory`; returns the table as Markdown.

    Perplexity is per token on WikiText-2 validation at τ = 1, the mean over seeds, with half the range over
    seeds where there are several.
    """
    directory = Path(directory)
    grouped = results_by_run(directory, first_dial(small()))
    header = [
        "training",
        "seeds",
        *(f"λ = {lam:g}" for lam in LAMS),
        "worst ÷ best",
        "entropy 0 → 1 (bits)",
        "block mass 0 → 1",
    ]
    table = markdown(
        header, ([name, str(len(results)), *_variant_cells(results)] for name, results in grouped.items())
    )
    write_atomically(directory / "table.md", table.encode())
    # The first seed of each variant: a mean over seeds belongs in the table, where its spread stands beside
    # it.
    for suffix, chosen in (
        ("", [n for n in grouped if not n.endswith("18M")]),
        ("_18M", [n for n in grouped if n.endswith("18M")]),
    ):
        if chosen:
            save_figure(dial_figure({name: grouped[name][0] for name in chosen}), directory / f"dial{suffix}")
    return table


def _variant_cells(results: list[SweepResult]) -> list[str]:
    perplexity = np.array([[cell_at(result, lam).perplexity_token for lam in LAMS] for result in results])
    ratio = perplexity.max(axis=1) / perplexity.min(axis=1)
    ends = [(cell_at(result, 0.0), cell_at(result, 1.0)) for result in results]
    entropy = np.array([[first.entropy_bits, last.entropy_bits] for first, last in ends])
    mass = np.array([[first.block_mass, last.block_mass] for first, last in ends])
    return [
        *(with_spread(perplexity[:, column], 1) for column in range(len(LAMS))),
        with_spread(ratio, 2),
        f"{with_spread(entropy[:, 0], 2)} → {with_spread(entropy[:, 1], 2)}",
        f"{with_spread(mass[:, 0], 2)} → {with_spread(mass[:, 1], 2)}",
    ]

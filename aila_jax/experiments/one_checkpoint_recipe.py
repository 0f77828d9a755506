"""What each part of the conditional training is worth: the same run with one part changed, at the shorter budget."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from aila_jax.config import Config, LocalityConfig, MarginConfig, ModelConfig
from aila_jax.experiments.one_checkpoint import LAMS, Dialled, one_checkpoint_runs
from aila_jax.experiments.results import markdown, with_spread

BUDGET = "5M"
PREFIX = "recipe-"


def _model(**changes: object) -> Callable[[Config], Config]:
    return lambda base: replace(base, model=replace(base.model, **changes))


def _margin(base: Config, margin: MarginConfig, **changes: object) -> Config:
    model: ModelConfig = replace(base.model, margin=margin, score_cap=0.0, **changes)  # type: ignore[arg-type]
    return replace(base, model=model)


def _at_once(base: Config) -> Config:
    """The last distribution of the draws from the first step on."""
    draws = base.locality
    ends = {"power": draws.end_power, "at_zero": draws.end_at_zero, "at_one": draws.end_at_one}
    return replace(base, locality=replace(draws, drift=False, **ends) if draws.drift else draws)


PARTS: dict[str, tuple[str, Callable[[Config], Config]]] = {
    "learned-positions": ("learned positions only", _model(rotary_base=0.0)),
    "draws-at-once": ("draws of the last step throughout", _at_once),
    "draws-uniform": ("uniform draws of λ", lambda base: replace(base, locality=LocalityConfig(mode="conditional"))),
    "no-film": ("no FiLM", _model(film=False)),
    "no-dial-weights": ("no weights that turn with the dial", _model(dial_weights="none")),
    "dial-weights-qk": ("queries and keys turn, values do not", _model(dial_weights="qk")),
    "dial-rate-1": ("dial weights at the full learning rate", lambda base: replace(base, train=replace(base.train, dial_rate=1.0))),
    "margin-linear": (
        "margin linear in λ",
        lambda base: replace(base, model=replace(base.model, margin=replace(base.model.margin, power=1.0))),
    ),
    "margin-8": ("margin of 8 nats, scores without a cap", lambda base: _margin(base, MarginConfig(nats=8.0))),
    "self-scaling": (
        "self-scaling margin in place of the cap",
        lambda base: _margin(base, MarginConfig(form="self_scaling", power=base.model.margin.power)),
    ),
    "qk-norm": ("QK-norm, g_max 6, in place of the cap", lambda base: _margin(base, base.model.margin, qk_norm=True, g_max=6.0)),
}


def recipe_runs(base: Config) -> dict[str, Config]:
    """Conditional training at the shorter budget with one part changed, by name: recipe-PART for each of `PARTS`."""
    trained = one_checkpoint_runs(base, (BUDGET,))[f"{BUDGET}-conditional"]
    return {f"{PREFIX}{name}": change(trained) for name, (_, change) in PARTS.items()}


def recipe_table(found: dict[str, dict[int, Dialled]]) -> list[str]:
    """As Markdown: the whole recipe and each run with one part changed; nothing where none of these was run."""
    labels = {f"{PREFIX}{name}": label for name, (label, _) in PARTS.items() if f"{PREFIX}{name}" in found}
    if not labels:
        return []
    lines = []
    for name, label in {f"{BUDGET}-conditional": "**the whole recipe**", **labels}.items():
        ones = list(found.get(name, {}).values())
        if not ones:
            continue
        columns = [with_spread(np.array([one.perplexity[column] for one in ones]), 1) for column in range(len(LAMS))]
        rest = [(lambda one: one.entropy_ratio, 2), (lambda one: one.block_mass[-1], 2), (lambda one: one.largest_step, 2)]
        lines.append(
            [label, str(len(ones)), *columns, *(with_spread(np.array([take(one) for one in ones]), digits) for take, digits in rest)]
        )
    header = ["", "seeds", *(f"λ = {lam:g}" for lam in LAMS), "entropy 1 ÷ 0", "block mass at 1", "largest step"]
    return ["## What each part is worth\n", f"Perplexity per token, {BUDGET} tokens, τ = 1.\n", markdown(header, lines)]

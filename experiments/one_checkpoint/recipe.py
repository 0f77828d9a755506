"""What each part of the conditional training is worth: the same run with one part changed, at the shorter
budget.
"""

from typing import Any

import numpy as np

from aila_jax.config import Config, from_dict, to_dict
from aila_jax.formats import MISSING
from aila_jax.reporting.results import with_spread
from aila_jax.reporting.tables import markdown
from experiments.one_checkpoint.curves import DialCurve, regret
from experiments.one_checkpoint.runs import LAMS, one_checkpoint_runs

BUDGET = "5M"
PREFIX = "recipe-"


def _at_once(base: Config) -> dict[str, Any]:
    draws = base.locality
    return (
        {"drift": False, "power": draws.end_power, "at_zero": draws.end_at_zero, "at_one": draws.end_at_one}
        if draws.drift
        else {}
    )


def recipe_parts(base: Config) -> dict[str, tuple[str, dict[str, Any]]]:
    """Name of a changed part → its label in tables, and what is set otherwise than in `base`."""
    free = {"form": "fixed", "nats": 8.0, "power": 1.0}
    limit = base.model.score_cap or base.model.g_max
    scaled = {"form": "self_scaling", "c": 1.0, "m0": 8.0}
    return {
        "learned-positions": ("learned positions only", {"model": {"rotary_base": 0.0}}),
        "draws-at-once": ("draws of the last step throughout", {"locality": _at_once(base)}),
        "draws-uniform": (
            "uniform draws of λ",
            {"locality": {"drift": False, "power": 1.0, "at_zero": 0.0, "at_one": 0.0}},
        ),
        "draws-of-the-ends": (
            "draws of λ = 0 and 1 alone",
            {"locality": {"drift": False, "at_zero": 0.5, "at_one": 0.5}},
        ),
        "no-film": ("no FiLM", {"model": {"film": False}}),
        "no-dial-weights": ("no weights that turn with the dial", {"model": {"dial_weights": "none"}}),
        "dial-weights-qk": ("queries and keys turn, values do not", {"model": {"dial_weights": "qk"}}),
        "dial-rate-1": ("dial weights at the full learning rate", {"train": {"dial_rate": 1.0}}),
        "all-heads-alike": ("all heads turn alike", {"model": {"margin": {"stagger": 0.0}}}),
        "no-teaching": ("the first view teaches nothing", {"locality": {"distill": 0.0}}),
        "one-view": ("one λ a sequence in a step", {"locality": {"views": 1, "distill": 0.0}}),
        "margin-bent": ("margin as 0.75 λ + 0.25 λ^6", {"model": {"margin": {"power": 6.0, "linear": 0.75}}}),
        "margin-power": ("margin as λ^2.75", {"model": {"margin": {"power": 2.75}}}),
        "margin-8": (
            "margin of 8 nats, linear, scores without a cap",
            {"model": {"score_cap": 0.0, "margin": free}},
        ),
        "self-scaling": (
            "self-scaling margin in place of the cap",
            {"model": {"score_cap": 0.0, "margin": scaled}},
        ),
        "qk-norm": (
            "QK-norm in place of the cap, g_max as high",
            {"model": {"score_cap": 0.0, "qk_norm": True, "g_max": limit}},
        ),
    }


def recipe_runs(base: Config) -> dict[str, Config]:
    """Conditional training at the shorter budget with one part changed, by name: recipe-PART for each of
    `recipe_parts` that `base` has otherwise.
    """
    trained = one_checkpoint_runs(base, (BUDGET,))[f"{BUDGET}-conditional"]
    changed = {
        name: from_dict(Config, _merged(to_dict(trained), changes))
        for name, (_, changes) in recipe_parts(trained).items()
    }
    return {f"{PREFIX}{name}": config for name, config in changed.items() if config != trained}


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`values` with `changes` in the place of what has the same keys, at any depth."""
    return {
        **values,
        **{
            key: _merged(values[key], change) if isinstance(change, dict) else change
            for key, change in changes.items()
        },
    }


def recipe_table(found: dict[str, dict[int, DialCurve]]) -> list[str]:
    """As Markdown: the whole recipe, with the seeds that parts were changed with, and each of these runs;
    nothing where there is none.
    """
    labels = {
        f"{PREFIX}{name}": label
        for name, (label, _) in recipe_parts(Config()).items()
        if f"{PREFIX}{name}" in found
    }
    if not labels:
        return []
    seeds = {seed for name in labels for seed in found[name]}
    lines = []
    for name, label in {f"{BUDGET}-conditional": "**the whole recipe**", **labels}.items():
        ones = [one for seed, one in found.get(name, {}).items() if seed in seeds]
        if not ones:
            continue
        regrets = [
            regret({one.seed: one for one in ones}, found.get(f"{BUDGET}-fixed-{lam:g}", {}), lam)
            for lam in LAMS
        ]
        known = [100 * values.mean() for values in regrets if len(values)]
        largest = f"{max(known):+.1f} %".replace("-", "−") if len(known) == len(LAMS) else MISSING
        perplexity = np.array([one.perplexity for one in ones])
        rest = np.array([(one.entropy_ratio, one.block_mass[-1], one.largest_step) for one in ones])
        lines.append(
            [
                label,
                str(len(ones)),
                *(with_spread(x, 1) for x in perplexity.T),
                largest,
                *(with_spread(x, 2) for x in rest.T),
            ]
        )
    header = [
        "",
        "seeds",
        *(f"λ = {lam:g}" for lam in LAMS),
        "largest regret",
        "entropy 1 ÷ 0",
        "block mass at 1",
        "largest step",
    ]
    text = (
        f"Perplexity per token, {BUDGET} tokens, τ = 1. Regret is over models trained at the λ they are read"
        " at, of the same seeds; these have the model of the whole recipe, also beside a run whose model is"
        " changed.\n"
    )
    return ["## What each part is worth\n", text, markdown(header, lines)]

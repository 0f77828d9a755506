"""One checkpoint for every λ: a model trained with λ drawn for each sequence, beside models trained at each λ
with equal tokens.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import product

from aila_jax.config import Config, DialMode, LocalityConfig
from aila_jax.config.options import InfluenceOptions, ReadingOptions
from aila_jax.data.dataset import Dataset
from aila_jax.evaluation.influence import influence
from aila_jax.evaluation.rows import SweepResult
from aila_jax.evaluation.sweep import sweep
from aila_jax.evaluation.without_attention import without_attention
from aila_jax.inference.language_model import LanguageModel
from aila_jax.presets import ONE_VIEW

LAMS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # where checkpoints are read
TRAINED = (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0)  # the λ of training at one λ; 0 is plain training
BUDGETS = {"5M": 4_915_200, "18M": 18_432_000}  # training tokens: 1,200 and 4,500 steps of `small`
GRID_RUNS = (
    "conditional",
    "one-view",
    *(f"fixed-{lam:g}" for lam in LAMS),
)  # the ways of training that the grid compares
RATES, DROPOUTS = (
    (0.5, 1.0, 2.0),
    (
        0.0,
        0.1,
    ),
)  # the grid from which each takes its best: multiples of the configuration's rate, and dropout


def one_checkpoint_runs(base: Config, budgets: Sequence[str] = tuple(BUDGETS)) -> dict[str, Config]:
    """The runs of one seed by name, for each of the named budgets: BUDGET-conditional, which is `base`
    itself, BUDGET-fixed-LAM for each λ of `TRAINED`, where `base` reads sequences more than once a step,
    BUDGET-one-view, the same with the draws `ONE_VIEW`, and where attention outside the block pays,
    BUDGET-no-pressure, the same without that.

    A model trained at one λ has the margin of `base`, and is not shown a λ that never changes.
    """
    runs = {}
    for budget in budgets:
        steps = BUDGETS[budget] // (base.train.batch_size * base.model.length)
        train = replace(base.train, steps=steps, eval_every=steps, checkpoint_every=max(steps // 3, 1))
        trained = replace(base, train=train)
        runs[f"{budget}-conditional"] = trained
        if base.locality.views > 1:
            runs[f"{budget}-one-view"] = replace(trained, locality=ONE_VIEW)
        if base.locality.pressure:
            runs[f"{budget}-no-pressure"] = replace(trained, locality=replace(base.locality, pressure=0.0))
        for lam in TRAINED:
            runs[f"{budget}-fixed-{lam:g}"] = at_one_lam(trained, lam)
    return runs


def at_one_lam(config: Config, lam: float) -> Config:
    """The same training at one λ."""
    return replace(
        config,
        model=replace(config.model, film=False, dial_weights="none"),
        locality=LocalityConfig(mode=DialMode.FIXED, lam=lam),
    )


def grid_runs(base: Config, budgets: Sequence[str] = tuple(BUDGETS)) -> dict[str, Config]:
    """`GRID_RUNS` of each of the named budgets over learning rate and dropout, by name; those with both as
    `base` has them are in the matrix.
    """
    runs, compared = {}, one_checkpoint_runs(base, budgets)
    for name in (f"{budget}-{way}" for budget in budgets for way in GRID_RUNS):
        if name not in compared:  # one-view, where `base` reads sequences once anyway
            continue
        config = compared[name]
        for rate, dropout in product((factor * base.train.learning_rate for factor in RATES), DROPOUTS):
            tried = replace(
                config,
                train=replace(config.train, learning_rate=rate),
                model=replace(config.model, dropout=dropout),
            )
            if tried != config:
                runs[f"grid-{name}-rate{rate:g}-dropout{dropout:g}"] = tried
    return runs


def measure(
    model: LanguageModel, dataset: Dataset, matrix: bool = True, split: str | None = None, quiet: bool = False
) -> SweepResult:
    """The run over the dial at τ = 1, and without attention.

    Args:
      matrix: measure influence at each λ too, and, where λ was drawn in training, every τ of the run's sweep,
        for the law of τ.
      split: `train`, `validation` or `test`; the run's `config.sweep.split` by default.
    """
    law = matrix and model.config.locality.mode == DialMode.CONDITIONAL
    result = sweep(
        model, dataset, lams=LAMS, taus=model.config.sweep.taus if law else (1.0,), split=split, quiet=quiet
    )
    costs = without_attention(model, dataset, lams=(0.0, 1.0), options=ReadingOptions(split=split))
    more: dict[str, list[dict[str, float]]] = {}
    if matrix:
        cells = influence(model, dataset, InfluenceOptions(lams=LAMS, split=split), quiet)
        more["influence"] = [{"lam": cell.lam, "draws": cell.draws, **asdict(cell.outside)} for cell in cells]
    return replace(result, meta=replace(result.meta, without_attention=tuple(costs), more=more))

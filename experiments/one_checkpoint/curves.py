"""How the one checkpoint is judged: results as arrays over λ, dial regret, the law of τ, and what is asked of
it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from aila_jax.config import Config, ModelConfig, require
from aila_jax.evaluation.attention_cost import MIN_ATTENTION_COST
from aila_jax.evaluation.rows import HeadRow, SweepResult
from aila_jax.guarantees.certificates import certificate
from aila_jax.guarantees.gaps import ScoreSource
from aila_jax.model.margin import head_shares
from aila_jax.reporting import read_sweep
from aila_jax.reporting.results import result_paths
from experiments.one_checkpoint.runs import BUDGETS, LAMS

MAX_REGRET, MAX_ENTROPY, MIN_MASS, MAX_STEP, MIN_GUARANTEED = 0.02, 0.3, 0.95, 0.4, 0.9
# Block mass is a float32 below 1, where neighbours are 6e-8 apart: less than this outside is rounding.
MIN_OUTSIDE = 1e-7


@dataclass(frozen=True)
class DialCurve:
    """One checkpoint read at every λ of `LAMS`, τ = 1.

    Attributes:
      name: of its way of training. seed. perplexity (per token), entropy_bits, block_mass: at each λ.
      cost: share by which perplexity grows without attention, at λ = 0 and λ = 1.
      heads: all of its rows by head, every τ.
      influence: of the tokens outside the block, nats, at each λ; None in files that were made without it.
      guaranteed: block mass that every text has, mean over layers, heads and queries, at each λ; NaN where
        nothing is guaranteed.
      least_guaranteed: the same at λ = 1, least over queries with a second key in their block; None for
        scores without a cap.
      learning_rate: the peak of its schedule.
      model: its settings.
      equals: what has to be equal for two ways of training to be compared.
    """

    name: str
    seed: int
    perplexity: np.ndarray
    entropy_bits: np.ndarray
    block_mass: np.ndarray
    cost: tuple[float, float]
    heads: tuple[HeadRow, ...]
    influence: np.ndarray | None
    guaranteed: np.ndarray
    least_guaranteed: float | None
    learning_rate: float
    model: ModelConfig
    equals: dict[str, Any]

    @property
    def entropy_ratio(self) -> float:
        """Entropy at λ = 1 ÷ entropy at λ = 0."""
        return float(self.entropy_bits[-1] / self.entropy_bits[0])

    @property
    def largest_step(self) -> float:
        """The largest share that one step of `LAMS` carries of the whole change, in entropy or block mass."""
        return max(_largest_share(self.entropy_bits), _largest_share(self.block_mass))

    @property
    def largest_influence_step(self) -> float | None:
        """The same for influence, which a mean of block mass over heads can flatter; None where it was not
        measured.
        """
        return None if self.influence is None else _largest_share(self.influence)


def _largest_share(values: np.ndarray) -> float:
    return float(np.max(np.abs(np.diff(values))) / abs(values[-1] - values[0]))


def dial_curve(result: SweepResult, name: str) -> DialCurve:
    """The rows of a result file as arrays over λ.

    Raises:
      ValueError: it was not read at every λ of `LAMS` at τ = 1, or not without attention.
    """
    rows = {row.lam: row for row in result.cells if row.tau == 1.0}
    costs = {one.lam: one.cost for one in result.meta.without_attention or ()}
    if not set(LAMS) <= set(rows) or not {0.0, 1.0} <= set(costs):
        raise ValueError(
            f"{name} lacks λ of {LAMS} at τ = 1, or rows without attention. Fix: measure it again"
        )

    def over_lam(field: str) -> np.ndarray:
        return np.array([getattr(rows[lam], field) for lam in LAMS], np.float64)  # None is NaN

    return DialCurve(
        name,
        rows[0.0].seed,
        perplexity=over_lam("perplexity_token"),
        entropy_bits=over_lam("entropy_bits"),
        block_mass=over_lam("block_mass"),
        cost=(costs[0.0], costs[1.0]),
        heads=result.heads,
        influence=_influence(result),
        guaranteed=over_lam("guaranteed_block_mass"),
        least_guaranteed=_least_guaranteed(result),
        learning_rate=result.config.train.learning_rate,
        model=result.config.model,
        equals=_equals(result),
    )


def _influence(result: SweepResult) -> np.ndarray | None:
    """The influence measured beside the rows, at each λ of `LAMS`."""
    measured = {row["lam"]: row["kl"] for row in result.meta.more.get("influence", [])}
    return np.array([measured[lam] for lam in LAMS]) if measured else None


def _least_guaranteed(result: SweepResult) -> float | None:
    """By the cap of the scores alone, which needs no weights."""
    if not result.config.model.score_cap:
        return None
    config = Config(model=result.config.model, partition=result.config.partition)
    return certificate({}, config, 1.0, 1.0, scores=ScoreSource("score_cap")).least_block_mass_accompanied


def _equals(result: SweepResult) -> dict[str, Any]:
    """Text, split and tokens of training, and the model but for its dial; the margin too, which the recipe's
    runs alone may change.
    """
    model, train = result.config.model, result.config.train
    return {
        "text": None if result.meta.data is None else result.meta.data.fingerprint,
        "split": result.cells[0].split,
        "training tokens": train.steps * train.batch_size * model.length,
        **{
            f"model.{name}": getattr(model, name)
            for name in ("n_layers", "d_model", "n_heads", "length", "score_cap", "qk_norm")
        },
        **{f"model.margin.{name}": value for name, value in asdict(model.margin).items()},
        **{f"partition.{name}": value for name, value in asdict(result.config.partition).items()},
    }


def read_results(directory: Path) -> dict[str, dict[int, DialCurve]]:
    """The result files NAME-seedS.json of a folder, as name → seed → rows.

    Raises:
      ValueError: there is none, one that is no result of this experiment, or results of one budget that
        cannot be compared.
    """
    found = {
        name: {
            int(path.stem.rsplit("-seed", 1)[1]): dial_curve(read_sweep(path), path.stem) for path in paths
        }
        for name, paths in result_paths(directory).items()
    }
    for budget in BUDGETS:
        _check_comparable(
            {
                name: ones
                for name, ones in found.items()
                if name.removeprefix("grid-").startswith(f"{budget}-")
            }
        )
    return found


def _check_comparable(found: dict[str, dict[int, DialCurve]]) -> None:
    """Raises ValueError where results of one budget are of unlike texts, tokens, models or margins."""
    ones = [
        (f"{name}-seed{seed}", one.equals) for name, seeds in found.items() for seed, one in seeds.items()
    ]
    for name, equals in ones[1:]:
        unlike = [
            f"{key}: {equals[key]!r}, {ones[0][0]} {ones[0][1].get(key)!r}"
            for key in equals
            if equals[key] != ones[0][1].get(key)
        ]
        require(
            not unlike,
            name,
            "; ".join(unlike),
            "like the others of its budget",
            "make them with one configuration, or keep them apart",
        )


def regret(conditional: dict[int, DialCurve], fixed: dict[int, DialCurve], lam: float) -> np.ndarray:
    """Dial regret at λ: perplexity of the one checkpoint dialled to λ ÷ that of a model trained at λ, − 1,
    for each seed that has both.
    """
    column = LAMS.index(lam)
    return np.array(
        [
            conditional[seed].perplexity[column] / fixed[seed].perplexity[column] - 1.0
            for seed in conditional
            if seed in fixed
        ]
    )


def own_best(
    found: dict[str, dict[int, DialCurve]], name: str, lam: float | None = None
) -> dict[int, DialCurve]:
    """The best of all that was run of one way of training with each seed, of the configuration itself and of
    its grid.

    Best is the lowest perplexity at `lam`, or without one the lowest geometric mean over `LAMS`: one
    checkpoint has one configuration for every λ.
    """
    tried = [ones for other, ones in found.items() if other == name or other.startswith(f"grid-{name}-rate")]
    columns = slice(None) if lam is None else slice(LAMS.index(lam), LAMS.index(lam) + 1)
    return {
        seed: min(
            (ones[seed] for ones in tried if seed in ones),
            key=lambda one: float(np.log(one.perplexity[columns]).mean()),
        )
        for seed in {seed for ones in tried for seed in ones}
    }


@dataclass(frozen=True)
class TauLaw:
    """Least squares of ln(a head's mass outside the block) against the share of its margin that λ imposes,
    divided by τ.

    Over λ > 0 and every τ, of heads of which λ imposes something; each head has an intercept of its own.

    Attributes:
      slope: per whole margin.
      low: lower end of its 95 % interval; over seeds where there are two or more (Student's t over their
        slopes), otherwise that of the one regression.
      high: upper end.
      correlation: of the logarithm with that quotient within heads, mean over seeds.
      seeds: how many.
      rows: used, of all seeds.
      left_out: rows with less than `MIN_OUTSIDE` outside the block.
    """

    slope: float
    low: float
    high: float
    correlation: float
    seeds: int
    rows: int
    left_out: int


def tau_law(results: Sequence[DialCurve]) -> TauLaw | None:
    """Fits the law to one way of training; None where a seed has too few rows to fit.

    At fixed queries and keys the mass outside falls by at most a factor e per nat of imposed margin ÷ τ. Mean
    mass over queries falls more slowly, since the queries that still look outside decide it, and since τ
    divides the scores too.
    """
    slopes, correlations, rows, used, half = [], [], 0, 0, 0.0
    for result in results:
        shares = {lam: head_shares(result.model, lam) for lam in {row.lam for row in result.heads}}
        placed = [(row, float(shares[row.lam][row.layer, row.head])) for row in result.heads]
        turned = [(row, share) for row, share in placed if share > 0.0]
        kept = [(row, share) for row, share in turned if 1.0 - row.block_mass >= MIN_OUTSIDE]
        heads = [(row.layer, row.head) for row, _ in kept]
        x = _within(heads, [share / row.tau for row, share in kept])
        y = _within(heads, np.log([1.0 - row.block_mass for row, _ in kept]))
        free, spread = len(kept) - len(set(heads)) - 1, float(x @ x)
        if free < 1 or spread == 0.0:
            return None
        slope = float(x @ y) / spread
        rest = y - slope * x
        half = float(stats.t.ppf(0.975, free) * np.sqrt(rest @ rest / free / spread))
        slopes.append(slope)
        correlations.append(float(x @ y / np.sqrt(spread * (y @ y))))
        rows, used = rows + len(turned), used + len(kept)
    if len(slopes) > 1:
        half = float(stats.t.ppf(0.975, len(slopes) - 1) * np.std(slopes, ddof=1) / np.sqrt(len(slopes)))
    middle = float(np.mean(slopes))
    return TauLaw(
        middle, middle - half, middle + half, float(np.mean(correlations)), len(slopes), used, rows - used
    )


def _within(groups: Sequence[Any], values: Any) -> np.ndarray:
    """The values, each less the mean of its group."""
    values = np.asarray(values, np.float64)
    if not len(values):
        return values
    number = np.unique(np.array(groups), axis=0, return_inverse=True)[1].ravel()
    return values - (np.bincount(number, values) / np.bincount(number))[number]


@dataclass(frozen=True)
class Goal:
    """One thing asked of the one checkpoint, and whether it holds for every seed.

    Attributes:
      text: what is asked.
      values: of each seed.
      limit: what they are compared with.
      most: whether it is an upper limit.
    """

    text: str
    values: np.ndarray
    limit: float
    most: bool = True

    @property
    def holds(self) -> bool:
        """Whether every seed keeps the limit."""
        return bool(np.all(self.values <= self.limit) if self.most else np.all(self.values >= self.limit))


def goals(found: dict[str, dict[int, DialCurve]], name: str) -> list[Goal]:
    """What is asked of the one checkpoint BUDGET-… of that name; goals that need a run which is not there yet
    are left out.
    """
    conditional, budget = found.get(name, {}), name.split("-")[0]
    if not conditional:
        return []
    asked = []
    for lam in LAMS:
        values = regret(conditional, found.get(f"{budget}-fixed-{lam:g}", {}), lam)
        if len(values):
            asked.append(Goal(f"regret at λ = {lam:g}", values, MAX_REGRET))
    plain = found.get(f"{budget}-fixed-0", {})
    best = [
        conditional[seed].perplexity.min() / plain[seed].perplexity[0] - 1.0
        for seed in conditional
        if seed in plain
    ]
    if best:
        asked.append(Goal("best dialled perplexity ÷ plain training's, − 1", np.array(best), 0.0))
    ones = list(conditional.values())
    steps = [one.largest_influence_step for one in ones if one.largest_influence_step is not None]
    guaranteed = [one.least_guaranteed for one in ones if one.least_guaranteed is not None]
    accompanied = "block mass guaranteed at λ = 1, every query with a second key in its block"
    return [
        *asked,
        Goal(
            "entropy at λ = 1 ÷ entropy at λ = 0", np.array([one.entropy_ratio for one in ones]), MAX_ENTROPY
        ),
        Goal("block mass at λ = 1", np.array([one.block_mass[-1] for one in ones]), MIN_MASS, most=False),
        *([Goal(accompanied, np.array(guaranteed), MIN_GUARANTEED, most=False)] if guaranteed else []),
        Goal(
            "largest step of the dial, share of the change",
            np.array([one.largest_step for one in ones]),
            MAX_STEP,
        ),
        *([Goal("the same of influence", np.array(steps), MAX_STEP)] if steps else []),
        Goal(
            "cost of removing attention, λ = 0",
            np.array([one.cost[0] for one in ones]),
            MIN_ATTENTION_COST,
            most=False,
        ),
        Goal(
            "cost of removing attention, λ = 1",
            np.array([one.cost[1] for one in ones]),
            MIN_ATTENTION_COST,
            most=False,
        ),
    ]

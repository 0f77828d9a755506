"""What is measured of one run of the frontier, and its result file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from aila_jax.config import Config, saved_config
from aila_jax.config.options import InfluenceOptions
from aila_jax.data.dataset import Dataset
from aila_jax.data.pipeline import eval_batches, take
from aila_jax.evaluation.certify import certify
from aila_jax.evaluation.evaluator import Evaluation, evaluate
from aila_jax.evaluation.influence import Moved, influence
from aila_jax.inference.corpus import windows_of
from aila_jax.inference.dial import dial_values
from aila_jax.inference.language_model import LanguageModel
from aila_jax.inference.reach_of import hard_layers
from aila_jax.metrics.sums import Summary, perplexity, summarize
from aila_jax.model.interface import Dial
from aila_jax.reporting.results import read_document
from aila_jax.reporting.tables import row_from, rows_from
from aila_jax.training.sharding import batch_sharding
from aila_jax.types import PADDING_ID, Batch
from experiments.results import write_document

FORM = "aila-frontier-1"
WINDOWS = 256  # spread over the split, whose reach is counted
POSITIONS = 512  # queries whose influence is measured


@dataclass(frozen=True)
class Reading:
    """A model at one λ, over the validation split. Means over layers and heads.

    Attributes:
      lam: λ.
      gate: whether the model's gate was on; without it λ = 1 is soft.
      perplexity: per token.
      accuracy: share of targets ranked first.
      entropy_bits: mean attention entropy.
      own: attention on the query's own block.
      pointers: attention on pointers of earlier blocks; 0 without them.
      sink: attention on sinks; 0 without them.
      outside: attention on the rest.
      guaranteed: attention inside that every text is guaranteed, mean over positions; 0 where nothing is.
      fidelity: attention on pointers, of queries that have any; None without them.
      fidelity_uniform: what uniform attention would have there.
    """

    lam: float
    gate: bool
    perplexity: float
    accuracy: float
    entropy_bits: float
    own: float
    pointers: float
    sink: float
    outside: float
    guaranteed: float
    fidelity: float | None = None
    fidelity_uniform: float | None = None


@dataclass(frozen=True)
class Spread:
    """How many tokens can have influenced a prediction where attention is exactly hard, over positions."""

    mean: float
    lower: float
    median: float
    upper: float
    largest: int


@dataclass(frozen=True)
class Influence:
    """How far predictions move, nats, when tokens on one side are replaced (`evaluation.influence`)."""

    lam: float
    side: str
    positions: int
    tokens: float
    kl: float
    error: float


@dataclass(frozen=True)
class FrontierResult:
    """One run.

    Attributes:
      run: its name.
      seed: its seed.
      commit: the git commit that trained it.
      tokens: of training.
      n_in: keys inside, mean over queries of the split and layers.
      n_in_layers: the same for each layer.
      reach: see `Spread`.
      readings: at each λ.
      influence: at each λ.
      config: its configuration.
    """

    run: str
    seed: int
    commit: str
    tokens: int
    n_in: float
    n_in_layers: tuple[float, ...]
    reach: Spread
    readings: tuple[Reading, ...]
    influence: tuple[Influence, ...]
    config: Config

    def at(self, lam: float, gate: bool = True) -> Reading:
        """The reading at λ."""
        return next(one for one in self.readings if one.lam == lam and one.gate == gate)


def measure(name: str, model: LanguageModel, dataset: Dataset, lams: tuple[float, ...]) -> FrontierResult:
    """Reads a model at each λ of `lams`, and at λ = 1 also without its gate."""
    config = model.config
    readings = [read_at(model, dataset, lam) for lam in lams]
    if 1.0 in lams:
        ungated = replace(config.model.margin, gate=0.0)
        soft = replace(model, config=replace(config, model=replace(config.model, margin=ungated)))
        readings.append(read_at(soft, dataset, 1.0))
    n_in, reach = keys_and_reach(model, dataset)
    return FrontierResult(
        run=name,
        seed=config.seed,
        commit=model.meta.get("commit", "unknown"),
        tokens=config.train.steps * config.train.batch_size * config.model.length,
        n_in=float(n_in.mean()),
        n_in_layers=tuple(float(one) for one in n_in),
        reach=reach,
        readings=tuple(readings),
        influence=influences(
            model, dataset, InfluenceOptions(lams=lams, split="validation", positions=POSITIONS)
        ),
        config=config,
    )


def read_at(model: LanguageModel, dataset: Dataset, lam: float) -> Reading:
    """The whole validation split at λ and τ = 1."""
    windows = windows_of(model, dataset, "validation")
    sweep = model.config.sweep
    return read_batches(model, list(eval_batches(windows, sweep.batch_size, 0, sweep.part)), lam)


def read_batches(model: LanguageModel, batches: Sequence[Batch], lam: float) -> Reading:
    """Batches of `sweep.batch_size` at λ and τ = 1."""
    config = model.config
    rows = config.sweep.batch_size
    sharding = batch_sharding(rows, "sweep.batch_size")
    dial = Dial(dial_values(lam, "lam", rows), dial_values(1.0, "tau", rows))
    evaluation = Evaluation(config.model.hard, config.train.loss_chunk)
    params = sharding.replicate(model.params)
    found = summarize(evaluate(model.network, params, batches, dial, sharding, evaluation))
    return _reading(lam, model, found)


def _reading(lam: float, model: LanguageModel, found: Summary) -> Reading:
    def mean(values: np.ndarray | None) -> float:
        return 0.0 if values is None else float(values.mean())

    own, pointers, sink = (mean(one) for one in (found.block_mass_local, found.pointer_mass, found.sink_mass))
    proof = certify(model, lam)
    pointed = found.pointers
    return Reading(
        lam=lam,
        gate=model.config.model.margin.gate > 0.0,
        perplexity=perplexity(found.loss),
        accuracy=found.accuracy,
        entropy_bits=mean(found.entropy_bits),
        own=own,
        pointers=pointers,
        sink=sink,
        outside=1.0 - mean(found.block_mass),
        guaranteed=proof.mean_block_mass if proof.share_said > 0.0 else 0.0,
        fidelity=None if pointed is None else mean(pointed.fidelity),
        fidelity_uniform=None if pointed is None else pointed.uniform,
    )


def keys_and_reach(model: LanguageModel, dataset: Dataset) -> tuple[Int[np.ndarray, "N"], Spread]:
    """Mean keys inside of each layer, and the reach, over windows that are spread over the split."""
    windows = windows_of(model, dataset, "validation")
    rows = np.linspace(0, len(windows) - 2, WINDOWS).astype(int)  # the last window is partly padding
    batch = take(windows.batch, rows)
    real = np.asarray(batch.doc_ids) != PADDING_ID
    hard = hard_layers(model, batch)
    seen = (np.asarray(relation.masks(hard=True).attendable)[:, 0] for relation in hard.relations)
    counts = [mask.sum(axis=-1)[real].mean() for mask in seen]
    sizes = hard.reach(range(real.shape[1])).sum(axis=-1)[real]
    lower, median, upper = np.quantile(sizes, (0.25, 0.5, 0.75))
    spread = Spread(float(sizes.mean()), float(lower), float(median), float(upper), int(sizes.max()))
    return np.array(counts), spread


def influences(model: LanguageModel, dataset: Dataset, options: InfluenceOptions) -> tuple[Influence, ...]:
    """What replaced tokens change, by where they stand."""
    found = []
    for cell in influence(model, dataset, options, quiet=True):
        sides: dict[str, Moved | None] = {
            "outside": cell.outside,
            "inside": cell.inside,
            "beyond": cell.beyond,
        }
        found += [
            Influence(cell.lam, side, one.positions, one.tokens, one.kl, one.error)
            for side, one in sides.items()
            if one is not None
        ]
    return tuple(found)


def write_result(result: FrontierResult, directory: Path, stem: str) -> None:
    """Writes one run's file NAME-seedS.json."""
    write_document(result, FORM, directory, stem)


def read_result(path: Path) -> FrontierResult:
    """Reads it back; ValueError for another file."""
    return read_document(path, "frontier", FORM, _parse)


def _parse(document: Mapping[str, Any]) -> FrontierResult:
    return FrontierResult(
        run=document["run"],
        seed=document["seed"],
        commit=document["commit"],
        tokens=document["tokens"],
        n_in=document["n_in"],
        n_in_layers=tuple(document["n_in_layers"]),
        reach=row_from(Spread, document["reach"], "reach"),
        readings=rows_from(Reading, document["readings"], "readings"),
        influence=rows_from(Influence, document["influence"], "influence"),
        config=saved_config(document["config"]),
    )

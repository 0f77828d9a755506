"""What is measured of SmolLM2 with a dial, and its result files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from aila_jax.config import Config, saved_config, to_dict
from aila_jax.config.options import InfluenceOptions
from aila_jax.data.dataset import Dataset
from aila_jax.data.pipeline import eval_batches
from aila_jax.files import write_atomically
from aila_jax.inference.corpus import windows_of
from aila_jax.inference.language_model import LanguageModel
from aila_jax.provenance import git_commit
from aila_jax.reporting.results import portable, read_document
from aila_jax.reporting.tables import rows_from
from aila_jax.types import Batch
from experiments.frontier.measure import Influence, Reading, influences, read_batches

FORM = "aila-smollm2-1"
SPLIT = "test"
TARGETS = 65_536  # at least, and the same ones in every run
QUERIES = 64  # whose influence is measured


@dataclass(frozen=True)
class Point:
    """Training at one step: perplexity of some validation windows at λ = 0 and 1.

    Attributes:
      tokens: trained on so far.
      lam: λ.
      perplexity: per token.
    """

    tokens: int
    lam: float
    perplexity: float


@dataclass(frozen=True)
class SmolResult:
    """One run.

    Attributes:
      run: its name.
      seed: its seed.
      commit: the git commit that made it.
      targets: that every reading is over.
      tokens: of training.
      readings: at each λ, and at λ = 1 without the gate too.
      alone: perplexity of each sentence by itself after the begin token; None where it was not measured.
      influence: at λ = 0 and 1.
      curve: of training.
      config: its configuration.
    """

    run: str
    seed: int
    commit: str
    targets: int
    tokens: int
    readings: tuple[Reading, ...]
    alone: float | None
    influence: tuple[Influence, ...]
    curve: tuple[Point, ...]
    config: Config

    def at(self, lam: float, gate: bool = True) -> Reading:
        """The reading at λ."""
        return next(one for one in self.readings if one.lam == lam and one.gate == gate)


def fixed_batches(model: LanguageModel, dataset: Dataset) -> list[Batch]:
    """As many batches, spread over the split, as hold `TARGETS`: the same for every model of this length."""
    windows, rows = windows_of(model, dataset, SPLIT), model.config.sweep.batch_size
    each = windows.n_targets / len(windows)
    count = min(-(-TARGETS // round(rows * each)), -(-len(windows) // rows))
    return list(eval_batches(windows, rows, count, "spread"))


def measure(
    name: str, model: LanguageModel, dataset: Dataset, lams: Sequence[float], curve: Sequence[Point] = ()
) -> SmolResult:
    """Reads a model at each λ of `lams`; at λ = 1 also without its gate, and each sentence alone."""
    config, batches = model.config, fixed_batches(model, dataset)
    readings = [read_batches(model, batches, lam) for lam in lams]
    gated = config.model.margin.gate > 0 and 1.0 in lams
    if gated:
        readings.append(read_batches(without_gate(model), batches, 1.0))
    options = InfluenceOptions(lams=tuple(lams), split=SPLIT, positions=QUERIES)
    return SmolResult(
        run=name,
        seed=config.seed,
        commit=str(model.meta.get("commit") or git_commit()),
        targets=int(sum(np.count_nonzero(batch.weights) for batch in batches)),
        tokens=model.step * config.train.batch_size * config.model.length,
        readings=tuple(readings),
        alone=read_batches(model, [alone(model, batch) for batch in batches], 1.0).perplexity
        if gated
        else None,
        influence=influences(model, dataset, options) if gated else (),
        curve=tuple(curve),
        config=portable(config),
    )


def without_gate(model: LanguageModel) -> LanguageModel:
    """The same model, whose λ = 1 is soft."""
    margin = replace(model.config.model.margin, gate=0.0)
    return replace(model, config=replace(model.config, model=replace(model.config.model, margin=margin)))


def alone(model: LanguageModel, batch: Batch) -> Batch:
    """The windows with every block at the positions that it has by itself after the begin token: at λ = 1,
    with nothing outside and rotary positions, each is then computed as a text of its own.
    """
    ids = np.asarray(model.network.blocks(batch).ids)
    starts = np.diff(ids, axis=1, prepend=ids[:, :1] - 1) != 0
    starts[:, 1] = True  # after the begin token, whose block is that of the token after it
    index = np.arange(ids.shape[1])
    first = np.maximum.accumulate(np.where(starts, index, 0), axis=1)
    positions = np.where(index == 0, 0, index - first + 1)
    return replace(batch, positions=positions.astype(np.int32))


def curve_of(workdir: Path, config: Config) -> tuple[Point, ...]:
    """The evaluations during training, but for the last, which is of more windows."""
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    each = config.train.batch_size * config.model.length
    return tuple(
        Point(line["step"] * each, line["lam"], line["perplexity"])
        for line in lines
        if line["kind"] == "eval" and line["step"] < config.train.steps
    )


def write_result(result: SmolResult, directory: Path, stem: str) -> None:
    """Writes one run's file NAME-seedS.json."""
    directory.mkdir(parents=True, exist_ok=True)
    document = {"format": FORM, **asdict(result), "config": to_dict(result.config)}
    write_atomically(directory / f"{stem}.json", (json.dumps(document, indent=1) + "\n").encode())


def read_result(path: Path) -> SmolResult:
    """Reads it back; ValueError for another file."""
    return read_document(path, "smollm2", FORM, _parse)


def _parse(document: Mapping[str, Any]) -> SmolResult:
    return SmolResult(
        run=document["run"],
        seed=document["seed"],
        commit=document["commit"],
        targets=document["targets"],
        tokens=document["tokens"],
        readings=rows_from(Reading, document["readings"], "readings"),
        alone=document["alone"],
        influence=rows_from(Influence, document["influence"], "influence"),
        curve=rows_from(Point, document["curve"], "curve"),
        config=saved_config(document["config"]),
    )

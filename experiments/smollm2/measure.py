"""What is measured of SmolLM2 with a dial, and its result files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from aila_jax.config import Config, RelationConfig, saved_config
from aila_jax.config.choices import LayerBlocks
from aila_jax.config.options import InfluenceOptions
from aila_jax.data.dataset import Dataset
from aila_jax.data.pipeline import eval_batches
from aila_jax.inference.corpus import windows_of
from aila_jax.inference.language_model import LanguageModel
from aila_jax.loss.cross_entropy import token_losses
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.provenance import git_commit
from aila_jax.reporting.results import read_document
from aila_jax.reporting.tables import row_from, rows_from
from aila_jax.types import Array, Batch
from experiments.frontier.measure import Influence, Reading, influences, read_batches
from experiments.kept import Kept
from experiments.results import write_document

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
      influence: at λ = 0 and 1, those of them that were read.
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
    name: str,
    model: LanguageModel,
    dataset: Dataset,
    lams: Sequence[float],
    folder: Path,
    curve: Sequence[Point] = (),
) -> SmolResult:
    """Reads a model at each λ of `lams`; at λ = 1 also without its gate, and each sentence alone.

    What was measured before it was stopped is in `folder`, and is not measured again.
    """
    config, batches = model.config, fixed_batches(model, dataset)
    kept = Kept.of(folder / "measured.json", config, model.step)

    def reading(lam: float, read: LanguageModel = model) -> Reading:
        words = f"λ = {lam:g}" if read is model else f"λ = {lam:g} without the gate"
        return row_from(Reading, kept.part(words, lambda: asdict(read_batches(read, batches, lam))), words)

    readings = [reading(lam) for lam in lams]
    gated = config.model.margin.gate > 0 and 1.0 in lams
    if gated:
        readings.append(reading(1.0, without_gate(model)))
    ends = tuple(lam for lam in lams if lam in (0.0, 1.0))
    options = InfluenceOptions(lams=ends, split=SPLIT, positions=QUERIES)
    moved, by_itself = [], None
    if gated and keeps_out(config):
        moved = kept.part("influence", lambda: list(map(asdict, influences(model, dataset, options))))
    if gated and isolates(config):
        by_itself = kept.part("sentences alone", lambda: alone(model, batches))
    return SmolResult(
        run=name,
        seed=config.seed,
        commit=str(model.meta.get("commit") or git_commit()),
        targets=int(sum(np.count_nonzero(batch.weights) for batch in batches)),
        tokens=model.step * config.train.batch_size * config.model.length,
        readings=tuple(readings),
        alone=by_itself,
        influence=rows_from(Influence, moved, "influence"),
        curve=tuple(curve),
        config=config,
    )


def without_gate(model: LanguageModel) -> LanguageModel:
    """The same model, whose λ = 1 is soft."""
    margin = replace(model.config.model.margin, gate=0.0)
    return replace(model, config=replace(model.config, model=replace(model.config.model, margin=margin)))


def keeps_out(config: Config) -> bool:
    """Whether some keys are outside in all layers: without them there is no influence to measure."""
    return LayerBlocks.ALL not in config.relation.layers


def isolates(config: Config) -> bool:
    """Whether at λ = 1 nothing but its own block and the sink is inside of any block, in every layer."""
    return config.relation == RelationConfig(sink=True)


def alone(model: LanguageModel, batches: Sequence[Batch]) -> float:
    """Perplexity of every block as a text of its own after the begin token."""
    parts = [_alone(model.network, model.params, batch) for batch in batches]
    nats, targets = (float(np.sum([part[index] for part in parts])) for index in (0, 1))
    return float(np.exp(nats / targets))


@jax.jit
def _alone(network: Network, params: Any, batch: Batch) -> tuple[Array, Array]:
    """Nats of all targets, and their number, where each block stands at the positions that it has by itself:
    with nothing outside, and rotary positions, each is then computed as a text of its own.
    """
    blocks = network.blocks(batch)  # of the text as it is: positions of its own would change them
    placed = replace(batch, positions=own_positions(blocks.ids))
    logits = network.on_blocks(blocks)(params, placed, Dial(1.0, 1.0), Request()).logits
    weights = jnp.asarray(batch.weights)
    return jnp.sum(token_losses(logits, batch.targets) * weights), jnp.sum(weights)


def own_positions(ids: Int[Array, "B L"]) -> Int[Array, "B L"]:
    """The position of each token in its block, from 1; 0 for the begin token, which is a window's first."""
    ids = jnp.asarray(ids)
    index = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
    starts = ids != jnp.roll(ids, 1, axis=1)
    # The begin token is in the block of the token after it.
    starts = starts.at[:, :2].set(True)
    first = jax.lax.cummax(jnp.where(starts, index, 0), axis=1)
    return jnp.where(index == 0, 0, index - first + 1)


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
    write_document(result, FORM, directory, stem)


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

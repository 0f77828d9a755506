"""The facts of one run that a diagnosis rests on, from its files where they say enough, else measured on a
little text.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from aila_jax.config import DialMode
from aila_jax.config.options import ScoringOptions, SweepOptions
from aila_jax.config.sweep import PARTS
from aila_jax.data.dataset import Dataset
from aila_jax.data.pipeline import eval_batches
from aila_jax.diagnosis.facts import (
    FLAT_SCORE,
    BlockFacts,
    DialPoint,
    Facts,
    PenaltyFacts,
    ScoreFacts,
    TrainingFacts,
)
from aila_jax.diagnosis.penalty import penalty_facts
from aila_jax.diagnosis.signatures import STEP
from aila_jax.evaluation.blocks import correlate_blocks
from aila_jax.evaluation.certify import certify, largest_scores
from aila_jax.evaluation.evaluator import Evaluation, evaluate
from aila_jax.evaluation.rows import HeadRow, SweepResult
from aila_jax.evaluation.sweep import sweep_grid
from aila_jax.evaluation.without_attention import without_attention
from aila_jax.guarantees.gaps import all_finite, why_uncertifiable
from aila_jax.inference.corpus import split_windows
from aila_jax.inference.language_model import LanguageModel
from aila_jax.loss.group_sparsity import alive_heads
from aila_jax.metrics.sums import perplexity, summarize
from aila_jax.model.interface import Dial
from aila_jax.model.margin import head_shares
from aila_jax.partition.correlation import PARALLEL
from aila_jax.partition.relations import Relation, rows_of
from aila_jax.partition.statistics import in_block_keys
from aila_jax.reporting import read_training_log
from aila_jax.reporting.own_sweep import own_sweep
from aila_jax.training.locality import scheduled_lam
from aila_jax.training.sharding import batch_sharding
from aila_jax.types import PADDING_ID, Array, Batch

GRID = tuple(round(index * STEP, 10) for index in range(round(1 / STEP) + 1))
ENDS = (0.0, 1.0)
SPREAD = PARTS[0]  # whatever the run's own rule is: the first windows of a split may be of one kind


@dataclass(frozen=True)
class SplitLoss:
    """The mean loss of windows that are spread over a split.

    Attributes:
      mean: nats a target.
      error: standard error of `mean`, from the differences between batches; 0 where the whole split is read,
        None where one batch cannot say.
      windows: how many.
    """

    mean: float
    error: float | None
    windows: int

    @property
    def perplexity(self) -> float:
        return perplexity(self.mean)

    @classmethod
    def of(cls, losses: Sequence[float], targets: Sequence[int], windows: int, whole: int) -> "SplitLoss":
        """From the mean loss and the targets of each batch; `windows` were read of `whole`."""
        mean = float(np.average(losses, weights=targets))
        if windows == whole:
            return cls(mean, 0.0, windows)
        if len(losses) == 1:
            return cls(mean, None, windows)
        # Without replacement from so many, the error goes to 0 as all are read.
        spread = np.std(losses, ddof=1) / np.sqrt(len(losses))
        return cls(mean, float(spread * np.sqrt(1 - windows / whole)), windows)


class FactFinder:
    """Collects facts about one model; what cannot be had is written down in `missing`, with the reason."""

    def __init__(self, model: LanguageModel, dataset: Dataset, folder: Path, batches: int, quiet: bool):
        """`folder`: the run's, with sweep.json and metrics.jsonl where they exist. `batches`: of text for
        what has to be measured.
        """
        self.model, self.dataset, self.folder, self.batches, self.quiet = (
            model,
            dataset,
            folder,
            batches,
            quiet,
        )
        self.missing: list[str] = []

    def facts(self) -> Facts:
        """All of them."""
        return Facts(
            run=self.model.run,
            dial=self.dial(),
            scores=self.scores(),
            blocks=self.blocks(),
            penalty=self.penalty(),
            training=self.training(),
            attention_cost=self.attention_cost(),
            missing=tuple(self.missing),
        )

    def text(self, split: str) -> list[Batch]:
        """Batches of windows that are spread over a split."""
        windows = split_windows(self.model.config, self.dataset, split)
        return list(eval_batches(windows, self.model.config.sweep.batch_size, self.batches))

    def measured(self, lams: tuple[float, ...], split: str | None = None, delta: bool = False) -> SweepResult:
        """A short sweep at τ = 1."""
        options = SweepOptions(
            lams=lams,
            taus=(1.0,),
            split=split,
            delta=delta,
            pointers="none",
            max_batches=self.batches,
            part=SPREAD,
        )
        return sweep_grid(self.model, self.dataset, options, self.quiet)

    @cached_property
    def ends(self) -> SweepResult:
        """Both ends of the dial, with score gaps."""
        return self.measured(ENDS, delta=True)

    @cached_property
    def largest(self) -> Float[np.ndarray, "ends N H"]:
        """The largest |s| of every layer and head at both ends of the dial."""
        lams = ENDS[-1:] if self.model.config.model.hard else ENDS
        return np.stack([largest_scores(self.model, self.text("validation"), lam, 1.0) for lam in lams])

    def dial(self) -> tuple[DialPoint, ...]:
        """From sweep.json where it is this checkpoint's and has the grid at τ = 1; else a short sweep."""
        if self.model.config.model.hard:
            self.missing.append("the dial: hard attention is read at λ = 1 only")
            result = self.measured((1.0,))
        else:
            result = self._found_sweep() or self.measured(GRID)
        cells = sorted((cell for cell in result.cells if cell.tau == 1.0), key=lambda cell: cell.lam)
        return tuple(
            DialPoint(cell.lam, cell.perplexity_token, cell.entropy_bits, cell.block_mass) for cell in cells
        )

    def _found_sweep(self) -> SweepResult | None:
        """The run's own sweep, or None where there is none with the dial's grid."""
        result = own_sweep(self.folder, self.model)
        if result is None:
            return None
        lams = {round(cell.lam, 10) for cell in result.cells if cell.tau == 1.0 and not cell.hard}
        return result if lams.issuperset(GRID) else None

    def scores(self) -> ScoreFacts:
        """The margin, and the scores that it has to outweigh."""
        config = self.model.config.model
        if config.hard:
            return ScoreFacts(None, (1.0,) * config.n_layers)
        zero, one = self.ends.cells
        limits = {"model.score_cap": config.score_cap, "model.g_max": config.g_max if config.qk_norm else 0.0}
        limit, name = min(((value, name) for name, value in limits.items() if value), default=(0.0, ""))
        guarantee = None
        if reason := why_uncertifiable(self.model.params, config):
            self.missing.append(f"what is guaranteed: {reason}")
        else:
            guarantee = certify(self.model, 1.0)
        return ScoreFacts(
            margin=config.margin,
            shares=tuple(head_shares(config, 1.0)[:, 0].tolist()),
            largest=float(self.largest[-1].max()),
            bound=None if guarantee is None else float(guarantee.gap.score_bound.max()),
            bound_name="" if guarantee is None else guarantee.gap.bound,
            guaranteed=None if guarantee is None else guarantee.least_block_mass,
            delta_zero=zero.delta_measured,
            delta_one=one.delta_measured,
            delta_share=one.delta_share,
            limit=limit,
            limit_name=name,
            keys_outside=max(config.length - 1, 1),
        )

    def blocks(self) -> BlockFacts:
        """What attention inside blocks could have, and how alike the blocks are to the first layer."""
        config = self.model.config
        mask = config.model.document_mask
        bits: list[np.ndarray] = []
        for batch in self.text("validation"):
            real = np.asarray(batch.doc_ids) != PADDING_ID
            if self.model.network.rules.plain:
                ids = np.asarray(self.model.partition(batch))
                docs = np.asarray(batch.doc_ids) if mask else None
                bits.append(np.log2(in_block_keys(ids, docs, config.model.bidirectional)[real]))
            else:
                bits.append(np.log2(np.maximum(keys_inside(self.model, batch), 1))[:, real].ravel())
        found = correlate_blocks(self.model, split_windows(config, self.dataset, "validation"), self.batches)
        rho, undefined = found.rho_max, found.rho_undefined
        if rho is None and found.rho_mean is not None:
            rho, undefined = (
                PARALLEL,
                "",
            )  # two means of one direction: 1 − ρ is noise there, but blocks could not be more alike
        return BlockFacts(float(np.concatenate(bits).mean()), rho, undefined, found.within)

    def penalty(self) -> PenaltyFacts:
        """Dead and flat heads, and the penalty beside its thresholds."""

        def at_zero() -> list[HeadRow]:
            return [row for row in self.ends.heads if row.lam == 0.0]

        found = penalty_facts(self.model, lambda: self.text("train"), at_zero, self.missing, self.quiet)
        if self.model.config.model.qkv_bias:
            self.missing.append("whether heads are flat: with biases their scores may be alike at any height")
            return found
        results = (
            () if self.model.config.model.hard else tuple(cell.perplexity_token for cell in self.ends.cells)
        )
        if not (all_finite(self.model.params) and np.isfinite(results).all()):
            self.missing.append("whether heads are flat: the weights or the results are not finite")
            return found
        flat_NxH = (self.largest.max(axis=0) < FLAT_SCORE) & np.asarray(alive_heads(self.model.params))
        return replace(found, flat_heads=int(np.sum(flat_NxH)))

    def training(self) -> TrainingFacts:
        """The log, and perplexity without dropout on the training and the validation split at one λ."""
        config = self.model.config
        per_step = config.train.batch_size * config.model.length
        tokens = len(self.dataset.splits["train"].tokens)
        lam = (
            1.0
            if config.model.hard
            else 0.0
            if config.locality.mode == DialMode.CONDITIONAL
            else config.locality.lam
        )
        seen, unseen = (self.split_loss(split, lam) for split in ("train", "validation"))
        errors = (seen.error, unseen.error)
        losses, skipped = self._log(per_step / tokens)
        return TrainingFacts(
            config.locality.mode,
            float(scheduled_lam(config.locality, self.model.step / config.train.steps)),
            epochs=self.model.step * per_step / tokens,
            losses=losses,
            skipped=skipped,
            train_perplexity=seen.perplexity,
            validation_perplexity=unseen.perplexity,
            pressure=config.locality.pressure,
            windows=(seen.windows, unseen.windows),
            ratio_error=None if None in errors else math.hypot(*(error for error in errors if error)),
        )

    def split_loss(self, split: str, lam: float) -> SplitLoss:
        """The loss of a part of a split at τ = 1, without dropout, and how sure it is."""
        config, batches = self.model.config, self.text(split)
        rows = config.sweep.batch_size
        dial = Dial(np.full(rows, lam, np.float32), np.ones(rows, np.float32))
        sharding = batch_sharding(rows, "sweep.batch_size")
        params = sharding.replicate(self.model.params)
        evaluation = Evaluation(config.model.hard, config.train.loss_chunk)
        parts = [
            summarize(evaluate(self.model.network, params, [batch], dial, sharding, evaluation))
            for batch in batches
        ]
        whole = len(split_windows(config, self.dataset, split))
        return SplitLoss.of(
            [part.loss for part in parts],
            [part.targets for part in parts],
            min(whole, rows * len(batches)),
            whole,
        )

    def _log(self, epochs_a_step: float) -> tuple[tuple[tuple[float, float], ...], int | None]:
        """(epoch, training loss) of each record up to the checkpoint's step, and the discarded updates;
        nothing without a log.
        """
        path = self.folder / "metrics.jsonl"
        if not path.exists():
            self.missing.append(f"the training log: there is no metrics.jsonl in {self.folder.name}")
            return (), None
        records = [
            record
            for record in read_training_log(path)
            if record["kind"] == "train" and record["step"] <= self.model.step
        ]
        losses = tuple(
            (record["step"] * epochs_a_step, float(record["loss"]))
            for record in records
            if record["loss"] is not None
        )
        return losses, int(records[-1].get("skipped", 0)) if records else None

    def attention_cost(self) -> tuple[tuple[float, float], ...]:
        """What removing attention costs at both ends of the dial."""
        lams = (1.0,) if self.model.config.model.hard else ENDS
        options = ScoringOptions(max_batches=self.batches, part=SPREAD)
        rows = without_attention(self.model, self.dataset, lams, options=options)
        return tuple((row.lam, row.cost) for row in rows)


def keys_inside(model: LanguageModel, batch: Batch) -> Int[np.ndarray, "N B L"]:
    """Keys inside of every query in each layer."""
    config = model.config.model
    blocks = model.network.blocks(batch)
    docs = batch.doc_ids if config.document_mask else None
    found = []
    for layer in range(len(blocks.layers)):
        relation = blocks.of_layer(layer, docs, not config.bidirectional)
        found.append(np.asarray(_count_inside(relation)))
    return np.stack(found)


@jax.jit
def _count_inside(relation: Relation) -> Int[Array, "B L"]:
    """Keys inside of every query, so many queries at a time."""
    rows, length = relation.block_ids.shape

    def some(at: Int[Array, "T"]) -> Int[Array, "B T"]:
        masks = relation.rows(jnp.broadcast_to(at, (rows, *at.shape))).masks()
        return jnp.sum(masks.attendable & masks.inside, axis=-1)[:, 0]

    return rows_of(some, length)

"""The threshold experiment: the papers' formula, the stationarity threshold and the proximal path, group by
group.
"""

from dataclasses import asdict, dataclass, field, replace

import jax
import numpy as np
from jaxtyping import Float

from aila_jax.config import (
    Config,
    DialMode,
    GroupWeights,
    LocalityConfig,
    MarginConfig,
    PartitionConfig,
    PartitionKind,
    Solver,
    require,
)
from aila_jax.data.dataset import Dataset
from aila_jax.data.pipeline import eval_batches
from aila_jax.evaluation.meta import origin_of
from aila_jax.inference.corpus import split_windows
from aila_jax.inference.language_model import LanguageModel
from aila_jax.loss.group_sparsity import PROJECTIONS
from aila_jax.loss.importance import anchor_weights, size_weights
from aila_jax.model.feature_groups import group_sizes
from aila_jax.model.interface import Dial
from aila_jax.model.margin import default_layer_scale
from aila_jax.thresholds.estimates import (
    LAYER,
    formula_undefined,
    input_estimates,
    score_gap,
    spread_batches,
)
from aila_jax.thresholds.formula import InputEstimates, predicted_thresholds
from aila_jax.thresholds.path import PathSettings, ZeroingPath, zeroing_path
from aila_jax.thresholds.rows import PathMeta, ThresholdMeta, ThresholdResult, ThresholdRow
from aila_jax.thresholds.stationarity import GroupThresholds, group_thresholds
from aila_jax.training.locality import training_dial

WINDOWS = (3, 5, 10)


def threshold_runs(base: Config) -> dict[str, Config]:
    """One run for each window size, by name: plain training (λ = 0) with localist positions, G = number of
    blocks.

    A third of the base's steps: 1.6M tokens for the preset `small`. λ stays 0 because the formula's δ is
    measured there, and because the λ of this experiment is the penalty's.
    """
    model = replace(base.model, margin=MarginConfig(), film=False, dial_weights="none", localist=True)
    short = replace(base.train, steps=max(base.train.steps // 3, 1))
    plain = LocalityConfig(mode=DialMode.FIXED, lam=0.0)
    return {
        f"window{size}": replace(
            base, model=model, train=short, locality=plain, partition=PartitionConfig(size=size)
        )
        for size in WINDOWS
    }


@dataclass(frozen=True)
class ThresholdSettings:
    """How much text is read, and how the path climbs.

    Attributes:
      inputs: batches for σ and ρ, spread evenly over the training split; 0 is all of it: the σ of windows
        differ by little.
      gaps: batches for δ, spread in the same way, at least 1.
      gradients: batches, spread in the same way, for the gradient at the checkpoint, at least 1, and at_zero:
        those of them, at least 1, in which every group is set to zero in turn, at 2·G·H passes a batch.
      gradient_rows: sequences in each, at least 1.
      held_out: batches of the evaluated split for loss and entropy along the path, at least 1.
      path: the path, or None for none.
    """

    inputs: int = 0
    gaps: int = 16
    gradients: int = 256
    at_zero: int = 4
    gradient_rows: int = 8
    held_out: int = 4
    path: PathSettings | None = field(default_factory=PathSettings)

    def __post_init__(self) -> None:
        require(
            self.inputs >= 0, "threshold.inputs", self.inputs, "at least 0, where 0 is all", "leave it out"
        )
        for name in ("gaps", "gradients", "at_zero", "gradient_rows", "held_out"):
            require(
                getattr(self, name) >= 1,
                f"threshold.{name}",
                getattr(self, name),
                "at least 1",
                "set it to 4",
            )
        fix = "raise threshold.gradients"
        require(
            self.at_zero <= self.gradients,
            "threshold.at_zero",
            self.at_zero,
            f"at most threshold.gradients ({self.gradients})",
            fix,
        )


def measure(
    model: LanguageModel, dataset: Dataset, settings: ThresholdSettings, quiet: bool = False
) -> ThresholdResult:
    """Estimates, predicts and measures the thresholds of the first layer's groups.

    Raises:
      ValueError: a model without feature groups, or a path for one whose logits do not depend on ‖W‖.
    """
    check(model.config, settings)
    config = model.config
    importance = importance_of(model)
    windows = split_windows(config, dataset, "train")
    rows = config.sweep.batch_size
    estimates, reason = None, formula_undefined(config)
    delta = None
    if not reason:
        text = (
            spread_batches(windows.batch, rows, settings.inputs)
            if settings.inputs
            else list(eval_batches(windows, rows))
        )
        estimates = input_estimates(model, text, quiet)
        delta = score_gap(model, spread_batches(windows.batch, rows, settings.gaps))
        reason = estimates.rho.undefined or (
            "" if delta is not None else "no query has keys inside and outside its block"
        )
    predicted = (
        None if estimates is None else predicted_thresholds(estimates, delta, config.locality.median_tau)
    )
    chosen = spread_batches(windows.batch, settings.gradient_rows, settings.gradients)
    dial = Dial(*training_dial(config, len(chosen[0].tokens)))
    at_zero = min(settings.at_zero, len(chosen))
    found = group_thresholds(model, chosen, dial, at_zero=at_zero, layers=(LAYER,), quiet=quiet)
    path = None
    if settings.path is not None:
        split = split_windows(config, dataset, config.sweep.split)
        path = zeroing_path(
            model,
            windows,
            list(eval_batches(split, rows, settings.held_out, config.sweep.part)),
            importance,
            settings.path,
            quiet,
        )
    meta = ThresholdMeta(
        **vars(origin_of(model, dataset)),
        settings=asdict(settings),
        undefined=reason,
        rho=None if estimates is None else estimates.rho.value,
        inputs_read=0 if estimates is None else int(estimates.counts.sum()),
        targets=found.targets,
        targets_at_zero=found.targets_at_zero,
        path=None if path is None else _path_meta(path),
    )
    return ThresholdResult(
        tuple(_rows(model, importance, estimates, delta, predicted, found, path)), config, meta
    )


def check(config: Config, settings: ThresholdSettings) -> None:
    """Raises ValueError where there are no groups, or where a path means nothing."""
    fix = "train with partition.kind=windows, or with --config.penalty.groups=16"
    require(
        config.feature_groups > 0,
        "penalty.groups",
        config.feature_groups,
        "above 0 for thresholds of groups",
        fix,
    )
    if settings.path is not None:
        fix = "measure without the path"
        require(
            not config.model.qk_norm,
            "model.qk_norm",
            True,
            "false for the path: logits do not depend on ‖W‖ there",
            fix,
        )


def importance_of(model: LanguageModel) -> Float[jax.Array, "H G"]:
    """a_i as the model's training has them at its end."""
    config = model.config
    if config.penalty.solver != Solver.NONE and config.penalty.weights != GroupWeights.SIZE:
        importance = np.asarray(model.need_anchors().importance)
        return anchor_weights(
            importance,
            config.model.n_heads,
            config.feature_groups,
            config.penalty.weights == GroupWeights.INVERSE_ANCHORS,
        )
    return size_weights(config.model.d_model, config.model.n_heads, config.feature_groups)


def _path_meta(path: ZeroingPath) -> PathMeta:
    return PathMeta(
        eta=path.eta,
        levels=path.levels.tolist(),
        share_zero=path.zero.mean(axis=(2, 3, 4)).tolist(),
        loss=path.loss.tolist(),
        entropy_bits=path.entropy.tolist(),
    )


def _rows(
    model: LanguageModel,
    importance: Float[jax.Array, "H G"],
    estimates: InputEstimates | None,
    delta: Float[np.ndarray, "H"] | None,
    predicted: Float[np.ndarray, "H G"] | None,
    found: GroupThresholds,
    path: ZeroingPath | None,
) -> list[ThresholdRow]:
    config = model.config
    a_HxG = np.asarray(importance, np.float64)
    scale = float(default_layer_scale(config.model)[LAYER])
    sizes = group_sizes(config.model.d_model, config.feature_groups)
    zeroed = None if path is None else path.zeroed()[LAYER]
    rows = []
    for head, projection, group in np.ndindex(config.model.n_heads, 2, config.feature_groups):
        at = (projection, group, head)
        level = None if zeroed is None or not np.isfinite(zeroed[at]) else float(zeroed[at])
        gradient = float(found.gradient[0][at])
        rows.append(
            ThresholdRow(
                run=model.run,
                seed=config.seed,
                commit=model.meta.get("commit", "unknown"),
                window=config.partition.size if config.partition.kind == PartitionKind.WINDOWS else None,
                layer=LAYER,
                head=head,
                projection=PROJECTIONS[projection],
                group=group,
                coordinates=int(sizes[group]),
                importance=float(a_HxG[head, group]),
                tokens=None if estimates is None else float(estimates.tokens[group]),
                sigma=None if estimates is None else float(estimates.sigma[group]),
                delta=None if delta is None else float(delta[head]),
                predicted=None if predicted is None else float(predicted[head, group]),
                gradient=gradient,
                noise=None if found.noise is None else float(found.noise[0][at]),
                stationarity=gradient / (scale * float(a_HxG[head, group])),
                path=level,
                path_lam=(
                    None if level is None or path is None or not path.zero[-1].all() else level / path.eta
                ),
            )
        )
    return rows

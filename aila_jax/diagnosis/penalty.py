"""What a diagnosis knows of the penalty: dead heads, its strength at the end of training, and the thresholds
beside it.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from aila_jax.config import GroupWeights, Solver
from aila_jax.diagnosis.facts import PenaltyFacts
from aila_jax.evaluation.rows import HeadRow
from aila_jax.inference.language_model import LanguageModel
from aila_jax.loss.group_sparsity import alive_heads
from aila_jax.loss.importance import anchor_weights, size_weights
from aila_jax.model.interface import Dial
from aila_jax.model.margin import default_layer_scale
from aila_jax.model.network import Network
from aila_jax.thresholds.formula import BlockSums, predicted_thresholds
from aila_jax.thresholds.stationarity import group_thresholds
from aila_jax.training.locality import training_dial
from aila_jax.training.penalty import penalty_strength
from aila_jax.types import Array, Batch

_inputs = jax.jit(Network.attention_inputs, static_argnames=("layer", "hard"))


def penalty_facts(
    model: LanguageModel,
    text: Callable[[], Sequence[Batch]],
    at_zero: Callable[[], Sequence[HeadRow]],
    missing: list[str],
    quiet: bool,
) -> PenaltyFacts:
    """Dead heads of any model, and for one trained with a penalty its strength and thresholds.

    Args:
      text: makes batches of the training split.
      at_zero: measures each head at λ = 0, with score gaps. Called where there is a penalty.
      missing: what could not be had is appended, with the reason.
    """
    config = model.config
    dead = int(np.sum(~np.asarray(alive_heads(model.params))))
    heads = config.model.n_layers * config.model.n_heads
    if config.penalty.solver == Solver.NONE:
        return PenaltyFacts(dead, heads)
    strength = penalty_strength(config, max(model.step - 1, 0))
    level = float(strength.lam) * float(strength.eta)
    stationarity, above = _stationarity(model, text, level, missing, quiet)
    return PenaltyFacts(
        dead,
        heads,
        config.penalty.solver,
        level,
        stationarity,
        above,
        _predicted(model, text, at_zero, missing),
    )


def _stationarity(
    model: LanguageModel, text: Callable[[], Sequence[Batch]], level: float, missing: list[str], quiet: bool
) -> tuple[float | None, float | None]:
    """Median of the λη from which on a zero group stays zero, and the share of groups that `level` reaches;
    over heads that are alive.

    With the λ and τ of training, as `aila threshold` has them: the λ of `level` is the penalty's, which is
    another where λ is drawn.
    """
    config = model.config
    alive_NxH = np.asarray(alive_heads(model.params))
    if config.penalty.scale_free:
        missing.append(
            "stationarity thresholds: they are those of the plain penalty, and this one is scale-free"
        )
        return None, None
    if not alive_NxH.any():
        missing.append("stationarity thresholds: every head is dead, and a dead head has no gradient")
        return None, None
    layers = tuple(range(config.model.n_layers))
    if config.locality.pressure or config.locality.distill:
        missing.append(
            "what pressure and distillation add to the stationarity thresholds, which are those of the"
            " cross-entropy alone"
        )
    batches = text()
    dial = Dial(*training_dial(config, len(batches[0].tokens)))
    found = group_thresholds(model, batches, dial, at_zero=1, layers=layers, quiet=quiet)
    scale_N = np.asarray(default_layer_scale(config.model), np.float64)
    weights_GxH = np.asarray(_group_weights(model), np.float64).T
    needed_Nx2xGxH = found.gradient / (scale_N[:, None, None, None] * weights_GxH[None, None])
    needed = needed_Nx2xGxH.transpose(0, 3, 1, 2)[alive_NxH]
    return float(np.median(needed)), float(np.mean(needed <= level))


def _group_weights(model: LanguageModel) -> Float[Array, "H G"]:
    """The penalty's weights a_i at the end of the run."""
    config = model.config
    groups, heads = config.feature_groups, config.model.n_heads
    if config.penalty.weights == GroupWeights.SIZE or model.anchors is None:
        return size_weights(config.model.d_model, heads, groups)
    return anchor_weights(
        np.asarray(model.anchors.importance),
        heads,
        groups,
        config.penalty.weights == GroupWeights.INVERSE_ANCHORS,
    )


def _predicted(
    model: LanguageModel,
    text: Callable[[], Sequence[Batch]],
    at_zero: Callable[[], Sequence[HeadRow]],
    missing: list[str],
) -> float | None:
    """Median of the papers' threshold, where its setting is the run's: localist positions, first layer,
    inputs at λ = 0.
    """
    config = model.config
    if not config.model.localist:
        missing.append("the papers' threshold: it is about localist positions (model.localist)")
        return None
    if config.model.hard:
        missing.append(
            "the papers' threshold: its δ is measured at λ = 0, where hard attention cannot be read"
        )
        return None
    sums = BlockSums(config.feature_groups, config.model.d_model)
    dial = Dial(jnp.float32(0.0), jnp.float32(1.0))
    for batch in text():
        sums.add(
            np.asarray(_inputs(model.network, model.params, batch, dial)),
            np.asarray(model.partition(batch)),
        )
    estimates = sums.estimates()
    delta = [row.delta_measured for row in at_zero() if row.layer == 0]
    found = predicted_thresholds(
        estimates, None if None in delta else np.array(delta, np.float64), config.locality.median_tau
    )
    if found is None:
        missing.append(
            "the papers' threshold:"
            f" {estimates.rho.undefined or 'no query has keys both in its block and outside it'}"
        )
    return None if found is None else float(np.median(found))

"""AdamW and Muon with warm-up, cosine and clipping, and AdamW's proximal form."""

from collections.abc import Collection
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float
from optax.contrib import MuonDimensionNumbers, muon

from aila_jax.config import OptimizerKind, PenaltyConfig, Solver, TrainConfig
from aila_jax.loss.group_sparsity import DIAL, PROJECTIONS, is_kernel
from aila_jax.training.proximal import proximal_adamw
from aila_jax.types import Array

MUON_RMS = 0.2  # of the numbers of a step, in rates: what AdamW's usually have


def learning_rate(config: TrainConfig, highest: Float[Array, ""] | None = None) -> optax.Schedule:
    """Linear warm-up to the highest rate, then a cosine to `final_rate` times it at the last step.

    With the schedule `exact`, step k of n warm-up steps has k/n of the highest rate. Without a warm-up the
    first step has all of it; a warm-up as long as the run ends one step before the last. The only step of a
    run of one is its last, or has the highest rate where `final_rate` is 0.

    Args:
      config: the schedule.
      highest: the highest rate, traced, where one program serves several; None: that of `config`. The
        schedule `offset` has no such form.
    """
    if config.schedule == "exact":
        return partial(_exact_rate, config, config.learning_rate if highest is None else highest)
    assert highest is None, "its optax form branches on the rate"
    warmup = min(config.warmup_steps, config.steps)
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0 if warmup else config.learning_rate,
        peak_value=config.learning_rate,
        warmup_steps=warmup,
        decay_steps=max(config.steps, warmup + 1),
        end_value=config.learning_rate * config.final_rate,
    )


def _exact_rate(config: TrainConfig, highest: Float[Array, ""] | float, count: Array) -> Array:
    """The rate of step `count` + 1: the optimizer counts the updates before it."""
    step, last = jnp.asarray(count) + 1, config.steps
    final = config.final_rate if last > 1 else config.final_rate or 1.0
    warmup = min(max(config.warmup_steps, 1), last - 1)
    share = jnp.clip((step - warmup) / (last - warmup), 0.0, 1.0)
    cosine = final + (1.0 - final) * 0.5 * (1.0 + jnp.cos(jnp.pi * share))
    return highest * jnp.where(step < warmup, step / max(warmup, 1), cosine)


def learning_rates(config: TrainConfig) -> Float[np.ndarray, "steps"]:
    """The rate of every step, on the host: asking the schedule during training would queue behind the steps
    in flight.
    """
    return np.asarray(jax.vmap(learning_rate(config))(jnp.arange(config.steps)))


def decayed(params: Any, spared: Collection[str] = ()) -> Any:
    """True for matrices, but for biases and for the attention kernels named in `spared`.

    Biases, LayerNorm and FiLM vectors and head scales are not decayed; nor is a kernel that the penalty acts
    on.
    """

    def chosen(path: tuple[Any, ...], x: Array) -> bool:
        return x.ndim >= 2 and getattr(path[-1], "key", None) != "bias" and not is_kernel(path, spared)

    return jax.tree_util.tree_map_with_path(chosen, params)


def turns_with_the_dial(params: Any) -> Any:
    """True for the weights W′ of `model.dial_weights`."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: any(str(getattr(part, "key", "")).endswith(DIAL) for part in path), params
    )


def penalised_kernels(penalty: PenaltyConfig) -> tuple[str, ...]:
    """The attention projections on which weight decay is off, because R, its proximal operator, or ν acts on
    them.
    """
    if penalty.solver == Solver.NONE:
        return ()
    return (PROJECTIONS if penalty.eta > 0 else ()) + (("value",) if penalty.nu > 0 else ())


def adamw_at(
    rate: optax.Schedule, config: TrainConfig, spared: Collection[str] = ()
) -> optax.GradientTransformation:
    """AdamW as `config` has it but at this rate: no decay on the kernels of `spared`, and W′ at its own share
    of the rate.
    """
    return _dialled(_adamw(rate, config, spared), config)


def muon_at(
    rate: optax.Schedule, config: TrainConfig, spared: Collection[str] = ()
) -> optax.GradientTransformation:
    """Optax's Muon on the matrices of layers, AdamW on all else; otherwise as `adamw_at`. A matrix moves as
    far as it usually does with AdamW, so that rates are of one size.
    """
    matrices = muon(
        rate,
        weight_decay=config.weight_decay,
        weight_decay_mask=partial(decayed, spared=spared),
        muon_weight_dimension_numbers=layer_matrices,
        consistent_rms=MUON_RMS,
    )
    # Its own AdamW would decay biases and norms too.
    parts = {OptimizerKind.MUON: matrices, OptimizerKind.ADAMW: _adamw(rate, config, spared)}
    return _dialled(optax.partition(parts, _optimizer_of_each), config)


def layer_matrices(params: Any) -> Any:
    """Which axes of a layer's kernel are read and which written, as one matrix over all heads; None for every
    other parameter.
    """

    def axes(path: tuple[Any, ...], x: Array) -> MuonDimensionNumbers | None:
        keys = [str(getattr(part, "key", "")) for part in path]
        if keys[-1] != "kernel" or not keys[0].startswith("layer_"):
            return None
        read = x.ndim - 1 if keys[-2].startswith("out") else 1  # by `out`, heads and their features
        return MuonDimensionNumbers(tuple(range(read)), tuple(range(read, x.ndim)))

    return jax.tree_util.tree_map_with_path(axes, params)


def _optimizer_of_each(params: Any) -> Any:
    return jax.tree.map(
        lambda axes: OptimizerKind.ADAMW if axes is None else OptimizerKind.MUON,
        layer_matrices(params),
        is_leaf=lambda axes: axes is None or isinstance(axes, MuonDimensionNumbers),
    )


def _adamw(
    rate: optax.Schedule, config: TrainConfig, spared: Collection[str]
) -> optax.GradientTransformation:
    return optax.adamw(
        rate, b2=config.beta2, weight_decay=config.weight_decay, mask=partial(decayed, spared=spared)
    )


def _dialled(
    transformation: optax.GradientTransformation, config: TrainConfig
) -> optax.GradientTransformation:
    if config.dial_rate == 1.0:
        return transformation
    return optax.chain(transformation, optax.masked(optax.scale(config.dial_rate), turns_with_the_dial))


def build_optimizer(
    config: TrainConfig,
    penalty: PenaltyConfig | None = None,
    groups: int = 0,
    highest: Float[Array, ""] | None = None,
) -> optax.GradientTransformationExtraArgs:
    """The optimizer that `config` and `penalty` describe.

    With the solver `proximal` its `update` needs `penalty: PenaltyArgs` as extra argument; the others ignore
    it. `groups` is G, `highest` as in `learning_rate`; the optimizer's state does not depend on it.
    """
    penalty = PenaltyConfig() if penalty is None else penalty
    rate = learning_rate(config, highest)
    made = muon_at if config.optimizer == OptimizerKind.MUON else adamw_at
    chosen = made(rate, config, penalised_kernels(penalty))
    if penalty.solver == Solver.PROXIMAL:
        return proximal_adamw(rate, chosen, groups, clip_norm=config.clip_norm, b2=config.beta2)
    return optax.with_extra_args_support(optax.chain(optax.clip_by_global_norm(config.clip_norm), chosen))

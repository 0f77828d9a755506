"""How much of its margin each layer and head imposes at λ: the dial's curve, factors of layers, and heads
that turn one after another.
"""

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from aila_jax.config import MAX_MARGIN, ModelConfig, require
from aila_jax.config.checks import check_flag, plain, real
from aila_jax.model.arguments import is_traced, number_array
from aila_jax.types import Array


def default_layer_scale(config: ModelConfig) -> Float[Array, "N"]:
    """((ℓ + 1) / N)^β for layers ℓ = 0 … N − 1 (arXiv 2511.18375: β 0 uniform; 1, 3, 5 progressive)."""
    return (jnp.arange(1, config.n_layers + 1, dtype=jnp.float32) / config.n_layers) ** config.layer_beta


def check_layer_scale(scale: Any, n_layers: int) -> Float[Array, "N"]:
    """layer_scale as float32 [N]; raises ValueError for another shape or, where the values are known, one
    outside [0, 1].
    """
    limit, fix = f"{n_layers} numbers in [0, 1], one a layer", "leave it out for the configuration's"
    array = number_array("layer_scale", scale, limit, fix)
    known = not is_traced(array)
    right = array.shape == (n_layers,) and (not known or bool(np.all((array >= 0) & (array <= 1))))
    require(right, "layer_scale", scale, limit, fix)
    return jnp.asarray(array, jnp.float32)


def head_ranks(config: ModelConfig) -> Float[np.ndarray, "N H"]:
    """Place of each head in the order in which a staggered margin turns them, from 0 to 1.

    Head 0 of every layer comes first, then head 1 of every layer, every second time from the last layer to
    the first: so every layer keeps a share of its heads as long as the others do.
    """
    layers, heads = config.n_layers, config.n_heads
    order = np.arange(heads)[None, :] * layers + np.arange(layers)[:, None]
    order[:, 1::2] = order[::-1, 1::2]
    return order / max(layers * heads - 1, 1)


def imposed_share(
    config: ModelConfig, layer: int, lam: Float[Array, "..."], scale: Any
) -> Float[Array, "..."]:
    """Share of the margin that a layer imposes at λ: of λ's shape, or, where heads are staggered, [B, H] ([1,
    H] for a scalar λ).
    """
    stagger = config.margin.stagger
    if stagger:
        lam = turned(
            jnp.reshape(lam, (-1, 1)), head_ranks(config)[layer : layer + 1].astype(np.float32), stagger, jnp
        )
    return config.margin.share(lam * scale)


def head_shares(
    config: ModelConfig, lam: float, less: float = 0.0, layer_scale: Any = None
) -> Float[np.ndarray, "N H"]:
    """The share of its margin that each head imposes at λ, in float64: `imposed_share` of all layers.

    `less` is taken off each head's own λ, down to 0, unless λ = 1, where all are turned exactly.
    `layer_scale`: N factors of λ in [0, 1]; the configuration's by default.
    """
    scale_N = (
        default_layer_scale(config)
        if layer_scale is None
        else check_layer_scale(layer_scale, config.n_layers)
    )
    lam_NxH = np.full((config.n_layers, config.n_heads), lam)
    if config.margin.stagger:
        lam_NxH = turned(lam_NxH, head_ranks(config), config.margin.stagger, np)
        lam_NxH = lam_NxH if lam >= 1.0 else np.maximum(lam_NxH - less, 0.0)
    scaled = lam_NxH * np.asarray(scale_N, np.float64)[:, None]
    # Devices flush what is below float32's normal numbers to 0, and a power below 1 would make much of it.
    return np.asarray(config.margin.share(np.where(scaled < np.finfo(np.float32).tiny, 0.0, scaled)))


def turned(lam: Any, rank: Any, stagger: float, xp: ModuleType) -> Any:
    """λ of a head of rank r: 0 up to λ = σr, then rising to 1 at λ = σr + 1 − σ; exactly 0 at λ = 0 and
    exactly 1 at λ = 1.
    """
    rising = xp.clip((lam - stagger * rank) / (1.0 - stagger), 0.0, 1.0)
    return xp.where(lam >= 1.0, 1.0, rising)


@dataclass(frozen=True)
class SelfScaling:
    """Margin m_t = c · r_t + m0 in nats, with r_t the range of query t's scores, so that weights cannot
    outgrow it.

    Attributes:
      c: multiple of the range, from 0 to 10,000; from c = 1 on, λ = 1 guarantees block mass whatever the
        weights.
      m0: nats added to it, from 0 to 10,000.
      bend: b ≥ 1: λ imposes λ^b · c · r_t + λ · m0, so with b above 1 the range's part comes late. At λ = 0
        and 1 it changes nothing.
      exact: True takes max − min of the scores over A_t; False their bound 2‖q_t‖ max‖k_j‖ · scale.
    Source: ours (docs/method.md, section 2).
    """

    c: float = 1.0
    m0: float = 8.0
    exact: bool = True
    bend: float = 1.0

    def __post_init__(self) -> None:
        check_flag("SelfScaling.exact", self.exact)
        if not real(plain(self.bend)) or not 1.0 <= self.bend < math.inf:
            raise ValueError(
                f"SelfScaling.bend is {self.bend!r}; it must be finite and at least 1. Fix: bend=1 bends both"
                " parts alike."
            )
        for name in ("c", "m0"):
            check_margin(getattr(self, name), f"SelfScaling.{name}")

    def nats(self, lam: Float[Array, "..."], range_t: Float[Array, "..."]) -> Float[Array, "..."]:
        """What λ is multiplied by, for queries whose scores have these ranges; shapes that broadcast."""
        later = 1.0 if self.bend == 1.0 else lam ** (self.bend - 1.0)
        return later * self.c * range_t + self.m0

    @staticmethod
    def range_of_norms(
        scale_H: Float[Array, "H"], queries: Float[Array, "B H T"], keys: Float[Array, "B H T"]
    ) -> Float[Array, "B H T"]:
        """The bound of a range by the norms of queries and the largest norms of their keys."""
        # 1 % covers the rounding of scores, so that the bound stays one where matrix products read bfloat16
        # (2⁻⁸ of each operand), as those of float32 do on accelerators by default; norms are no matrix
        # products.
        return 2.02 * jnp.abs(scale_H)[None, :, None] * queries * keys


Margin = float | SelfScaling


def check_margin(value: float, name: str = "margin") -> None:
    """Raises ValueError unless a concrete margin is from 0 to `MAX_MARGIN`; one that is traced is not looked
    at.
    """
    array = number_array(name, value, "a number of nats", "8 is the default")
    if is_traced(array):
        return
    if array.shape != () or not 0.0 <= float(array) <= MAX_MARGIN:
        raise ValueError(
            f"{name} is {value!r}; it must be from 0 to {MAX_MARGIN:g}, or float32 loses the scores beside"
            " it. Fix: 8 is the default; `hard=True` is block attention."
        )


def check_gate(value: Any) -> float:
    """κ of the gate; ValueError unless it is a number from 0 to `MAX_MARGIN`. It is static: 0 is another
    program.
    """
    value = plain(value)
    right = real(value) and 0.0 <= value <= MAX_MARGIN
    limit, fix = f"a number from 0 to {MAX_MARGIN:g}", "1 leaves nothing outside at λ = 1, 0 is no gate"
    require(right, "gate", value, limit, fix)
    return float(value)

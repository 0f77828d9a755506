"""How large a head's attention scores can be, whatever the input: from its weights, or from
QK-normalisation.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from aila_jax.cards import Card, Shown, span
from aila_jax.config import ModelConfig
from aila_jax.guarantees.norms import ROUNDING, Projection, arithmetic_of, product_norms, spectral_norms
from aila_jax.model.layers import head_scale

ROTATION_ROUNDING = 1e-6  # of float32's cos, sin and products; beside one more rounding to the compute type
CAP_ROUNDING = 1e-6  # of float32's tanh and of the product with the cap
QK_NORM_ROUNDING = {"float32": 1e-5, "bfloat16": 1e-2}


@dataclass(frozen=True, eq=False, repr=False)
class ScoreBounds(Shown):
    """Bounds on the scores of every layer and head.

    Attributes:
      score: S: for every input and query t there is a number, the same for all keys j, that s_tj differs from
        by at most S. What is constant in j cancels in the softmax.
      largest: a bound on |s_tj| itself, for the rounding of float32.
    """

    score: Float[np.ndarray, "N H"]
    largest: Float[np.ndarray, "N H"]

    def capped(self, config: ModelConfig) -> "ScoreBounds":
        """The same after `model.score_cap`: at most the cap, and at most what it was, since c · tanh(s / c)
        never moves two scores apart.
        """
        cap = cap_bounds(config)
        return ScoreBounds(np.minimum(self.score, cap.score), np.minimum(self.largest, cap.largest))

    def card(self) -> Card:
        return Card("ScoreBounds, nats", {"score": span(self.score), "largest": span(self.largest)})


def cap_bounds(config: ModelConfig) -> ScoreBounds:
    """S = c, the score cap, of every layer and head, and 1e-6 of it for rounding: |c · tanh(s / c)| ≤ c
    whatever the weights. Source: ours.
    """
    most = np.full((config.n_layers, config.n_heads), config.score_cap * (1.0 + CAP_ROUNDING))
    return ScoreBounds(most, most)


def parameter_bounds(
    params: Any, config: ModelConfig, lam: float = 0.0, arithmetic: str | None = None
) -> ScoreBounds:
    """S from the weights: S = ( D · ‖A_Q A_Kᵀ‖₂ + √D · ‖A_K b‖₂ + ρ ) / √K,  A = P · Λ · W,  b = W_Qᵀ s +
    b_Q,  Λ = diag(1 + λa), s = λc.

    Proof. A LayerNorm without scale and bias returns x with Px = x (P subtracts the mean) and ‖x‖ ≤ √D.
    Attention reads Λx + s, with Λ = 1 and s = 0 without FiLM. So q_t = A_Qᵀ x_t + b and k_j = A_Kᵀ x_j +
    (W_Kᵀ s + b_K), whose last part is constant in j and cancels: what is left of √K · s_tj is x_tᵀ A_Q A_Kᵀ
    x_j + bᵀ A_Kᵀ x_j, and the two terms are at most those above. Each is attained by some x_t and x_j. Since
    ‖A_Q A_Kᵀ‖ ≤ ‖A_Q‖ ‖A_K‖, S never exceeds (√D‖A_Q‖ + ‖b‖) · √D‖A_K‖ / √K. With `dial_weights`, W is W +
    λW′.

    ρ is for rounding, which moves q and k by at most E_Q and E_K (`Projection.off`), and so √K times the
    score, but for a part that is constant in j, by at most ρ = E_Q · √D‖A_K‖ + (√D‖A_Q‖ + ‖b‖ + E_Q) · E_K. E
    is relative to ‖W‖ where W is not centred; with centred weights and no biases ρ is about 1e-5 of the rest
    in float32, 3 % in bfloat16.

    With rotary positions (`rotary_base`) a query and a key are turned by their positions, so that A_Q and A_K
    are no longer next to each other and no part of a score is constant in j. Turning leaves lengths as they
    are: S is the bound on |s|, ‖q_t‖ ‖k_j‖ / √K at most.

    Args:
      params: the model's.
      config: its shape, without `qk_norm`.
      lam: λ in [0, 1], which FiLM shows to the network.
      arithmetic: `float32` or `bfloat16`, that of the matrix products; `arithmetic_of(config)` by default.
    Raises:
      ValueError: weights that are not finite.
    Source: ours (docs/certificates.md).
    """
    u = ROUNDING[arithmetic or arithmetic_of(config)]
    bounds = [_layer_bounds(params[f"layer_{layer}"], config, lam, u) for layer in range(config.n_layers)]
    score, largest = (np.stack(values) for values in zip(*bounds, strict=True))
    return ScoreBounds(score, largest)


def qk_norm_bounds(
    params: Any, config: ModelConfig, lam: float = 0.0, arithmetic: str | None = None
) -> ScoreBounds:
    """S = g_h, since queries and keys have length at most 1; 1e-5 more for the rounding of float32, 1 % more
    for bfloat16.

    Args:
      as in `parameter_bounds`; `config` must have `qk_norm`.
    """
    inflated = 1.0 + QK_NORM_ROUNDING[arithmetic or arithmetic_of(config)]
    score = (
        np.stack(
            [
                head_scales(params[f"layer_{layer}"]["attention"], config, lam)
                for layer in range(config.n_layers)
            ]
        )
        * inflated
    )
    return ScoreBounds(score, score)


def head_scales(attention: Any, config: ModelConfig, lam: float) -> Float[np.ndarray, "H"]:
    """g_h of one layer's heads at λ, as the model computes it."""
    return np.asarray(head_scale(attention["qk_scale"], config.g_max), np.float64)


def _layer_bounds(
    layer: Any, config: ModelConfig, lam: float, u: float
) -> tuple[Float[np.ndarray, "H"], Float[np.ndarray, "H"]]:
    """S and the bound on |s| of each head of one layer."""
    query, key = (Projection.of(layer, name, config, lam) for name in ("query", "key"))
    product_H = product_norms(query.centred_HxDxK, key.centred_HxDxK)
    linear_H = np.linalg.norm(np.einsum("hdk,hk->hd", key.centred_HxDxK, query.constant_HxK), axis=-1)
    root, width = math.sqrt(config.d_model), math.sqrt(config.head_size)
    most_q_H = root * spectral_norms(query.centred_HxDxK) + np.linalg.norm(query.constant_HxK, axis=-1)
    most_k_H = root * spectral_norms(key.centred_HxDxK)
    off_q_H, off_k_H = query.off(u), key.off(u)
    rounding_H = off_q_H * most_k_H + (most_q_H + off_q_H) * off_k_H
    largest_H = (most_q_H + off_q_H) * (most_k_H + np.linalg.norm(key.constant_HxK, axis=-1) + off_k_H)
    if config.rotary_base:
        largest_H *= (1.0 + ROTATION_ROUNDING + u) ** 2
        return largest_H / width, largest_H / width
    return (root**2 * product_H + root * linear_H + rounding_H) / width, largest_H / width

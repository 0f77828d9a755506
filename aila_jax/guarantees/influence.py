"""What attention outside the block can carry: a bound per head, and the divergence that measures what it did
carry.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from aila_jax.config import ModelConfig, check_lam, require
from aila_jax.guarantees.norms import ROUNDING, Projection, arithmetic_of, rounded, spectral_norms


def value_bounds(
    params: Any, config: ModelConfig, lam: float = 0.0, arithmetic: str | None = None
) -> Float[np.ndarray, "N H"]:
    """The most that one key can add to the residual stream through a head with weight 1: (‖A_V‖₂ · √D + ‖b‖₂
    + ρ) · ‖W_O‖₂.

    A = P · Λ · W_V and b = W_Vᵀs + b_V as in the certificates' score bounds: P centres, Λ = diag(1 + λa) and
    s = λc are FiLM's. So a value is v = Aᵀx + b with ‖x‖ ≤ √D. ρ is for the rounding of v (`Projection.off`),
    and 1 + 3u is put on top for that of the output.

    Args:
      params: the model's.
      config: its shape.
      lam: λ in [0, 1], which FiLM shows to the network.
      arithmetic: `float32` or `bfloat16`, that of the matrix products; `arithmetic_of(config)` by default.

    Returns:
      Lengths in the residual stream, at least 0. The output projection's own bias is not counted: it depends
        on no token.

    Raises:
      ValueError: a λ outside [0, 1], or weights that are not finite.
    Source: ours (docs/influence.md). Spectral norms in float64.
    """
    check_lam(lam)
    u = ROUNDING[arithmetic or arithmetic_of(config)]
    bounds = []
    for layer in range(config.n_layers):
        params_layer = params[f"layer_{layer}"]
        value = Projection.of(params_layer, "value", config, lam)
        out_HxKxD = rounded(params_layer, "out", "kernel", config)
        root = math.sqrt(config.d_model)
        longest_H = (
            root * spectral_norms(value.centred_HxDxK)
            + np.linalg.norm(value.constant_HxK, axis=-1)
            + value.off(u)
        )
        bounds.append(longest_H * spectral_norms(out_HxKxD) * (1 + 3 * u))
    return np.stack(bounds)


def contribution_bounds(
    out_mass: Float[np.ndarray, "N H"], values: Float[np.ndarray, "N H"]
) -> Float[np.ndarray, "N H"]:
    """ε · `values`: the most that keys outside the block add to the residual stream through each head.

    With ε guaranteed, it holds for every text; with ε the mean measured out-of-block mass, for the mean over
    the queries measured.

    Args:
      out_mass: ε, in [0, 1].
      values: from `value_bounds`.

    Raises:
      ValueError: an ε outside [0, 1].
    """
    inside = bool(np.all((out_mass >= 0.0) & (out_mass <= 1.0)))
    require(
        inside,
        "out_mass",
        np.asarray(out_mass).tolist(),
        "in [0, 1]",
        "give the attention outside the block, 1 − block mass",
    )
    return out_mass * values


def kl_nats(before: Float[np.ndarray, "B V"], after: Float[np.ndarray, "B V"]) -> Float[np.ndarray, "B"]:
    """KL(p ‖ q) = Σ_v p_v (ln p_v − ln q_v) in nats, p and q the softmax of each row of logits, in float64;
    exactly 0 for equal logits.
    """
    log_p, log_q = (_log_softmax(np.asarray(logits, np.float64)) for logits in (before, after))
    return np.sum(np.exp(log_p) * (log_p - log_q), axis=-1)


def _log_softmax(logits: Float[np.ndarray, "B V"]) -> Float[np.ndarray, "B V"]:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))

"""Spectral norms of attention's projections as a LayerNorm's output meets them: what bounds on scores and on
values are made of.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from aila_jax.config import DIAL_WEIGHTS, ModelConfig, NormKind, require

# Relative error of one rounding of a vector. float32: sums of up to some thousand products included.
# bfloat16, of 8 significant bits: 2⁻⁸.
ROUNDING = {"float32": 2e-6, "bfloat16": 2.0**-8}
DOUBLINGS = 20


@dataclass(frozen=True, eq=False)
class Projection:
    """A query, key or value projection as attention uses it. Attention reads Λx + s, where x is a LayerNorm's
    output before scale and bias (Px = x with P the centring projection, ‖x‖ ≤ √D), Λ = diag((1 + λa) · γ) and
    s = (1 + λa) · β + λc, with the norm's scale γ and bias β and FiLM's a and c (1 and 0 without). So the
    projection is Aᵀx + b with A = PΛW and b = Wᵀs + bias. An RMSNorm's output is not centred: P is 1 there.

    Heads of keys and values that serve several heads of queries stand here once for each of them.

    Attributes:
      centred_HxDxK: A, with W rounded to the compute type and, with `dial_weights`, W + λW′ for W.
      constant_HxK: b.
      rounded_H: (‖W‖₂ + λ‖W′‖₂) · R + ‖bias‖ with R = √D · max|1 + λa| + ‖s‖: no vector that the projection
        rounds on its way is longer.
      roundings: how many there are: of the input, the product and the sum with the bias, and with W′ of the
        sum of the two products.
    """

    centred_HxDxK: Float[np.ndarray, "H D K"]
    constant_HxK: Float[np.ndarray, "H K"]
    rounded_H: Float[np.ndarray, "H"]
    roundings: int

    @classmethod
    def of(cls, layer: Any, name: str, config: ModelConfig, lam: float) -> "Projection":
        """The projection `name` (query, key or value) of one layer's parameters, at λ. ValueError for weights
        that are not finite.
        """
        scale_D, shift_D = _norm_scale_and_shift(layer.get("attention_norm", {}), config, lam)
        kernel_HxDxK = _by_head(rounded(layer, name, "kernel", config).transpose(1, 0, 2), config)
        bias_HxK = np.zeros((config.n_heads, kernel_HxDxK.shape[2]))
        if "bias" in layer["attention"][name]:
            bias_HxK = _by_head(rounded(layer, name, "bias", config), config)
        norms_H = spectral_norms(kernel_HxDxK)
        turns = name in DIAL_WEIGHTS[config.dial_weights]
        if turns:
            turned_HxDxK = lam * _by_head(
                rounded(layer, f"{name}_dial", "kernel", config).transpose(1, 0, 2), config
            )
            kernel_HxDxK, norms_H = kernel_HxDxK + turned_HxDxK, norms_H + spectral_norms(turned_HxDxK)
        if config.adapters.turns(name):
            down_DxR = rounded(layer, f"{name}_down", "kernel", config)
            up_HxRxK = _by_head(rounded(layer, f"{name}_up", "kernel", config).transpose(1, 0, 2), config)
            adapter_HxDxK = lam * np.einsum("dr,hrk->hdk", down_DxR, up_HxRxK)
            kernel_HxDxK, norms_H = (
                kernel_HxDxK + adapter_HxDxK,
                norms_H + lam * float(np.linalg.norm(down_DxR, 2)) * spectral_norms(up_HxRxK),
            )
        scaled_HxDxK = scale_D[None, :, None] * kernel_HxDxK
        most_input = math.sqrt(config.d_model) * float(np.abs(scale_D).max()) + float(np.linalg.norm(shift_D))
        centre = 0.0 if config.norm == NormKind.RMS else scaled_HxDxK.mean(axis=1, keepdims=True)
        return cls(
            centred_HxDxK=scaled_HxDxK - centre,
            constant_HxK=np.einsum("d,hdk->hk", shift_D, kernel_HxDxK) + bias_HxK,
            rounded_H=norms_H * most_input + np.linalg.norm(bias_HxK, axis=-1),
            roundings=3 + turns + 2 * config.adapters.turns(name),
        )

    def off(self, u: float) -> Float[np.ndarray, "H"]:
        """How far rounding by a share `u` each time can move a query, key or value from Aᵀx + b, at most."""
        return self.roundings * u * self.rounded_H


def _norm_scale_and_shift(
    norm: Any, config: ModelConfig, lam: float
) -> tuple[Float[np.ndarray, "D"], Float[np.ndarray, "D"]]:
    """The diagonal of Λ, and s. ValueError for weights that are not finite."""
    scale_D, shift_D = np.ones(config.d_model), np.zeros(config.d_model)
    if config.norm != NormKind.CENTRED:
        own = norm["RMSNorm_0" if config.norm == NormKind.RMS else "LayerNorm_0"]
        scale_D = np.asarray(own["scale"], np.float64)
        shift_D = np.asarray(own.get("bias", shift_D), np.float64)
    if config.film:
        turned_D = 1.0 + lam * np.asarray(norm["film_scale"], np.float64)
        scale_D = scale_D * turned_D
        shift_D = shift_D * turned_D + lam * np.asarray(norm["film_shift"], np.float64)
    finite = bool(np.isfinite(scale_D).all() and np.isfinite(shift_D).all())
    fix = "load a checkpoint from before training diverged"
    what = "FiLM weights" if config.norm == NormKind.CENTRED else "weights of a norm"
    require(finite, what, "not finite", "finite numbers", fix)
    return scale_D, shift_D


def _by_head(values: Float[np.ndarray, "G ..."], config: ModelConfig) -> Float[np.ndarray, "H ..."]:
    """Once for each head of the queries."""
    return np.repeat(values, config.n_heads // len(values), axis=0)


def rounded(layer: Any, name: str, part: str, config: ModelConfig) -> Float[np.ndarray, "..."]:
    """Weights or biases of an attention projection, rounded to the compute type as the model rounds them."""
    values = (
        np.asarray(layer["attention"][name][part]).astype(jax.numpy.dtype(config.dtype)).astype(np.float64)
    )
    fix = "load a checkpoint from before training diverged"
    require(bool(np.isfinite(values).all()), f"{name} weights", "not finite", "finite numbers", fix)
    return values


def spectral_norms(matrices: Float[np.ndarray, "H I K"]) -> Float[np.ndarray, "H"]:
    """‖M‖₂ of each matrix from above: at least the largest singular value, and at most a millionth above
    it.
    """
    matrices = np.asarray(matrices, np.float64)
    wide = matrices.shape[1] < matrices.shape[2]
    return np.sqrt(_largest_eigenvalues(_squares(matrices.transpose(0, 2, 1) if wide else matrices)))


def product_norms(
    left: Float[np.ndarray, "H I K"], right: Float[np.ndarray, "H I K"]
) -> Float[np.ndarray, "H"]:
    """‖M Nᵀ‖₂ of each pair in the same way, without the [I, I] matrix: its square is the largest eigenvalue
    of MᵀM NᵀN.
    """
    return np.sqrt(
        _largest_eigenvalues(_squares(np.asarray(left, np.float64)) @ _squares(np.asarray(right, np.float64)))
    )


def _squares(matrices: Float[np.ndarray, "H I K"]) -> Float[np.ndarray, "H K K"]:
    """MᵀM, summed in one thread."""
    return np.einsum("hik,hij->hkj", matrices, matrices)


def _largest_eigenvalues(matrices: Float[np.ndarray, "H K K"]) -> Float[np.ndarray, "H"]:
    """Of matrices without negative eigenvalues: ‖M^n‖_F^(1/n) with n = 2²⁰, by repeated squaring.

    That is at least the largest eigenvalue for any n, as a guarantee needs and power iteration is not, and at
    most a factor of K^(1/2n) above it for a symmetric M. Rounding shrinks with the root: 1e-13. LAPACK's SVD
    is as good, but takes thousands of small steps in all threads of its library, and on a busy machine waits
    for them a hundred times as long as it computes.
    """
    # Relative to the largest entry, since squares of what float32 can hold to the fourth power leave
    # float64's range.
    largest = np.max(np.abs(matrices), axis=(1, 2))
    power = matrices / np.where(largest > 0.0, largest, 1.0)[:, None, None]
    logs = np.zeros(len(matrices))
    for doubling in range(DOUBLINGS + 1):
        size = np.sqrt(np.sum(power * power, axis=(1, 2)))
        with np.errstate(divide="ignore"):  # a matrix of zeros: ln 0 = −∞, and its eigenvalue is 0
            logs += np.log(size) / 2.0**doubling
        power = power / np.where(size > 0.0, size, 1.0)[:, None, None]
        power = power @ power
    return largest * np.exp(logs)


def arithmetic_of(config: ModelConfig) -> str:
    """The coarsest arithmetic that the model's matrix products may be in: `float32` or `bfloat16`.

    Accelerators round the operands of float32 products too, to TF32 or bfloat16, unless JAX is told not to
    (`jax_default_matmul_precision`); both are no coarser than bfloat16.
    """
    precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    exact = jax.default_backend() == "cpu" or precision in ("float32", "highest")
    return config.dtype if exact else "bfloat16"

"""Spectral norms of attention's projections as a LayerNorm's output meets them: what bounds on scores and on values are made of."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from aila_jax.config import DIAL_WEIGHTS, ModelConfig, require

# Relative error of one rounding of a vector. float32: sums of up to some thousand products included. bfloat16: 2⁻⁹.
ROUNDING = {"float32": 2e-6, "bfloat16": 2.0**-9}


@dataclass(frozen=True, eq=False)
class Projection:
    """A query, key or value projection as attention uses it. Attention reads Λx + s, where x is a LayerNorm's output without scale and
    bias (Px = x with P the centring projection, ‖x‖ ≤ √D), Λ = diag(1 + λa) and s = λc are FiLM's (1 and 0 without). So the projection
    is Aᵀx + b with A = PΛW and b = Wᵀs + bias.

    Attributes:
      kernel_HxDxK: W, rounded to the compute type. bias_HxK: 0 where there is none.
      centred_HxDxK: A. constant_HxK: b.
      most_input: R = √D · max|1 + λa| + ‖s‖, at least the length of anything that attention reads.
    """

    kernel_HxDxK: Float[np.ndarray, "H D K"]
    bias_HxK: Float[np.ndarray, "H K"]
    centred_HxDxK: Float[np.ndarray, "H D K"]
    constant_HxK: Float[np.ndarray, "H K"]
    most_input: float

    @classmethod
    def of(cls, layer: Mapping[str, Any], name: str, config: ModelConfig, lam: float) -> "Projection":
        """The projection `name` (query, key or value) of one layer's parameters, at λ. ValueError for weights that are not finite."""
        scale_D, shift_D = np.ones(config.d_model), np.zeros(config.d_model)
        if config.film:
            norm = layer["attention_norm"]
            scale_D = 1.0 + lam * np.asarray(norm["film_scale"], np.float64)
            shift_D = lam * np.asarray(norm["film_shift"], np.float64)
        dense, dtype = layer["attention"][name], jax.numpy.dtype(config.dtype)
        kernel_DxHxK = np.asarray(dense["kernel"]).astype(dtype).astype(np.float64)
        if name in DIAL_WEIGHTS[config.dial_weights]:
            kernel_DxHxK = kernel_DxHxK + lam * np.asarray(layer["attention"][f"{name}_dial"]["kernel"]).astype(dtype).astype(np.float64)
        bias_HxK = np.asarray(dense["bias"]).astype(dtype).astype(np.float64) if "bias" in dense else np.zeros(kernel_DxHxK.shape[1:])
        finite = bool(np.isfinite(kernel_DxHxK).all() and np.isfinite(bias_HxK).all())
        require(finite, f"{name} weights", "not finite", "finite numbers", "load a checkpoint from before training diverged")
        kernel_HxDxK = kernel_DxHxK.transpose(1, 0, 2)
        scaled_HxDxK = scale_D[None, :, None] * kernel_HxDxK
        return cls(
            kernel_HxDxK,
            bias_HxK,
            centred_HxDxK=scaled_HxDxK - scaled_HxDxK.mean(axis=1, keepdims=True),
            constant_HxK=np.einsum("d,hdk->hk", shift_D, kernel_HxDxK) + bias_HxK,
            most_input=math.sqrt(config.d_model) * float(np.abs(scale_D).max()) + float(np.linalg.norm(shift_D)),
        )


def spectral_norms(matrices: Float[np.ndarray, "H I K"]) -> Float[np.ndarray, "H"]:
    """The largest singular value of each matrix, by float64 SVD: a power iteration would give too small a number."""
    return np.linalg.norm(np.asarray(matrices, np.float64), 2, axis=(-2, -1))


def arithmetic_of(config: ModelConfig) -> str:
    """The coarsest arithmetic that the model's matrix products may be in: `float32` or `bfloat16`.

    Accelerators round the operands of float32 products too, to TF32 or bfloat16, unless JAX is told not to
    (`jax_default_matmul_precision`); both are no coarser than bfloat16.
    """
    precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    exact = jax.default_backend() == "cpu" or precision in ("float32", "highest")
    return config.dtype if exact else "bfloat16"

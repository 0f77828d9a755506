"""The papers' threshold formula, with every quantity in it estimated from a model's inputs."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from aila_jax.config import check_tau, require
from aila_jax.partition.correlation import VectorSums, rho
from aila_jax.types import GLOBAL_ID, PADDING_ID

LOSS_LIPSCHITZ = math.sqrt(
    2.0
)  # L_ℓ: the cross-entropy's gradient in the logits, softmax − one-hot, is never longer
MAX_EXPONENT = 700.0  # exp of more is no float64


@dataclass(frozen=True)
class Correlation:
    """ρ_max, or why there is none.

    Attributes:
      value: in [0, .999), or None.
      undefined: the reason, empty where there is a value.
    """

    value: float | None
    undefined: str = ""


@dataclass(frozen=True, eq=False)
class InputEstimates:
    """What the formula takes from the inputs of the blocks.

    Attributes:
      sigma: σ_X,i, the spectral norm of block i's centred inputs ÷ the square root of their number.
      tokens: |X_i|, tokens of block i a sequence, over the sequences that have any.
      rho: the largest absolute cosine between two block means, each less the corpus mean.
      counts: inputs of each block that were read.
      width: D.
    """

    sigma: Float[np.ndarray, "G"]
    tokens: Float[np.ndarray, "G"]
    rho: Correlation
    counts: Int[np.ndarray, "G"]
    width: int


class BlockSums:
    """Adds up counts, sums and second moments of each block's inputs, over batches. Float64 on the host, G·D²
    numbers.
    """

    def __init__(self, groups: int, width: int):
        """`groups`: G, block b is block b mod G. `width`: D."""
        self._counts, self._sequences = np.zeros(groups, np.int64), np.zeros(groups, np.int64)
        self._sums, self._moments = np.zeros((groups, width)), np.zeros((groups, width, width))

    def add(self, inputs: Float[np.ndarray, "B L D"], block_ids: Int[np.ndarray, "B L"]) -> None:
        """Counts one batch; padding and tokens of every block are in no block."""
        groups = len(self._counts)
        member = (block_ids != PADDING_ID) & (block_ids != GLOBAL_ID)
        owner = np.where(member, block_ids % groups, groups)
        for i in range(groups):
            mine = owner == i
            x = inputs[mine].astype(np.float64)
            self._counts[i] += len(x)
            self._sequences[i] += int(mine.any(axis=1).sum())
            self._sums[i] += x.sum(axis=0)
            self._moments[i] += x.T @ x

    def estimates(self) -> InputEstimates:
        """The estimates from everything added.

        Raises:
          ValueError: a block without a token.
        """
        empty = np.flatnonzero(self._counts == 0)
        require(
            not len(empty),
            "tokens of block",
            empty[:1].tolist(),
            "above 0 for every block",
            "read more text, or use fewer groups",
        )
        means = self._sums / self._counts[:, None]
        covariance = self._moments / self._counts[:, None, None] - means[:, :, None] * means[:, None, :]
        variance = np.linalg.eigvalsh(covariance)[:, -1]
        return InputEstimates(
            sigma=np.sqrt(np.maximum(variance, 0.0)),
            tokens=self._counts / self._sequences,
            rho=largest_correlation(VectorSums(np.arange(len(means)), self._counts, self._sums)),
            counts=self._counts.copy(),
            width=means.shape[1],
        )


def largest_correlation(sums: VectorSums) -> Correlation:
    """ρ_max = max over i ≠ j of |cos(m_i, m_j)| of the block means less the corpus mean; see
    `partition.correlation.rho`.

    Undefined for fewer than 3 blocks (two means less their own mean are always opposite), and from .999 on,
    where 1 − ρ_max is rounding.
    """
    found = rho(sums)
    return Correlation(found.largest, found.undefined)


def predicted_thresholds(
    estimates: InputEstimates, delta: Float[np.ndarray, "H"] | None, tau: float = 1.0
) -> Float[np.ndarray, "H G"] | None:
    """λ_i^(h)(τ, δ) = 2 · L_ℓ · R_x · σ_X,i · √|X_i| / (τ · (1 − ρ_max)) · exp(−δ_h / τ), with L_ℓ = √2 and
    R_x = √D.

    Args:
      delta: δ of each head in nats, measured at λ = 0 (at another λ it contains λ); None where no query has
        keys on both sides.
      tau: τ > 0.

    Returns:
      A number above 0 for each head and group, or None where ρ_max or δ is undefined. It is no bound for a
        transformer: W_V, W_O, the feed-forward network and the output layer are not in it, so only its ranks
        can be tested.

    Raises:
      ValueError: a τ outside its limits, or an exponent beyond float64.
    Source: 2511.03559; the estimators are ours (docs/method.md, "Thresholds").
    """
    check_tau(tau)
    if estimates.rho.value is None or delta is None:
        return None
    exponent_H = -np.asarray(delta, np.float64) / tau
    fix = "raise tau, or look at weights this large"
    require(
        bool(np.all(np.abs(exponent_H) < MAX_EXPONENT)),
        "δ / τ",
        float(-exponent_H.max()),
        f"within ±{MAX_EXPONENT:g}",
        fix,
    )
    level = 2.0 * LOSS_LIPSCHITZ * math.sqrt(estimates.width) / (tau * (1.0 - estimates.rho.value))
    return level * np.exp(exponent_H)[:, None] * (estimates.sigma * np.sqrt(estimates.tokens))[None, :]

"""Who may be timed: contestants that compute what the reference computes, from the same weights and tokens at
λ = 0.
"""

import math
from dataclasses import dataclass

from benchmarks.record import Proof
from benchmarks.runner import Evidence


@dataclass(frozen=True)
class Tolerance:
    """How far a contestant may be from the reference.

    Attributes:
      loss: nats, of the first step and of the evaluation.
      norm: relative, of the gradient norm.
      loss_after: nats, of the third step: Adam divides by the gradient's size, so rounding in tiny gradients
        grows.
      accuracy: share of the targets.
    """

    loss: float
    norm: float
    loss_after: float
    accuracy: float


FLOAT32 = Tolerance(loss=1e-4, norm=1e-3, loss_after=1e-3, accuracy=2e-3)
# The timed program where it is not the float32 one: products of 8 (bfloat16) or 10 bits (the tensor cores'
# float32).
REDUCED = Tolerance(loss=3e-2, norm=5e-2, loss_after=1e-1, accuracy=5e-2)


def compare(name: str, what: str, mine: Evidence, reference: Evidence, tolerance: Tolerance) -> Proof:
    """The figures of `mine` beside those of the reference.

    Raises:
      ValueError: they differ by more than the tolerance; then nothing may be timed.
    """
    train = bool(mine.losses)
    proof = Proof(
        what=what,
        loss=mine.losses[0] if train else None,
        reference_loss=reference.losses[0] if train else None,
        gradient_norm=mine.gradient_norms[0] if train else None,
        reference_gradient_norm=reference.gradient_norms[0] if train else None,
        loss_after=mine.losses[-1] if train else None,
        reference_loss_after=reference.losses[-1] if train else None,
        sweep_loss=mine.sweep_loss,
        reference_sweep_loss=None if mine.sweep_loss is None else reference.sweep_loss,
        accuracy=mine.accuracy,
        reference_accuracy=None if mine.accuracy is None else reference.accuracy,
    )
    _within(name, what, "loss", proof.loss, proof.reference_loss, tolerance.loss)
    norm = None if proof.reference_gradient_norm is None else tolerance.norm * proof.reference_gradient_norm
    _within(name, what, "gradient norm", proof.gradient_norm, proof.reference_gradient_norm, norm)
    _within(
        name,
        what,
        "loss after two updates",
        proof.loss_after,
        proof.reference_loss_after,
        tolerance.loss_after,
    )
    _within(name, what, "loss of an evaluation", proof.sweep_loss, proof.reference_sweep_loss, tolerance.loss)
    _within(name, what, "accuracy", proof.accuracy, proof.reference_accuracy, tolerance.accuracy)
    return proof


def _within(
    name: str, what: str, quantity: str, mine: float | None, reference: float | None, most: float | None
) -> None:
    if mine is None:
        return
    assert reference is not None and most is not None
    # Written so that NaN fails.
    if not (math.isfinite(reference) and abs(mine - reference) <= most):
        raise ValueError(
            f"{name} is not the same model: its {quantity} ({what}) is {mine!r}, ours is {reference!r}; they"
            f" may differ by {most:.2g}. Fix: nothing is timed until they agree"
        )

"""Token cross-entropy in float32."""

from dataclasses import dataclass

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from aila_jax.types import Array


def target_logits(logits: Float[Array, "B L V"], targets: Int[Array, "B L"]) -> Float[Array, "B L"]:
    """The logit of each position's target."""
    # A masked sum, not a gather: its gradient fuses with the softmax's, where a gather's would be a scatter
    # of its own.
    is_target = jax.lax.broadcasted_iota(targets.dtype, logits.shape, logits.ndim - 1) == targets[..., None]
    return jnp.sum(logits, axis=-1, where=is_target)


def token_losses(logits: Float[Array, "B L V"], targets: Int[Array, "B L"]) -> Float[Array, "B L"]:
    """−log softmax(logits)[target] of each position, in nats."""
    logits = logits.astype(jnp.float32)
    return jax.nn.logsumexp(logits, axis=-1) - target_logits(logits, targets)


@dataclass(frozen=True)
class Teaching:
    """Whether the first of several views of a sequence teaches the others: their targets are (1 − share) ·
    target + share · the first's prediction.

    No gradient flows into the first through what it teaches. In-place distillation, Yu & Huang 2019 (share 1
    there); over λ, ours.

    Attributes:
      views: of each sequence, side by side along the batch axis.
      share: in [0, 1].
    """

    views: int = 1
    share: float = 0.0


ALONE = Teaching()


def taught_losses(
    logits: Float[Array, "B L V"], targets: Int[Array, "B L"], teaching: Teaching
) -> Float[Array, "B L"]:
    """Cross-entropy of each position with what `teaching` wants there, in nats; `token_losses` where nobody
    teaches.
    """
    losses = token_losses(logits, targets)
    if not teaching.share:
        return losses
    logits = logits.astype(jnp.float32)
    logits_BxUxLxV = logits.reshape(-1, teaching.views, *logits.shape[1:])
    first = jax.nn.softmax(jax.lax.stop_gradient(logits_BxUxLxV[:, :1]), axis=-1)
    expected = jnp.sum(first * logits_BxUxLxV, axis=-1).reshape(targets.shape)
    share_B = teaching.share * (jnp.arange(len(targets)) % teaching.views > 0)
    return losses + share_B[:, None] * (target_logits(logits, targets) - expected)


@flax.struct.dataclass
class TargetScores:
    """How a model did on each target.

    Attributes:
      losses: −log p(target), nats.
      first: whether no other token outranks the target; a tie counts as first.
    """

    losses: Float[Array, "B L"]
    first: Bool[Array, "B L"]


def target_scores(logits: Float[Array, "B L V"], targets: Int[Array, "B L"]) -> TargetScores:
    """Losses and ranks of the targets under `logits`."""
    # Comparing with the maximum needs no argmax, which XLA runs slowly on CPUs.
    return TargetScores(
        token_losses(logits, targets), target_logits(logits, targets) >= jnp.max(logits, axis=-1)
    )

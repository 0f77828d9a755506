"""Token cross-entropy in float32."""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from aila_jax.types import Array


def target_logits(logits: Float[Array, "B L V"], targets: Int[Array, "B L"]) -> Float[Array, "B L"]:
    """The logit of each position's target."""
    # A masked sum, not a gather: its gradient fuses with the softmax's, where a gather's would be a scatter of its own.
    is_target = jax.lax.broadcasted_iota(targets.dtype, logits.shape, logits.ndim - 1) == targets[..., None]
    return jnp.sum(logits, axis=-1, where=is_target)


def token_losses(logits: Float[Array, "B L V"], targets: Int[Array, "B L"]) -> Float[Array, "B L"]:
    """−log softmax(logits)[target] of each position, in nats."""
    logits = logits.astype(jnp.float32)
    return jax.nn.logsumexp(logits, axis=-1) - target_logits(logits, targets)


@flax.struct.dataclass
class TargetScores:
    """How a model did on each target.

    Attributes:
      losses: −log p(target), nats. first: whether no other token outranks the target; a tie counts as first.
    """

    losses: Float[Array, "B L"]
    first: Bool[Array, "B L"]


def target_scores(logits: Float[Array, "B L V"], targets: Int[Array, "B L"]) -> TargetScores:
    """Losses and ranks of the targets under `logits`."""
    # Comparing with the maximum needs no argmax, which XLA runs slowly on CPUs.
    return TargetScores(token_losses(logits, targets), target_logits(logits, targets) >= jnp.max(logits, axis=-1))

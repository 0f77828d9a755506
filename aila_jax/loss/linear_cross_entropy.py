"""Cross-entropy straight from features, chunk by chunk, so that the logits of a batch never exist at once."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from aila_jax.loss.cross_entropy import TargetScores, target_logits, target_scores
from aila_jax.types import Array


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def linear_cross_entropy(
    features: Float[Array, "B L D"],
    embedding: Float[Array, "V D"],
    targets: Int[Array, "B L"],
    weights: Float[Array, "B L"],
    chunk: int,
) -> tuple[Float[Array, ""], Float[Array, "B L"]]:
    """Summed and single losses, nats, of logits = features · embeddingᵀ, each multiplied by its weight.

    The gradient is made in the forward pass, while a chunk's logits are in the cache: on CPUs the large buffers of the plain
    form cost more than its arithmetic. It flows from the sum to `features` and `embedding` only: the single losses are for
    the log, and `weights` are constants, to which no gradient flows.

    Args:
      chunk: tokens whose logits exist at once; the number of tokens need not be a multiple of it.
    Source: ours.
    """
    return _forward(features, embedding, targets, weights, chunk)[0]


def _forward(features, embedding, targets, weights, chunk):
    tokens, width = targets.size, features.shape[-1]

    def body(total, part):
        x_CxD, target_C, weight_C = part
        logits_CxV = jnp.einsum("cd,vd->cv", x_CxD, embedding, preferred_element_type=jnp.float32)
        lse_C = jax.nn.logsumexp(logits_CxV, axis=-1)
        is_target = jax.lax.broadcasted_iota(target_C.dtype, logits_CxV.shape, 1) == target_C[:, None]
        grad_CxV = ((jnp.exp(logits_CxV - lse_C[:, None]) - is_target) * weight_C[:, None]).astype(x_CxD.dtype)
        loss_C = (lse_C - target_logits(logits_CxV[None], target_C[None])[0]) * weight_C
        total += jnp.einsum("cv,cd->vd", grad_CxV, x_CxD, preferred_element_type=jnp.float32)
        return total, (loss_C, jnp.einsum("cv,vd->cd", grad_CxV, embedding, preferred_element_type=jnp.float32))

    grad_VxD, (losses, grad_x) = jax.lax.scan(
        body, jnp.zeros(embedding.shape, jnp.float32), tuple(_chunks(array, chunk) for array in (features, targets, weights))
    )
    losses_BxL = losses.reshape(-1)[:tokens].reshape(targets.shape)
    grad_BxLxD = grad_x.reshape(-1, width)[:tokens].reshape(features.shape).astype(features.dtype)
    return (jnp.sum(losses_BxL), losses_BxL), (grad_BxLxD, grad_VxD.astype(embedding.dtype))


def _backward(chunk, gradients, cotangents):
    grad_BxLxD, grad_VxD = gradients
    scale, _ = cotangents
    return (grad_BxLxD * scale).astype(grad_BxLxD.dtype), (grad_VxD * scale).astype(grad_VxD.dtype), None, None


linear_cross_entropy.defvjp(_forward, _backward)


def linear_target_scores(
    features: Float[Array, "B L D"], embedding: Float[Array, "V D"], targets: Int[Array, "B L"], chunk: int
) -> TargetScores:
    """`target_scores` of logits = features · embeddingᵀ, chunk by chunk; for evaluation."""

    def score(part: tuple[Array, Array]) -> TargetScores:
        x_CxD, target_C = part
        logits_CxV = jnp.einsum("cd,vd->cv", x_CxD, embedding, preferred_element_type=jnp.float32)
        return target_scores(logits_CxV[None], target_C[None])

    scores = jax.lax.map(score, (_chunks(features, chunk), _chunks(targets, chunk)))
    return jax.tree.map(lambda x: x.reshape(-1)[: targets.size].reshape(targets.shape), scores)


def _chunks(array: Array, chunk: int) -> Array:
    """[B, L, …] as [chunks, chunk, …], the last one filled up with zeros."""
    flat = array.reshape(-1, *array.shape[2:])
    chunk = min(chunk, len(flat))
    return jnp.pad(flat, ((0, -len(flat) % chunk),) + ((0, 0),) * (flat.ndim - 1)).reshape(-1, chunk, *array.shape[2:])

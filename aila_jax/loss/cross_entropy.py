"""Token cross-entropy in float32: from logits, or from features without ever holding all logits; against the
data alone, or also against what a first reading said.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

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
class Distillation:
    """Whether the first of several views of a sequence is the teacher of the others: their targets are
    (1 − share) · target + share · the first's prediction.

    No gradient flows into the teacher through that. In-place distillation, Yu & Huang 2019 (share 1
    there); over λ, ours.

    Attributes:
      views: of each sequence, side by side along the batch axis.
      share: in [0, 1].
      taught: share of a teacher's prediction in what all views are to predict then, in [0, 1].
    """

    views: int = 1
    share: float = 0.0
    taught: float = 0.0


ALONE = Distillation()


def distilled_losses(
    logits: Float[Array, "B L V"],
    targets: Int[Array, "B L"],
    distillation: Distillation,
    teacher: Float[Array, "B L V"] | None = None,
) -> Float[Array, "B L"]:
    """Cross-entropy of each position with what `distillation` wants there, in nats; `token_losses` where both
    shares are 0. `teacher`: the logits of the teacher, where there is one.
    """
    losses, logits = token_losses(logits, targets), logits.astype(jnp.float32)
    wanted = _distilled(logits, targets, losses, distillation)
    if teacher is None:
        return wanted
    probability = jax.nn.softmax(jax.lax.stop_gradient(teacher).astype(jnp.float32), axis=-1)
    learned = jax.nn.logsumexp(logits, axis=-1) - jnp.sum(probability * logits, axis=-1)
    return (1.0 - distillation.taught) * wanted + distillation.taught * learned


def _distilled(
    logits: Float[Array, "B L V"],
    targets: Int[Array, "B L"],
    losses: Float[Array, "B L"],
    distillation: Distillation,
) -> Float[Array, "B L"]:
    """The cross-entropy with targets and, in views after the first, the first's prediction."""
    if not distillation.share:
        return losses
    logits_BxUxLxV = logits.reshape(-1, distillation.views, *logits.shape[1:])
    first = jax.nn.softmax(jax.lax.stop_gradient(logits_BxUxLxV[:, :1]), axis=-1)
    expected = jnp.sum(first * logits_BxUxLxV, axis=-1).reshape(targets.shape)
    share_B = distillation.share * (jnp.arange(len(targets)) % distillation.views > 0)
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


Teacher = tuple[Float[Array, "B L D"], Float[Array, "V D"]]


@partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def linear_cross_entropy(
    features: Float[Array, "B L D"],
    embedding: Float[Array, "V D"],
    targets: Int[Array, "B L"],
    weights: Float[Array, "B L"],
    chunk: int,
    distillation: Distillation = ALONE,
    frozen: bool = False,
    teacher: Teacher | None = None,
) -> tuple[Float[Array, ""], Float[Array, "B L"]]:
    """Summed objective and single losses, nats, of logits = features · embeddingᵀ, each multiplied by its
    weight.

    The objective is the cross-entropy with each position's wanted distribution: its target, or what
    `distillation` mixes into it. The losses are −log p(target) either way, so that their sum is the objective
    where `distillation.share` is 0.

    The gradient is made in the forward pass, while a chunk's logits are in the cache: on CPUs the large
    buffers of the plain form cost more than its arithmetic. It flows from the objective to `features` and
    `embedding` only: the single losses are for the log, and `weights` are constants, to which no gradient
    flows.

    Args:
      chunk: tokens whose logits exist at once; the number of tokens need not be a multiple of it. Views of a
        position stay together.
      distillation: whether the first of several views of a sequence is the teacher of the others, and what
        another teacher's share is.
      frozen: the embedding is a constant: no gradient of it is made.
      teacher: features and embedding of a teacher whose prediction is mixed in; constants.
    Source: ours.
    """
    return _forward(features, embedding, targets, weights, chunk, distillation, frozen, teacher)[0]


# What the forward pass returns, and what it keeps for the backward one: gradients of features and embedding.
Losses = tuple[Float[Array, ""], Float[Array, "B L"]]
Gradients = tuple[Float[Array, "B L D"], Float[Array, "V D"] | None]


def _forward(
    features: Array,
    embedding: Array,
    targets: Array,
    weights: Array,
    chunk: int,
    distillation: Distillation,
    frozen: bool,
    teacher: Teacher | None,
) -> tuple[Losses, Gradients]:
    taught, known = (None, embedding) if teacher is None else teacher
    views = distillation.views
    chunk = max(chunk // views, 1) * views

    def body(
        total: Array | None, part: tuple[Array, Array, Array, Array | None]
    ) -> tuple[Array | None, tuple[Array, Array, Array]]:
        x_CxD, target_C, weight_C, teacher_CxD = part
        logits_CxV = jnp.einsum("cd,vd->cv", x_CxD, embedding, preferred_element_type=jnp.float32)
        lse_C = jax.nn.logsumexp(logits_CxV, axis=-1)
        probability_CxV = jnp.exp(logits_CxV - lse_C[:, None])
        is_target = jax.lax.broadcasted_iota(target_C.dtype, logits_CxV.shape, 1) == target_C[:, None]
        loss_C = (lse_C - target_logits(logits_CxV[None], target_C[None])[0]) * weight_C
        if distillation.share or teacher_CxD is not None:
            wanted_CxV = _distilled_targets(is_target, probability_CxV, distillation)
            if teacher_CxD is not None:
                taught_CxV = jax.nn.softmax(
                    jnp.einsum("cd,vd->cv", teacher_CxD, known, preferred_element_type=jnp.float32)
                )
                wanted_CxV = (1.0 - distillation.taught) * wanted_CxV + distillation.taught * taught_CxV
            objective_C = (lse_C - jnp.sum(wanted_CxV * logits_CxV, axis=-1)) * weight_C
        else:
            wanted_CxV, objective_C = is_target, loss_C
        grad_CxV = ((probability_CxV - wanted_CxV) * weight_C[:, None]).astype(x_CxD.dtype)
        if total is not None:
            total += jnp.einsum("cv,cd->vd", grad_CxV, x_CxD, preferred_element_type=jnp.float32)
        return total, (
            objective_C,
            loss_C,
            jnp.einsum("cv,vd->cd", grad_CxV, embedding, preferred_element_type=jnp.float32),
        )

    parts: Any = tuple(
        None if array is None else _chunks(_views_last(array, views), chunk, 3)
        for array in (features, targets, weights, taught)
    )
    total = None if frozen else jnp.zeros(embedding.shape, jnp.float32)
    grad_VxD, per_token = jax.lax.scan(body, total, parts)
    tokens = targets.size
    objective, losses_BxL, grad_BxLxD = (
        _views_first(x.reshape(-1, *x.shape[2:])[:tokens].reshape(-1, targets.shape[1], views, *x.shape[2:]))
        for x in per_token
    )
    return (jnp.sum(objective), losses_BxL), (
        grad_BxLxD.astype(features.dtype),
        None if grad_VxD is None else grad_VxD.astype(embedding.dtype),
    )


def _distilled_targets(is_target: Array, probability_CxV: Array, distillation: Distillation) -> Array:
    """What each row is to predict, where rows of one position stand together: of the first its target, of the
    others that mixed with the first's prediction.
    """
    if not distillation.share:
        return is_target.astype(jnp.float32)
    by_view = (-1, distillation.views, is_target.shape[-1])
    target_PxUxV, probability_PxUxV = is_target.reshape(by_view), probability_CxV.reshape(by_view)
    share_1xUx1 = distillation.share * (jnp.arange(distillation.views) > 0)[None, :, None]
    return ((1.0 - share_1xUx1) * target_PxUxV + share_1xUx1 * probability_PxUxV[:, :1]).reshape(
        is_target.shape
    )


def _views_last(array: Array, views: int) -> Array:
    """[B · views, L, …] as [B, L, views, …]."""
    return array.reshape(-1, views, *array.shape[1:]).swapaxes(1, 2)


def _views_first(array: Array) -> Array:
    """[B, L, views, …] as [B · views, L, …]."""
    turned = array.swapaxes(1, 2)
    return turned.reshape(-1, *turned.shape[2:])


def _backward(
    chunk: int, distillation: Distillation, frozen: bool, gradients: Gradients, cotangents: Losses
) -> tuple[Array, Array | None, None, None, None]:
    grad_BxLxD, grad_VxD = gradients
    scale, _ = cotangents
    return (
        (grad_BxLxD * scale).astype(grad_BxLxD.dtype),
        None if grad_VxD is None else (grad_VxD * scale).astype(grad_VxD.dtype),
        None,
        None,
        None,
    )


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


def _chunks(array: Array, chunk: int, axes: int = 2) -> Array:
    """The first `axes` axes, such as [B, L, …], as [chunks, chunk, …], the last one filled up with zeros."""
    flat = array.reshape(-1, *array.shape[axes:])
    chunk = min(chunk, len(flat))
    return jnp.pad(flat, ((0, -len(flat) % chunk),) + ((0, 0),) * (flat.ndim - 1)).reshape(
        -1, chunk, *flat.shape[1:]
    )

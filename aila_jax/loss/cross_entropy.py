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

from aila_jax.inner import inner
from aila_jax.types import Array

TILE = 8192  # words of the vocabulary whose logits exist at once in evaluation


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
    learned = jax.nn.logsumexp(logits, axis=-1) - inner(probability, logits)
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
    expected = inner(first, logits_BxUxLxV).reshape(targets.shape)
    share_B = distillation.share * (jnp.arange(len(targets)) % distillation.views > 0)
    return losses + share_B[:, None] * (target_logits(logits, targets) - expected)


@flax.struct.dataclass
class TargetScores:
    """How a model did on each target.

    Attributes:
      losses: −log p(target), nats.
      first: whether no other token outranks the target; a tie counts as first.
      top_losses: the same of the likeliest tokens, ascending; None where they were not asked for.
      top_ids: these tokens, of equals the smallest first.
    """

    losses: Float[Array, "B L"]
    first: Bool[Array, "B L"]
    top_losses: Float[Array, "B L K"] | None = None
    top_ids: Int[Array, "B L K"] | None = None


def target_scores(logits: Float[Array, "B L V"], targets: Int[Array, "B L"], top: int = 0) -> TargetScores:
    """Losses and ranks of the targets under `logits`, and the `top` likeliest tokens where there are any."""
    # Comparing with the maximum needs no argmax, which XLA runs slowly on CPUs.
    first = target_logits(logits, targets) >= jnp.max(logits, axis=-1)
    losses = token_losses(logits, targets)
    if not top:
        return TargetScores(losses, first)
    best, ids = jax.lax.top_k(jax.nn.log_softmax(logits.astype(jnp.float32)), top)
    return TargetScores(losses, first, -best, ids)


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
      targets: the same in all views of a position.
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
    views, share, mixed = distillation.views, distillation.share, distillation.taught
    chunk = max(chunk // views, 1) * views

    def body(
        total: Array | None, part: tuple[Array, Array, Array, Array | None]
    ) -> tuple[Array | None, tuple[Array, Array, Array]]:
        x_CxD, target_C, weight_C, teacher_CxD = part
        own = _read_out(x_CxD, embedding, target_C)
        loss_C = own.losses
        # By linearity, p − wanted is the sum of such differences from the target, and neither the wanted
        # distribution nor the difference from it is ever made: all that is mixed has D columns, not V.
        grad_CxD, objective_C = own.mean_weights(embedding), loss_C
        pulled_CxD = x_CxD * weight_C[:, None]
        own_CxD = pulled_CxD
        if share:
            first_CxD = _of_first_view(grad_CxD, views)
            share_C = (1.0 - mixed) * share * (jnp.arange(len(target_C)) % views > 0)
            objective_C -= share_C * inner(first_CxD, x_CxD)
            grad_CxD -= share_C[:, None] * first_CxD
            own_CxD = own_CxD - _to_first_view(share_C[:, None] * pulled_CxD, views)
        if total is not None:
            total += own.outer(own_CxD)
        if teacher_CxD is not None:
            said = _read_out(teacher_CxD, known, target_C)
            said_CxD = said.mean_weights(embedding)
            objective_C -= mixed * inner(said_CxD, x_CxD)
            grad_CxD -= mixed * said_CxD
            if total is not None:
                total -= mixed * said.outer(pulled_CxD)
        return total, (objective_C * weight_C, loss_C * weight_C, grad_CxD * weight_C[:, None])

    parts: Any = tuple(
        None if array is None else _chunks(_views_last(array, views), chunk, 3)
        for array in (features, targets, weights, taught)
    )
    total = None if frozen else jnp.zeros(embedding.shape[::-1], jnp.float32)
    grad_DxV, per_token = jax.lax.scan(body, total, parts)
    tokens = targets.size
    objective, losses_BxL, grad_BxLxD = (
        _views_first(x.reshape(-1, *x.shape[2:])[:tokens].reshape(-1, targets.shape[1], views, *x.shape[2:]))
        for x in per_token
    )
    return (jnp.sum(objective), losses_BxL), (
        grad_BxLxD.astype(features.dtype),
        None if grad_DxV is None else grad_DxV.T.astype(embedding.dtype),
    )


@dataclass(frozen=True)
class _ReadOut:
    """p − target of some rows as `gap_CxV` / `total_C`: one array of V columns, never divided as such.

    Attributes:
      losses: −log p(target), nats.
      gap_CxV: e^(logit − the row's largest), less their sum at the target, in the type of the features.
      total_C: that sum, at least 1.
    """

    losses: Float[Array, "C"]
    gap_CxV: Array
    total_C: Array

    def mean_weights(self, embedding: Float[Array, "V D"]) -> Float[Array, "C D"]:
        """Rows of `embedding` under p, less that of the target."""
        found = jnp.einsum("cv,vd->cd", self.gap_CxV, embedding, preferred_element_type=jnp.float32)
        return found / self.total_C[:, None]

    def outer(self, rows_CxD: Float[Array, "C D"]) -> Float[Array, "D V"]:
        """The sum over rows of row ⊗ (p − target); the other way round XLA's product takes twice as long on
        a CPU.
        """
        scaled_CxD = (rows_CxD / self.total_C[:, None]).astype(self.gap_CxV.dtype)
        return jnp.einsum("cd,cv->dv", scaled_CxD, self.gap_CxV, preferred_element_type=jnp.float32)


def _read_out(
    x_CxD: Float[Array, "C D"], embedding: Float[Array, "V D"], target_C: Int[Array, "C"]
) -> _ReadOut:
    logits_CxV = jnp.einsum("cd,vd->cv", x_CxD, embedding, preferred_element_type=jnp.float32)
    most_C = jnp.max(logits_CxV, axis=-1)
    # Read from the logits a second time, it would keep XLA from writing the powers into their buffer.
    hit_C = inner(x_CxD, jnp.take(embedding, target_C, axis=0, mode="clip"))
    powers_CxV = jnp.exp(logits_CxV - most_C[:, None])
    total_C = jnp.sum(powers_CxV, axis=-1)
    is_target = jax.lax.broadcasted_iota(target_C.dtype, powers_CxV.shape, 1) == target_C[:, None]
    gap_CxV = jnp.where(is_target, powers_CxV - total_C[:, None], powers_CxV).astype(x_CxD.dtype)
    return _ReadOut(jnp.log(total_C) + most_C - hit_C, gap_CxV, total_C)


def _of_first_view(rows_CxD: Array, views: int) -> Array:
    """For each row that of its position's first view; views of a position stand together."""
    by_view = rows_CxD.reshape(-1, views, rows_CxD.shape[-1])
    return jnp.broadcast_to(by_view[:, :1], by_view.shape).reshape(rows_CxD.shape)


def _to_first_view(rows_CxD: Array, views: int) -> Array:
    """At each first view the sum of its position's rows; 0 at the others."""
    by_view = rows_CxD.reshape(-1, views, rows_CxD.shape[-1])
    first = jnp.sum(by_view, axis=1, keepdims=True)
    return jnp.where(jnp.arange(views)[None, :, None] == 0, first, 0.0).reshape(rows_CxD.shape)


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
    features: Float[Array, "B L D"],
    embedding: Float[Array, "V D"],
    targets: Int[Array, "B L"],
    chunk: int,
    tile: int = TILE,
    top: int = 0,
) -> TargetScores:
    """`target_scores` of logits = features · embeddingᵀ in one pass over chunks of tokens and tiles of the
    vocabulary; for evaluation.

    Args:
      chunk: tokens at once, at least 1.
      tile: words of the vocabulary at once, at least 1 and `top`; no more logits than chunk · tile exist.
      top: how many of the likeliest tokens are returned beside each target, at most V.
    Source: the running sum of Milakov & Gimelshein 2018.
    """
    tile = min(max(tile, top), len(embedding))

    def score(part: tuple[Array, Array]) -> TargetScores:
        x_CxD, target_C = part
        tiles = -(-len(embedding) // tile)

        def body(number: Array, seen: _Seen) -> _Seen:
            # The last tile begins early enough to be whole; what the one before it held is not seen twice.
            begin = number * tile
            first = jnp.minimum(begin, len(embedding) - tile)
            rows_TxD = jax.lax.dynamic_slice_in_dim(embedding, first, tile)
            logits_CxT = jnp.einsum("cd,td->ct", x_CxD, rows_TxD, preferred_element_type=jnp.float32)
            if len(embedding) % tile:
                logits_CxT = jnp.where(first + jnp.arange(tile) < begin, -jnp.inf, logits_CxT)
            return seen.then(logits_CxT, first, target_C - first)

        seen = _Seen.nothing(len(target_C), top)
        seen = body(jnp.int32(0), seen) if tiles == 1 else jax.lax.fori_loop(0, tiles, body, seen)
        return seen.scores

    scores = jax.lax.map(score, (_chunks(features, chunk), _chunks(targets, chunk)))
    return jax.tree.map(
        lambda x: x.reshape(-1, *x.shape[2:])[: targets.size].reshape(*targets.shape, *x.shape[2:]), scores
    )


@flax.struct.dataclass
class _Seen:
    """What tiles of the vocabulary said of some targets.

    Attributes:
      most: the largest logit.
      total: Σ e^(logit − most).
      hit: the target's logit; −∞ before its tile.
      top: the largest logits, descending.
      ids: their tokens.
    """

    most: Float[Array, "C"]
    total: Float[Array, "C"]
    hit: Float[Array, "C"]
    top: Float[Array, "C K"]
    ids: Int[Array, "C K"]

    @classmethod
    def nothing(cls, rows: int, top: int) -> "_Seen":
        none = jnp.full((rows, top + 2), -jnp.inf, jnp.float32)
        return cls(none[:, 0], jnp.zeros(rows), none[:, 1], none[:, 2:], jnp.zeros((rows, top), jnp.int32))

    def then(self, logits_CxT: Float[Array, "C T"], first: Array, target_C: Int[Array, "C"]) -> "_Seen":
        """With another tile, whose first token is `first`; targets are counted from it."""
        width = logits_CxT.shape[1]
        most_C = jnp.maximum(self.most, jnp.max(logits_CxT, axis=-1))
        total_C = self.total * jnp.exp(self.most - most_C)
        total_C += jnp.sum(jnp.exp(logits_CxT - most_C[:, None]), axis=-1)
        # A gather: a masked sum would be an array of its own beside the logits.
        here_C = jnp.take_along_axis(logits_CxT, jnp.clip(target_C, 0, width - 1)[:, None], axis=-1)[:, 0]
        hit_C = jnp.where((target_C >= 0) & (target_C < width), jnp.maximum(self.hit, here_C), self.hit)
        top, ids = self.top, self.ids
        if count := top.shape[1]:
            best, places = jax.lax.top_k(logits_CxT, count)
            # Those seen before stand first, so that of equals the smallest id does.
            top, order = jax.lax.top_k(jnp.concatenate((top, best), axis=1), count)
            ids = jnp.take_along_axis(jnp.concatenate((ids, first + places), axis=1), order, axis=1)
        return _Seen(most_C, total_C, hit_C, top, ids)

    @property
    def scores(self) -> TargetScores:
        """Of the whole vocabulary."""
        normalizer_C = self.most + jnp.log(self.total)
        asked = self.top.shape[1] > 0
        return TargetScores(
            losses=normalizer_C - self.hit,
            first=self.hit >= self.most,
            top_losses=normalizer_C[:, None] - self.top if asked else None,
            top_ids=self.ids if asked else None,
        )


def _chunks(array: Array, chunk: int, axes: int = 2) -> Array:
    """The first `axes` axes, such as [B, L, …], as [chunks, chunk, …], the last one filled up with zeros."""
    flat = array.reshape(-1, *array.shape[axes:])
    chunk = min(chunk, len(flat))
    return jnp.pad(flat, ((0, -len(flat) % chunk),) + ((0, 0),) * (flat.ndim - 1)).reshape(
        -1, chunk, *flat.shape[1:]
    )

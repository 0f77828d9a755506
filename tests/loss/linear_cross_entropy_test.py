"""The chunked loss against plain cross-entropy and float64 loops: values and gradients, any chunk."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax.loss.cross_entropy import (
    Distillation,
    distilled_losses,
    linear_cross_entropy,
    linear_target_scores,
    token_losses,
)
from tests.oracles.losses import linear_gradients, linear_losses

RNG = np.random.default_rng(0)
FEATURES = RNG.standard_normal((2, 5, 4)).astype(np.float32)
EMBEDDING = RNG.standard_normal((7, 4)).astype(np.float32)
TARGETS = RNG.integers(0, 7, (2, 5)).astype(np.int32)
WEIGHTS = np.array([[1, 1, 0, 1, 1], [0, 1, 0.25, 3, 0]], np.float32)


def evaluate(features, embedding, weights, chunk: int, factor: float = 1.0):
    """((sum, losses), (gradient by features, gradient by embedding)) of factor · sum."""

    def scaled(x, e):
        total, losses = linear_cross_entropy(x, e, TARGETS, weights, chunk)
        return factor * total, losses

    return jax.jit(jax.value_and_grad(scaled, argnums=(0, 1), has_aux=True))(features, embedding)


@pytest.mark.parametrize("chunk", [1, 3, 5, 10, 64])
def test_equals_float64_for_any_chunk(chunk: int) -> None:
    (total, losses), gradients = evaluate(FEATURES, EMBEDDING, WEIGHTS, chunk)
    want = linear_losses(FEATURES, EMBEDDING, TARGETS) * WEIGHTS
    np.testing.assert_allclose(losses, want, atol=1e-5)
    np.testing.assert_allclose(total, want.sum(), rtol=1e-5)
    for found, wanted in zip(gradients, linear_gradients(FEATURES, EMBEDDING, TARGETS, WEIGHTS), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_equals_plain_cross_entropy_and_scales_with_the_cotangent() -> None:
    plain = lambda x, e: 0.3 * jnp.sum(token_losses(jnp.einsum("bld,vd->blv", x, e), TARGETS) * WEIGHTS)  # noqa: E731
    value, wanted = jax.jit(jax.value_and_grad(plain, argnums=(0, 1)))(FEATURES, EMBEDDING)
    (total, _), gradients = evaluate(FEATURES, EMBEDDING, WEIGHTS, 4, factor=0.3)
    np.testing.assert_allclose(total, value, rtol=1e-5)
    for found, want in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(found, want, atol=1e-5)


def test_large_logits_stay_finite_and_right() -> None:
    (_, losses), gradients = evaluate(1e3 * FEATURES, EMBEDDING, WEIGHTS, 4)
    np.testing.assert_allclose(
        losses, linear_losses(1e3 * FEATURES, EMBEDDING, TARGETS) * WEIGHTS, rtol=1e-5, atol=1e-2
    )
    for found, want in zip(
        gradients, linear_gradients(1e3 * FEATURES, EMBEDDING, TARGETS, WEIGHTS), strict=True
    ):
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-2)


def test_positions_of_weight_zero_count_nowhere() -> None:
    nothing = np.zeros_like(WEIGHTS)
    (total, losses), gradients = evaluate(FEATURES, EMBEDDING, nothing, 3)
    assert float(total) == 0.0
    for array in (losses, *gradients):
        np.testing.assert_array_equal(array, 0.0)
    other = np.where(WEIGHTS[..., None] == 0, 50.0, FEATURES).astype(np.float32)
    (moved, _), (by_features, by_embedding) = evaluate(other, EMBEDDING, WEIGHTS, 3)
    (total, _), (_, wanted) = evaluate(FEATURES, EMBEDDING, WEIGHTS, 3)
    np.testing.assert_allclose(moved, total, rtol=1e-6)
    np.testing.assert_allclose(by_embedding, wanted, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(by_features)[WEIGHTS == 0], 0.0)


def test_bfloat16_features_and_embedding() -> None:
    """Logits and losses are float32; gradients come in the type of their argument, to its 2⁻⁸."""
    features, embedding = jnp.asarray(FEATURES, jnp.bfloat16), jnp.asarray(EMBEDDING, jnp.bfloat16)
    (total, losses), gradients = evaluate(features, embedding, WEIGHTS, 4)
    assert total.dtype == losses.dtype == jnp.float32
    assert [x.dtype for x in gradients] == [jnp.bfloat16, jnp.bfloat16]
    # XLA may widen a bf16 product by itself, so that values alone would not show a missing request for
    # float32.
    traced = str(
        jax.make_jaxpr(lambda x, e: linear_cross_entropy(x, e, TARGETS, WEIGHTS, 4))(features, embedding)
    )
    assert set(re.findall(r":(\w+)\[[^\]]*\] = dot_general", traced)) == {"f32"}
    want = linear_losses(features, embedding, TARGETS) * WEIGHTS
    np.testing.assert_allclose(losses, want, atol=1e-5)
    for found, wanted in zip(gradients, linear_gradients(features, embedding, TARGETS, WEIGHTS), strict=True):
        np.testing.assert_allclose(
            np.asarray(found, np.float64), wanted, atol=4 * 2.0**-8 * np.abs(wanted).max()
        )


@pytest.mark.parametrize("chunk", [1, 4, 10, 64])
def test_scores_for_evaluation_equal_float64_for_any_chunk(chunk: int) -> None:
    logits = FEATURES.astype(np.float64) @ EMBEDDING.astype(np.float64).T
    targets = np.where(np.arange(5) % 2 == 0, logits.argmax(-1), TARGETS).astype(np.int32)
    found = jax.jit(linear_target_scores, static_argnums=3)(FEATURES, EMBEDDING, targets, chunk)
    np.testing.assert_allclose(found.losses, linear_losses(FEATURES, EMBEDDING, targets), atol=1e-5)
    np.testing.assert_array_equal(found.first, logits.argmax(-1) == targets)
    assert 6 <= found.first.sum() < targets.size


@pytest.mark.parametrize("tile", [4, 5, 7, 22, 23, 100])
@pytest.mark.parametrize("chunk", [1, 4, 64])
def test_tiles_of_the_vocabulary_find_the_likeliest_tokens(tile: int, chunk: int) -> None:
    """Any tile, the last one overlapping, against float64; of two equal words the smaller id is first."""
    embedding = RNG.standard_normal((23, 4)).astype(np.float32)
    embedding[17] = embedding[3]
    targets = np.array([[0, 22, 3, 17, 5], [21, 4, 8, 1, 19]], np.int32)
    found = jax.jit(linear_target_scores, static_argnums=(3, 4, 5))(
        FEATURES, embedding, targets, chunk, tile, 4
    )
    losses = linear_losses(FEATURES, embedding, targets)
    every = np.stack(
        [linear_losses(FEATURES, embedding, np.full_like(targets, word)) for word in range(23)], axis=-1
    )
    order = np.argsort(every, axis=-1, kind="stable")[..., :4]
    np.testing.assert_allclose(found.losses, losses, atol=1e-5)
    np.testing.assert_array_equal(found.first, losses <= every.min(-1))
    np.testing.assert_array_equal(found.top_ids, order)
    np.testing.assert_allclose(found.top_losses, np.take_along_axis(every, order, -1), atol=1e-5)


def test_no_second_copy_of_the_logits() -> None:
    """What the compiled functions hold beside arguments and results, in arrays of a chunk's logits."""
    chunk, width, words = 64, 8, 4096
    tokens = jnp.zeros((4, 64), jnp.int32)
    features, embedding = jnp.zeros((4, 64, width)), jnp.zeros((words, width))
    weights = jnp.ones((4, 64))

    def held(function, *arguments) -> float:
        analysis = jax.jit(function).lower(*arguments).compile().memory_analysis()
        return analysis.temp_size_in_bytes / (4 * chunk * words)

    def trained(x, e, how):
        return jax.value_and_grad(
            lambda x, e: linear_cross_entropy(x, e, tokens, weights, chunk, how)[0], (0, 1)
        )(x, e)

    assert held(lambda x, e: trained(x, e, Distillation()), features, embedding) < 1.3
    assert held(lambda x, e: trained(x, e, Distillation(2, 0.5)), features, embedding) < 1.3
    assert held(lambda x, e: linear_target_scores(x, e, tokens, chunk, 512), features, embedding) < 0.5


VIEWS = Distillation(views=3, share=0.3)
RNG_VIEWS = np.random.default_rng(1)
THREE_VIEWS = RNG_VIEWS.standard_normal((6, 5, 4)).astype(np.float32)  # two sequences, three views each
THEIR_TARGETS = np.repeat(TARGETS, 3, axis=0)
THEIR_WEIGHTS = np.repeat(WEIGHTS, 3, axis=0)


def distilled_by_loops(embedding) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(objective [6, 5], losses [6, 5], gradient by features, by embedding), one position at a time in
    float64.
    """
    embedding = embedding.astype(np.float64)
    objective, losses = np.zeros((6, 5)), np.zeros((6, 5))
    by_features, by_embedding = np.zeros((6, 5, 4)), np.zeros((7, 4))
    for row in range(6):
        for place in range(5):
            x, first = (
                THREE_VIEWS[row, place].astype(np.float64),
                THREE_VIEWS[row - row % 3, place].astype(np.float64),
            )
            probability, teacher = (np.exp(z) / np.exp(z).sum() for z in (embedding @ x, embedding @ first))
            wanted = np.zeros(7)
            wanted[THEIR_TARGETS[row, place]] = 1.0
            if row % 3:
                wanted = 0.7 * wanted + 0.3 * teacher
            weight = float(THEIR_WEIGHTS[row, place])
            objective[row, place] = -weight * wanted @ np.log(probability)
            losses[row, place] = -weight * np.log(probability[THEIR_TARGETS[row, place]])
            by_features[row, place] = weight * (probability - wanted) @ embedding
            by_embedding += weight * np.outer(probability - wanted, x)
    return objective, losses, by_features, by_embedding


@pytest.mark.parametrize("chunk", [1, 4, 9, 12, 64, None])
def test_the_others_are_distilled_from_the_first_view(chunk: int | None) -> None:
    """Objective, losses and gradients against float64 loops, in which the teacher is a constant; chunked, and
    from whole logits (None).
    """

    def chunked(x, e):
        return linear_cross_entropy(x, e, THEIR_TARGETS, THEIR_WEIGHTS, chunk, VIEWS)

    def whole(x, e):
        logits = jnp.einsum("bld,vd->blv", x, e)
        return (
            jnp.sum(distilled_losses(logits, THEIR_TARGETS, VIEWS) * THEIR_WEIGHTS),
            token_losses(logits, THEIR_TARGETS) * THEIR_WEIGHTS,
        )

    function = whole if chunk is None else chunked
    (total, losses), gradients = jax.jit(jax.value_and_grad(function, argnums=(0, 1), has_aux=True))(
        THREE_VIEWS, EMBEDDING
    )
    objective, hard, by_features, by_embedding = distilled_by_loops(EMBEDDING)
    np.testing.assert_allclose(total, objective.sum(), rtol=1e-5)
    np.testing.assert_allclose(losses, hard, atol=1e-5)
    np.testing.assert_allclose(gradients[0], by_features, atol=1e-5)
    np.testing.assert_allclose(gradients[1], by_embedding, atol=1e-5)
    assert abs(objective.sum() - hard.sum()) > 0.1


def test_without_a_share_views_are_examples_like_others() -> None:
    """The sums in another order, nothing else."""
    alone, views = (
        jax.value_and_grad(
            lambda x, t=t: linear_cross_entropy(x, EMBEDDING, THEIR_TARGETS, THEIR_WEIGHTS, 6, t)[0]
        )(THREE_VIEWS)
        for t in (Distillation(), Distillation(views=3))
    )
    np.testing.assert_allclose(views[0], alone[0], rtol=1e-6)
    np.testing.assert_allclose(views[1], alone[1], atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_teacher_beside_the_views_equals_whole_logits(share: float) -> None:
    """Features and output layer of the teacher are other ones; objective, losses and gradients."""
    how = Distillation(views=3, share=share, taught=0.6)
    said = RNG_VIEWS.standard_normal((6, 5, 3)).astype(np.float32)
    known = RNG_VIEWS.standard_normal((7, 3)).astype(np.float32)

    def chunked(x, e):
        return linear_cross_entropy(x, e, THEIR_TARGETS, THEIR_WEIGHTS, 6, how, False, (said, known))

    def whole(x, e):
        logits, teacher = jnp.einsum("bld,vd->blv", x, e), jnp.einsum("bld,vd->blv", said, known)
        return (
            jnp.sum(distilled_losses(logits, THEIR_TARGETS, how, teacher) * THEIR_WEIGHTS),
            token_losses(logits, THEIR_TARGETS) * THEIR_WEIGHTS,
        )

    found, wanted = (
        jax.jit(jax.value_and_grad(function, argnums=(0, 1), has_aux=True))(THREE_VIEWS, EMBEDDING)
        for function in (chunked, whole)
    )
    np.testing.assert_allclose(found[0][0], wanted[0][0], rtol=1e-5)
    np.testing.assert_allclose(found[0][1], wanted[0][1], atol=1e-5)
    for one, other in zip(found[1], wanted[1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)

"""Stationarity thresholds: a convex problem solved by hand, brute-force gradients, finite differences, and
what stays zero.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax.loss.group_sparsity import shrink
from aila_jax.model.feature_groups import group_sizes
from aila_jax.model.interface import Dial, Request
from aila_jax.thresholds import stationarity
from aila_jax.thresholds.stationarity import (
    GradientSums,
    GroupThresholds,
    gradients_at_zero,
    group_thresholds,
    over_groups,
)
from aila_jax.types import Batch
from tests.support.untrained import untrained_model, with_dial_weights

GROUPS = 3  # of 16 coordinates: 6, 5 and 5
LAYER = 1


def test_a_convex_problem_solved_by_hand():
    """½‖W − Y‖² of one head: at W_i = 0 the gradient is −Y_i whatever W is, and the group is zero in the
    lasso's solution iff ‖Y_i‖ ≤ λ.
    """
    y = np.zeros((4, 2, 1), np.float32)
    y[:, 0, 0], y[:, 1, 0] = [3.0, 4.0, 0.0, 1.0], [0.5, 0.0, 6.0, 8.0]
    found = np.stack(
        [
            gradients_at_zero(lambda w: 0.5 * jnp.sum((w - y) ** 2), jnp.full((4, 2, 1), 9.0), np.int32(h), 2)
            for h in (0, 1)
        ],
        axis=1,
    )
    thresholds = np.sqrt(over_groups(np.stack([found, found])[None], np.stack([found, found])[None], 2))[
        0, 0
    ]  # [group, head]
    np.testing.assert_allclose(thresholds, [[5.0, 0.5], [1.0, 10.0]], rtol=1e-6)
    for lam in (0.4, 0.9, 4.9, 5.1, 9.9, 10.1):
        solution = np.asarray(shrink(y[None, None], jnp.full((1, 1, 2, 2), lam)))[0, 0]
        zero = np.stack([~solution[:2].any(axis=(0, 2)), ~solution[2:].any(axis=(0, 2))])
        np.testing.assert_array_equal(zero, thresholds <= lam)


def test_in_a_correlated_problem_exactly_the_zero_groups_are_at_or_below_the_threshold():
    """Least squares with correlated inputs, solved by proximal descent: thresholds at the solution sort zero
    from non-zero groups.
    """
    draw = np.random.default_rng(0)
    a = draw.standard_normal((40, 12)) + draw.standard_normal((40, 1))
    target = a[:, :3] @ draw.standard_normal((3, 2)) + 0.3 * draw.standard_normal((40, 2))
    w, lam, rate = np.zeros((12, 1, 2)), 0.8, 40 / np.linalg.norm(a, 2) ** 2
    for _ in range(4000):
        step = w[:, 0] - rate * a.T @ (a @ w[:, 0] - target) / 40
        norms = np.repeat(np.sqrt((step.reshape(4, 3, 2) ** 2).sum((1, 2))), 3)[:, None]
        w = (step * np.maximum(0.0, 1.0 - rate * lam / norms))[:, None]
    inputs, wanted, kernel = (jnp.asarray(x, jnp.float32) for x in (a, target, w))
    found = np.asarray(
        gradients_at_zero(
            lambda x: jnp.sum((inputs @ x[:, 0] - wanted) ** 2) / 80, kernel, np.int32(0), 4, at_once=4
        )
    )
    thresholds = np.sqrt((found.reshape(4, 6) ** 2).sum(1))
    zero = ~w.reshape(4, -1).any(axis=1)
    assert 0 < zero.sum() < 4
    np.testing.assert_array_equal(thresholds <= lam, zero)


@cache
def batches() -> list[Batch]:
    """Three of two rows, with different numbers of scored targets."""
    draw = np.random.default_rng(0)
    made = []
    for seed in range(3):
        batch = Batch.from_tokens(draw.integers(0, 250, (2, 24)).astype(np.int32))
        made.append(
            batch.replace(
                weights=(batch.weights * (draw.random(batch.weights.shape) < 0.3 + 0.3 * seed)).astype(
                    np.float32
                )
            )
        )
    return made


def summed_loss(kernels, batch: Batch, lam: float = 0.5):
    """The batch's summed cross-entropy with these query and key kernels [2, D, H, K] in the layer."""
    model, name = untrained_model(), f"layer_{LAYER}"
    attention = {
        **model.params[name]["attention"],
        "query": {"kernel": kernels[0]},
        "key": {"kernel": kernels[1]},
    }
    params = {**model.params, name: {**model.params[name], "attention": attention}}
    ids = (batch.tokens, batch.positions, model.partition(batch), batch.doc_ids)
    log_p = jax.nn.log_softmax(model.module.apply({"params": params}, *ids, Dial(lam, 1.0), Request()).logits)
    return -jnp.sum(jnp.take_along_axis(log_p, batch.targets[..., None], axis=-1)[..., 0] * batch.weights)


loss_and_gradient = jax.jit(jax.value_and_grad(summed_loss))


def trained_kernels() -> np.ndarray:
    attention = untrained_model().params[f"layer_{LAYER}"]["attention"]
    return np.stack([np.asarray(attention[name]["kernel"]) for name in ("query", "key")])


def rows_of(group: int) -> slice:
    ends = np.concatenate([[0], np.cumsum(group_sizes(16, GROUPS))])
    return slice(ends[group], ends[group + 1])


@cache
def brute_force(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Summed gradients of one batch, [2, D, H, K]: as the weights are, and of each group of each head where
    that group alone is 0.
    """
    kernels = trained_kernels()
    at_zero = np.zeros(kernels.shape)
    for projection, head, group in np.ndindex(2, 2, GROUPS):
        place = (projection, rows_of(group), head)
        zeroed = kernels.copy()
        zeroed[place] = 0.0
        at_zero[place] = np.asarray(loss_and_gradient(zeroed, batches()[number])[1])[place]
    return np.asarray(loss_and_gradient(kernels, batches()[number])[1], np.float64), at_zero


@cache
def measured(at_zero: int | None = None) -> GroupThresholds:
    return group_thresholds(
        untrained_model(),
        batches(),
        Dial(0.5, 1.0),
        at_zero=at_zero,
        groups=GROUPS,
        layers=(LAYER,),
        quiet=True,
    )


def lengths(gradient: np.ndarray) -> np.ndarray:
    """[1, 2, G, H]"""
    return np.sqrt(
        np.stack([(gradient[:, rows_of(group)] ** 2).sum(axis=(1, 3)) for group in range(GROUPS)], axis=1)
    )[None]


def test_the_gradients_at_zero_are_those_of_brute_force():
    found = measured()
    targets = sum(int(batch.weights.sum()) for batch in batches())
    assert (found.layers, found.targets, found.targets_at_zero) == ((LAYER,), targets, targets)
    np.testing.assert_allclose(
        found.gradient, lengths(sum(brute_force(n)[1] for n in range(3)) / targets), rtol=1e-4
    )
    assert found.gradient.min() > 0
    assert (
        np.abs(found.gradient / lengths(sum(brute_force(n)[0] for n in range(3)) / targets) - 1).max() > 0.05
    )


def test_where_weights_turn_with_the_dial_a_group_is_both_parts():
    """∂loss/∂W′ = λ ∂loss/∂W at any λ; with W′ = 0 the loss is that of W alone, so the gradients are √(1 +
    λ²) times as long.
    """
    turning = with_dial_weights(untrained_model())
    found = group_thresholds(
        turning, batches()[:1], Dial(0.5, 1.0), groups=GROUPS, layers=(LAYER,), quiet=True
    )
    plain = group_thresholds(
        untrained_model(), batches()[:1], Dial(0.5, 1.0), groups=GROUPS, layers=(LAYER,), quiet=True
    )
    np.testing.assert_allclose(found.gradient, np.sqrt(1.25) * plain.gradient, rtol=1e-5)


def test_with_fewer_batches_at_zero_their_change_is_added_to_the_gradient_of_all():
    """Of three batches two at zero: the first and the last."""
    counts = [int(batch.weights.sum()) for batch in batches()]
    plain = sum(brute_force(n)[0] for n in range(3)) / sum(counts)
    change = sum(brute_force(n)[1] - brute_force(n)[0] for n in (0, 2)) / (counts[0] + counts[2])
    found = measured(2)
    np.testing.assert_allclose(found.gradient, lengths(plain + change), rtol=1e-4)
    assert found.targets_at_zero == counts[0] + counts[2]
    assert measured(1).noise is None
    assert (measured(1).gradient > 0).all()


@pytest.mark.parametrize(("projection", "head", "group"), [(0, 0, 0), (1, 1, 2)])
def test_finite_differences_along_the_gradient_give_its_length(projection, head, group):
    place = (projection, rows_of(group), head)
    direction = sum(brute_force(n)[1] for n in range(3))[place]
    direction = direction / np.linalg.norm(direction)

    def loss(step: float) -> float:
        kernels = trained_kernels()
        kernels[place] = step * direction
        return sum(float(loss_and_gradient(kernels, batch)[0]) for batch in batches())

    slope = (loss(0.03) - loss(-0.03)) / 0.06 / measured().targets
    assert measured().gradient[0, projection, group, head] == pytest.approx(slope, rel=5e-3)


def test_one_compilation_serves_every_head_projection_and_dial():
    measured()
    before = stationarity._gradients_at_zero._cache_size()
    other = group_thresholds(
        untrained_model(), batches()[1:2], Dial(0.75, 0.5), groups=GROUPS, layers=(LAYER,), quiet=True
    )
    assert stationarity._gradients_at_zero._cache_size() == before
    assert other.noise is None


def test_the_error_is_that_of_a_ratio_of_sums():
    """Against residuals written out; and with equal batches it is the standard error of a mean."""
    draw = np.random.default_rng(0)
    gradients = 5.0 + draw.standard_normal((7, 1, 2, 4, 1, 3))
    for targets in (np.arange(3, 10), np.full(7, 6)):
        sums = GradientSums(2)
        for gradient, count in zip(gradients, targets, strict=True):
            sums.add(count * gradient, int(count))
        mean = np.average(gradients, axis=0, weights=targets)
        np.testing.assert_allclose(sums.mean(), mean)
        residual = (targets**2 * ((gradients - mean) ** 2).sum(-1).reshape(7, 1, 2, 2, 2, 1).sum(4).T).T.sum(
            0
        )
        expected = np.sqrt(residual * 7 / 6) / targets.sum()
        np.testing.assert_allclose(sums.error(), expected, rtol=1e-6)
    spread = gradients.reshape(7, 1, 2, 2, 2, 1, 3).var(axis=0, ddof=1).sum(axis=(3, 5)) / 7
    np.testing.assert_allclose(sums.error(), np.sqrt(spread), rtol=1e-6)


def test_what_cannot_be_measured_is_refused():
    model = untrained_model()
    empty = batches()[0].replace(weights=np.zeros((2, 24), np.float32))
    for settings, message in (
        ({"batches": []}, r"batches is 0; it must be at least 1\. Fix: "),
        ({"batches": [empty]}, r"scored targets of a batch is 0\.0; it must be above 0"),
        ({"layers": (2,)}, r"layers is 2; it must be from 0 to 1"),
        ({"layers": ()}, r"layers is \(\); it must be at least one layer"),
        ({"groups": 17}, r"groups is 17; it must be from 1 to the model's width \(16\)"),
        ({"at_zero": 4}, r"at_zero is 4; it must be from 1 to the number of batches \(3\)"),
        ({"at_once": 0}, r"at_once is 0; it must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            group_thresholds(model, **{"batches": batches(), "groups": GROUPS, "quiet": True, **settings})

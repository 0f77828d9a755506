"""Tests of the public boundary of λ and τ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax.inference.dial import dial_values

FORMS = [
    0.5,
    np.float64(0.5),
    np.float32(0.5),
    np.asarray(0.5),
    jnp.float32(0.5),
    jnp.asarray(0.5),
    np.full(3, 0.5),
    jnp.full(3, 0.5),
    [0.5] * 3,
]


@pytest.mark.parametrize("value", FORMS, ids=lambda value: f"{type(value).__name__}{np.shape(value)}")
def test_every_form_becomes_the_same_array(value):
    for name in ("lam", "tau"):
        found = dial_values(value, name, 3)
        assert isinstance(found, np.ndarray)
        assert (found.dtype, found.shape) == (np.float32, (3,))
        np.testing.assert_array_equal(found, 0.5)


@pytest.mark.parametrize("value", [0, 1, True, np.int64(1), np.array([0, 1, 1])])
def test_whole_numbers_are_taken(value):
    np.testing.assert_array_equal(
        dial_values(value, "lam", 3), np.broadcast_to(np.asarray(value, np.float32), (3,))
    )


def test_one_value_per_example_keeps_its_order():
    np.testing.assert_array_equal(dial_values([0.0, 0.25, 1.0], "lam", 3), np.float32([0.0, 0.25, 1.0]))


@pytest.mark.parametrize(
    "value", [-1e-6, 1.0001, np.nan, np.inf, -np.inf, [0.5, 0.5, 2.0], [0.1, np.nan, 0.2]]
)
def test_lam_outside_its_range_is_refused(value):
    with pytest.raises(ValueError, match=r"lam is .*; it must be in \[0, 1\]. Fix: choose") as caught:
        dial_values(value, "lam", 3)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, [1.0, 0.0, 1.0], 1e-60, 1e-7, 1e7, 1e39])
def test_tau_outside_its_range_is_refused(value):
    with pytest.raises(ValueError, match=r"tau is .*; it must be from 1e-06 to 1e\+06. Fix: ") as caught:
        dial_values(value, "tau", 3)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("value", [[0.5, 0.5], [[0.5]], np.zeros((3, 1)), []])
def test_another_shape_is_refused(value):
    with pytest.raises(
        ValueError, match=r"lam has shape .*; it must be one number, or one per example, \(3,\). Fix: "
    ):
        dial_values(value, "lam", 3)


@pytest.mark.parametrize("value", ["half", None, object()])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match=r"lam is .*Fix: "):
        dial_values(value, "lam", 3)


def test_inside_a_callers_jit_values_are_traced():
    found = jax.jit(lambda lam: dial_values(lam, "lam", 3) * 2)(0.5)
    np.testing.assert_array_equal(found, np.ones(3))
    each = jax.vmap(lambda lam: dial_values(lam, "lam", 2))(jnp.array([0.0, 1.0]))
    np.testing.assert_array_equal(each, [[0, 0], [1, 1]])

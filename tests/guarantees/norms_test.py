"""Spectral norms against LAPACK's SVD, from above."""

import numpy as np
import pytest

from aila_jax.guarantees.norms import product_norms, spectral_norms


def cases() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    tall = draw.standard_normal((3, 9, 4))
    return {
        "tall": tall,
        "wide": tall.transpose(0, 2, 1),
        "of rank 1": tall[:, :, :1] * draw.standard_normal((3, 1, 4)),
        "equal singular values": np.stack([np.linalg.qr(one)[0] for one in tall]),
        "far apart": tall * np.array([1e-6, 1.0, 1e3, 1e8]),
        "huge and tiny": tall * np.array([1e38, 1.0, 1e-38])[:, None, None],
        "one column": tall[:, :, :1],
    }


@pytest.mark.parametrize("name", cases())
def test_norms_are_those_of_an_svd_from_above(name: str) -> None:
    matrices = cases()[name]
    want = np.linalg.svd(matrices, compute_uv=False)[:, 0]
    assert (spectral_norms(matrices) >= want * (1 - 1e-12)).all()
    np.testing.assert_allclose(spectral_norms(matrices), want, rtol=2e-6)


def test_norms_of_products() -> None:
    matrices = {name: found for name, found in cases().items() if name not in ("wide", "one column")}
    for left in matrices.values():
        for right in matrices.values():
            want = np.linalg.svd(left @ right.transpose(0, 2, 1), compute_uv=False)[:, 0]
            found = product_norms(left, right)
            assert (found >= want * (1 - 1e-12)).all()
            np.testing.assert_allclose(found, want, rtol=2e-5)


def test_zeros_have_norm_zero() -> None:
    zeros = np.zeros((2, 5, 3))
    assert spectral_norms(zeros).tolist() == product_norms(zeros, np.ones((2, 5, 3))).tolist() == [0.0, 0.0]
    apart = np.zeros((1, 4, 2))
    other = apart.copy()
    apart[0, :2], other[0, 2:] = np.eye(2), np.eye(2)  # M ≠ 0, N ≠ 0, M Nᵀ ≠ 0: no cancellation
    np.testing.assert_allclose(product_norms(apart, other), [1.0], rtol=2e-6)

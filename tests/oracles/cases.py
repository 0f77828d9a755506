"""Random cases, and queries and keys whose scores are any matrix one likes."""

import numpy as np

IDS = np.array(
    [
        [0, 0, 0, 1, 1, 2, 2, 2, 0, 1, 3],
        [-2, 4, 4, 4, 7, 7, -2, 7, 4, -1, -1],
        [5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5],
    ],
    np.int32,
)
DOCS = np.array(
    [
        [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1],
        [2, 2, 2, 2, 2, 3, 3, 3, 3, -1, -1],
        [4, 4, 4, 5, 5, 6, 6, 6, 6, 6, 6],
    ],
    np.int32,
)


def qkv(
    seed: int, shape: tuple[int, ...] = (3, 11, 2, 4), size: float = 1.5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normal queries, keys and values [B, L, H, K]; `size` multiplies queries and keys."""
    rng = np.random.default_rng(seed)
    q, k, v = (rng.standard_normal(shape).astype(np.float32) for _ in range(3))
    return size * q, size * k, v


def exposing(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """q, k, v [1, L, H, L] for scores [H, L, L] at scale 1: s_tj is scores[h, t, j] exactly, and the output
    is the weights α_t.
    """
    length, heads = scores.shape[-1], scores.shape[0]
    unit = np.broadcast_to(np.eye(length, dtype=np.float32)[None, :, None, :], (1, length, heads, length))
    return np.asarray(scores, np.float32).transpose(1, 0, 2)[None], unit, unit

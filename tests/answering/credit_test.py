"""Leave-one-out, pairs and Shapley values of a game that is solved by hand."""

import numpy as np

from aila_jax.answering.credit import credit


def values(kept: np.ndarray) -> np.ndarray:
    """Passage 0 alone is worth 2; 1 and 2 say the same, worth 3; 3 nothing. By two tokens."""
    found = 2.0 * kept[:, 0] + 3.0 * (kept[:, 1] | kept[:, 2]) - 10
    return np.stack([found / 4, 3 * found / 4], axis=1)


def test_a_game_by_hand() -> None:
    found = credit(values, 4, pairs=True, permutations=400, seed=1)
    np.testing.assert_allclose(found.logprobs, [-1.25, -3.75])
    np.testing.assert_allclose(found.without.sum(axis=1), [2, 0, 0, 0])
    np.testing.assert_allclose(found.without[0], [0.5, 1.5])
    assert found.pairs is not None and found.shapley is not None
    assert (found.pairs[1, 2], found.pairs[0, 1], found.pairs[2, 3]) == (3, 2, 0)
    np.testing.assert_allclose(found.shapley, [2, 1.5, 1.5, 0], atol=0.2)
    np.testing.assert_allclose(found.shapley.sum(), 5.0)  # v(all) − v(none), in every permutation


def test_what_is_not_asked_for_is_not_run() -> None:
    asked = []

    def noted(kept: np.ndarray) -> np.ndarray:
        asked.extend(kept)
        return values(kept)

    found = credit(noted, 4, pairs=False, permutations=0, seed=0)
    assert found.pairs is None and found.shapley is None
    assert len(asked) == 5
    asked.clear()
    credit(noted, 4, pairs=True, permutations=50, seed=0)
    assert len(asked) == len({row.tobytes() for row in asked}) <= 16  # each set of passages once

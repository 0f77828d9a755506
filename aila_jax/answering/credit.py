"""What passages are worth to an answer whose tokens are fixed: left out one by one, in pairs, and by Shapley.

The value of a set of passages is the log-probability of the answer with these passages alone, v(S).
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

# [subset, passage] → [subset, token]: log-probability of each token of the answer
Values = Callable[[Bool[np.ndarray, "R P"]], Float[np.ndarray, "R A"]]


@dataclass(frozen=True, eq=False)
class Credit:
    """Of P passages and an answer of A tokens, in nats.

    Attributes:
      logprobs: of each token, with all passages.
      without: v(all) − v(all but one), by token: they sum to that of the whole answer.
      pairs: v(all) − v(all but two), for i < j; None where it was not asked for.
      shapley: mean marginal value over the permutations; None likewise. They sum to v(all) − v(none).
    """

    logprobs: Float[np.ndarray, "A"]
    without: Float[np.ndarray, "P A"]
    pairs: Float[np.ndarray, "P P"] | None
    shapley: Float[np.ndarray, "P"] | None


def credit(values: Values, passages: int, pairs: bool, permutations: int, seed: int) -> Credit:
    """Leaves passages out.

    Args:
      values: of sets of passages.
      passages: P.
      pairs: leave pairs out too.
      permutations: of Shapley values; 0 for none.
      seed: of the permutations.
    """
    every = np.ones((1, passages), bool)
    orders = _orders(passages, permutations, seed)
    asked = [every, ~np.eye(passages, dtype=bool)]
    two = list(itertools.combinations(range(passages), 2)) if pairs else []
    asked += [_all_but(passages, pair) for pair in two]
    asked += [_first(order, size) for order in orders for size in range(passages + 1)]
    rows = {row.tobytes(): row for row in np.concatenate(asked)}
    found = values(np.stack(list(rows.values())))
    known = dict(zip(rows, found, strict=True))
    whole = known[every.tobytes()]
    without = np.stack([whole - known[row.tobytes()] for row in ~np.eye(passages, dtype=bool)])
    both = np.zeros((passages, passages)) if pairs else None
    for first, second in two:
        assert both is not None, "pairs were asked for"
        both[first, second] = (whole - known[_all_but(passages, (first, second)).tobytes()]).sum()
    return Credit(whole, without, both, _shapley(known, orders) if permutations else None)


def _orders(passages: int, permutations: int, seed: int) -> list[Int[np.ndarray, "P"]]:
    draw = np.random.default_rng(seed)
    return [draw.permutation(passages) for _ in range(permutations)]


def _all_but(passages: int, some: tuple[int, ...]) -> Bool[np.ndarray, "1 P"]:
    kept = np.ones((1, passages), bool)
    kept[0, list(some)] = False
    return kept


def _first(order: Int[np.ndarray, "P"], size: int) -> Bool[np.ndarray, "1 P"]:
    kept = np.zeros((1, len(order)), bool)
    kept[0, order[:size]] = True
    return kept


def _shapley(
    known: dict[bytes, Float[np.ndarray, "A"]], orders: list[Int[np.ndarray, "P"]]
) -> Float[np.ndarray, "P"]:
    found = np.zeros(len(orders[0]))
    for order in orders:
        values = [known[_first(order, size).tobytes()].sum() for size in range(len(order) + 1)]
        found[order] += np.diff(values)
    return found / len(orders)

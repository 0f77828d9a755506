"""Round-robin measurement, and what its rounds say: medians, quartiles, ratios."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from benchmarks.record import Quartiles
from benchmarks.runner import Timing

Visit = tuple[str, str]  # name of a contestant, task
Times = dict[Visit, list[Timing]]


def visits(
    contestants: Mapping[str, Sequence[str]], rounds: int, seed: int = 0
) -> Iterator[tuple[int, Visit]]:
    """Every contestant's every task once a round, in a new random order each round.

    Slow spells of the machine then hit all alike, and nobody always runs after the same neighbour.
    """
    every = [(name, task) for name, tasks in contestants.items() for task in tasks]
    draw = np.random.default_rng(seed)
    for number in range(rounds):
        for index in draw.permutation(len(every)):
            yield number, every[index]


def measure(
    contestants: Mapping[str, Sequence[str]], rounds: int, time: Callable[[str, str], Timing]
) -> Times:
    """The time of every visit, one a round; `time(name, task)` runs and times one."""
    times: Times = {(name, task): [] for name, tasks in contestants.items() for task in tasks}
    for _, visit in visits(contestants, rounds):
        times[visit].append(time(*visit))
    return times


def quartiles(values: Float[np.ndarray, "rounds"] | Sequence[float]) -> Quartiles:
    """Median, first and third quartile (linear between values)."""
    low, median, high = np.quantile(np.asarray(values, np.float64), (0.25, 0.5, 0.75))
    return Quartiles(float(median), float(low), float(high))


def speeds(seconds: Sequence[float], tokens: int) -> Quartiles:
    """Tokens per second over the rounds, when each handled `tokens`."""
    return quartiles(tokens / np.asarray(seconds))


def ratios(seconds: Sequence[float], baseline: Sequence[float]) -> Quartiles:
    """Time divided by the baseline's of the same round: above 1 is slower. What slows a whole round
    cancels.
    """
    return quartiles(np.asarray(seconds) / np.asarray(baseline))


def fastest(times: Times, names: Sequence[str], task: str) -> str:
    """The name with the smallest median time of `task` on the wall's clock."""

    def median(name: str) -> float:
        return float(np.median([one.wall for one in times[name, task]]))

    return min((name for name in names if (name, task) in times), key=median)

"""Tests of the round-robin and its statistics, with timers that are told what to say."""

import numpy as np
import pytest

from benchmarks.forms import SWEEP, TRAIN
from benchmarks.rounds import fastest, measure, quartiles, ratios, speeds, visits
from benchmarks.runner import Timing, timing

TASKS = {"a": (TRAIN, SWEEP), "b": (TRAIN,), "c": (SWEEP, TRAIN)}


def test_every_round_visits_everybody_once_in_its_own_order():
    rounds = {}
    for number, visit in visits(TASKS, rounds=6):
        rounds.setdefault(number, []).append(visit)
    everybody = sorted((name, task) for name, tasks in TASKS.items() for task in tasks)
    assert list(rounds) == list(range(6))
    assert all(sorted(order) == everybody for order in rounds.values())
    assert len({tuple(order) for order in rounds.values()}) > 1
    assert list(visits(TASKS, 6)) == list(visits(TASKS, 6))


def test_times_are_kept_by_round():
    clock = iter(range(1, 100))
    seen = []

    def time(name, task):
        seen.append((name, task))
        return float(next(clock))

    times = measure(TASKS, 3, time)
    assert all(len(values) == 3 for values in times.values())
    for number in range(3):
        for visit, values in times.items():
            assert seen[int(values[number]) - 1] == visit
            assert number * 5 < values[number] <= (number + 1) * 5


def test_a_slow_spell_of_the_machine_cancels_in_ratios_only():
    spells = np.array([1.0, 1.0, 5.0, 1.0, 1.0])
    plain, ours = 0.5 * spells, 0.75 * spells
    ratio = ratios(ours, plain)
    assert (ratio.low, ratio.median, ratio.high) == (1.5, 1.5, 1.5)
    assert speeds(ours, tokens=300).median == pytest.approx(400.0)
    assert speeds(spells[2:4], tokens=300).low == pytest.approx(60 + 0.25 * 240)


def test_quartiles_by_hand():
    found = quartiles([4.0, 1.0, 3.0, 2.0, 5.0])
    assert (found.low, found.median, found.high) == (2.0, 3.0, 4.0)
    assert quartiles([7.0]).high == 7.0


def test_the_fastest_is_so_by_median():
    walls = {("a", TRAIN): [1.0, 9.0, 9.0], ("b", TRAIN): [5.0, 5.0, 5.0], ("c", SWEEP): [0.1]}
    times = {visit: [Timing(wall, 1.0 / wall) for wall in values] for visit, values in walls.items()}
    assert fastest(times, ["a", "b", "c"], TRAIN) == "b"
    assert fastest(times, ["a", "b", "c"], SWEEP) == "c"


class Recorder:
    """Notes what is called, on a clock that moves by one with each execution and by ten with each wait."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def train(self, index, ordinary=False):
        self.calls.append(("train", index, ordinary))
        self.now += 1
        return index

    def evaluate(self, index, ordinary=False):
        self.calls.append(("evaluate", index, ordinary))
        self.now += 1
        return index

    def wait(self, value):
        self.calls.append(("wait", value))
        self.now += 10


@pytest.mark.parametrize(("task", "call"), [(TRAIN, "train"), (SWEEP, "evaluate")])
def test_timing_waits_for_the_device_and_leaves_the_first_execution_out(task, call):
    runner = Recorder()
    assert timing(runner, task, 3, lambda: runner.now, lambda: 2 * runner.now) == Timing(3 + 10, 2 * (3 + 10))
    expected = [(call, 0, False), ("wait", 0), *((call, index, False) for index in (1, 2, 3)), ("wait", 3)]
    assert runner.calls == expected

"""The comparison of partitions: ratios by hand, and that all of them run at a toy shape."""

import numpy as np
import pytest

from benchmarks.partitions import PARTITIONS, describe, run, table
from benchmarks.runner import Timing
from benchmarks.shapes import make_shape


def test_ratios_are_of_the_same_round() -> None:
    found = describe(
        "segments", [Timing(2.0, 1.0), Timing(3.0, 9.0), Timing(8.0, 2.0)], [Timing(2.0, 1.0), Timing(2.0, 3.0), Timing(2.0, 1.0)]
    )
    assert (found.versus_windows.low, found.versus_windows.median, found.versus_windows.high) == (1.25, 1.5, 2.75)
    assert found.processor_versus_windows.median == 2.0


@pytest.mark.medium  # compiles a training step for each partition
def test_every_partition_runs() -> None:
    result = run(make_shape("quick", cpu=True), rounds=1, steps=1, command="c")
    assert tuple(one.partition for one in result.partitions) == PARTITIONS
    assert result.partitions[0].versus_windows.median == 1.0
    assert all(np.isfinite(one.seconds).all() and one.versus_windows.median > 0 for one in result.partitions)
    assert all(f"| {name} |" in table(result) for name in PARTITIONS)

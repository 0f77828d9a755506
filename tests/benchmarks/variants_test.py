"""The comparison of variants: ratios by hand, and that all of them run at a toy shape."""

import numpy as np
import pytest

from benchmarks.ours import blocks_config
from benchmarks.runner import Timing
from benchmarks.shapes import QUICK, SHAPES, make_shape
from benchmarks.variants import VARIANTS, describe, run, table


def test_ratios_are_of_the_same_round() -> None:
    found = describe(
        "segments",
        [Timing(2.0, 1.0), Timing(3.0, 9.0), Timing(8.0, 2.0)],
        [Timing(2.0, 1.0), Timing(2.0, 3.0), Timing(2.0, 1.0)],
    )
    assert (found.versus_first.low, found.versus_first.median, found.versus_first.high) == (1.25, 1.5, 2.75)
    assert found.processor_versus_first.median == 2.0


def test_every_variant_has_a_configuration_at_every_shape() -> None:
    for name in (*SHAPES, QUICK):
        shape = make_shape(name, cpu=True)
        for form in (form for forms in VARIANTS.values() for form in forms.values()):
            config = blocks_config(form, shape)
            assert config.relation.shift > 0 or form.shift == 0
            assert config.partition.size <= config.model.length


@pytest.mark.medium  # compiles a training step for each variant
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_runs(name: str) -> None:
    forms = VARIANTS[name]
    result = run(forms, make_shape("quick", cpu=True), rounds=1, steps=1, command="c")
    assert [one.variant for one in result.variants] == list(forms)
    assert result.variants[0].versus_first.median == 1.0
    assert all(np.isfinite(one.seconds).all() and one.versus_first.median > 0 for one in result.variants)
    assert all(f"| {one} |" in table(result) for one in forms)

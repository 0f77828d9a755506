"""The contestants of the populations benchmark say the same, and a wrong one is not timed."""

import pytest

from aila_jax import presets
from aila_jax.config import Config, ModelConfig, TrainConfig
from benchmarks import populations
from benchmarks.populations import EVERYONE, LOOP, SINGLE, VMAP, Cell, fixed, measured, table

SMALL = Config(
    model=ModelConfig(length=8, d_model=8, n_heads=2, d_ff=16, n_layers=1),
    train=TrainConfig(steps=50, batch_size=4, warmup_steps=1, learning_rate=1e-2),
)


def test_all_make_the_same_steps_and_are_timed() -> None:
    cells = measured(fixed(SMALL), 2, 40, rounds=3)
    assert [one.who for one in cells] == list(EVERYONE)
    assert all(len(one.seconds) == 3 and one.apart < 1e-5 for one in cells)


def test_a_contestant_that_says_something_else_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {SINGLE: 2.0, LOOP: 2.0, VMAP: 2.001}
    monkeypatch.setattr(populations, "contestant", lambda who, *_: lambda: [said[who]])
    with pytest.raises(ValueError, match=r"vmap, losses apart by is .* the program is wrong"):
        measured(fixed(SMALL), 1, 40, rounds=1)


def test_the_table_is_of_a_member() -> None:
    cells = [Cell(SINGLE, 2, 0.0, 3.0, (0.2, 0.4, 0.6)), Cell(VMAP, 2, 1e-7, 4.0, (0.1, 0.2, 0.6))]
    shown = table(cells).splitlines()
    assert shown[2] == "| 2 | single | 200.0 (150.0 to 250.0) | 1.00 (1.00 to 1.00) | 3.0 | 0e+00 |"
    assert shown[3] == "| 2 | vmap | 100.0 (75.0 to 200.0) | 0.50 (0.50 to 0.75) | 4.0 | 1e-07 |"


def test_presets_are_read_at_one_dial() -> None:
    found = fixed(presets.certified())
    assert (found.locality.mode, found.locality.views, found.locality.pressure) == ("fixed", 1, 0.0)
    assert found.train == presets.certified().train

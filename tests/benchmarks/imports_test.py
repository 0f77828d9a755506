"""The benchmark of imports: its table by hand, that it runs, and that a command that fails is said."""

import pytest

from benchmarks.imports import HELP, IMPORTED, LIBRARIES, Cell, measured, table, timed


def test_ratios_are_of_the_same_round() -> None:
    cells = [Cell(LIBRARIES, (1.0, 2.0, 1.0)), Cell(IMPORTED, (1.5, 2.0, 1.2))]
    assert table(cells).splitlines()[-1] == (f"| `{IMPORTED}` | 1.50 (1.35 to 1.75) | 1.20 (1.10 to 1.35) |")


def test_a_command_that_fails_is_said() -> None:
    with pytest.raises(RuntimeError, match=r"no_such_module"):
        timed(("-c", "import no_such_module"), {})


@pytest.mark.medium  # processes that import JAX
def test_every_command_is_measured() -> None:
    cells = measured(1)
    assert [one.who for one in cells] == [LIBRARIES, IMPORTED, HELP]
    assert all(one.seconds[0] > 0 for one in cells)

"""The contestants of the attention benchmark say the same, and a wrong one is not timed."""

import ctypes
from pathlib import Path

import numpy as np
import pytest

from benchmarks import attention
from benchmarks.attention import (
    BARE,
    CHUNKED,
    EVERYONE,
    HARD,
    REFERENCE,
    Cell,
    by_jax,
    draw_figure,
    table,
)
from benchmarks.turns import rise

LENGTH = 96


def test_all_say_what_the_reference_says() -> None:
    wanted = by_jax(REFERENCE, LENGTH).call(0.3, 0.0)
    for who in (CHUNKED, BARE):
        for one, other in zip(by_jax(who, LENGTH).call(0.3, 0.0), wanted, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_hard_windows_say_what_a_gate_says_at_the_end() -> None:
    hard, open_end = by_jax(HARD, LENGTH).call, by_jax(REFERENCE, LENGTH).call
    for one, other in zip(hard(0.5, 0.0), open_end(1.0, 1.0), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert np.abs(hard(0.5, 0.0)[0] - open_end(0.5, 0.0)[0]).max() > 0.1


def test_memory_is_what_the_compiled_program_holds() -> None:
    """Of all scores of four heads at once several times over, and of tiles less than once."""
    scores = 4 * 4 * 512**2
    reference, tiles = (by_jax(who, 512).held(0.5) for who in ("reference", "chunked"))
    assert reference > 3 * scores > tiles > 0


def test_the_rise_of_memory_is_that_of_the_call() -> None:
    held = rise(lambda: np.ones(50_000_000))  # 400 MB
    if held is None:
        pytest.skip("this system does not say what a process held")
    assert 350e6 < held < 500e6
    small = rise(lambda: np.ones(1_000))
    assert small is not None
    assert small < 50e6


def test_what_was_freed_before_a_call_is_not_its_rise() -> None:
    """Small pieces, which the C library keeps once they are freed."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    pieces = [libc.malloc(100_000) for _ in range(3_000)]
    for piece in pieces:
        ctypes.memset(piece, 1, 100_000)
    last = libc.malloc(100_000)  # above them, so that freeing does not give them back
    for piece in pieces:
        libc.free(ctypes.c_void_p(piece))
    found = rise(lambda: None)
    libc.free(ctypes.c_void_p(last))
    if found is None:
        pytest.skip("this system does not say what a process held")
    assert found < 50e6


def test_table_and_figure_show_what_was_measured_and_what_not(tmp_path: Path) -> None:
    cells = [Cell(who, 128, "", 1e-7, (0.2, 0.4, 0.3), 3 * 2**20) for who in EVERYONE]
    cells = [
        Cell(REFERENCE, 128, "above 64 positions"),
        *cells[1:-1],
        Cell("torch", 128, "PyTorch is not installed"),
    ]
    shown = table(cells).splitlines()
    assert shown[2] == "| 128 | reference | above 64 positions | | | | |"
    assert shown[3] == "| 128 | chunked | 0.3000 (0.2500 to 0.3500) | – | 1.00 | 3 | 1e-07 |"
    draw_figure(cells, tmp_path / "attention")
    assert (tmp_path / "attention.png").stat().st_size > 10_000


@pytest.mark.medium
def test_a_contestant_that_says_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "find_spec", lambda name: None)
    cells = attention.measured(LENGTH, 1, 64, 1)
    assert [(one.who, bool(one.seconds)) for one in cells] == [
        ("reference", False), ("chunked", True), ("bare", True), ("hard", True), ("torch", False)
    ]  # fmt: skip
    monkeypatch.setattr(attention, "CLOSE", -1.0)
    with pytest.raises(ValueError, match="chunked at 96 differs by "):
        attention.measured(LENGTH, 1, 64, 1)

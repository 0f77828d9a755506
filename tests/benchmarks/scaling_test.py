"""The jobs of the scaling benchmark do what is said of them, and its table and figure show it."""

from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks.scaling import FORMS, Cell, draw_figure, grid_job, layers_job, measured, table, vocabulary_job


def test_both_forms_of_the_loss_are_the_same() -> None:
    ours, whole = (vocabulary_job(who, 300).run() for who in FORMS["vocabulary"])
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_memory_is_what_both_forms_hold() -> None:
    ours, whole = (vocabulary_job(who, 20_000).held() for who in FORMS["vocabulary"])
    assert ours is not None and whole is not None
    logits = 1024 * 20_000 * 4
    assert whole >= logits > ours  # the gradient of the embedding, 10 MiB, is among what both hold


@pytest.mark.medium
def test_a_sweep_and_single_evaluations_say_the_same() -> None:
    swept, single = (grid_job(who, 6).run() for who in FORMS["grid"])
    assert [(cell.lam, cell.tau) for cell in swept.cells] == [(cell.lam, cell.tau) for cell in single]
    assert len(single) == 6
    for cell, other in zip(swept.cells, single, strict=True):
        assert cell.loss == pytest.approx(other.loss, rel=1e-6)


def test_a_step_of_so_many_layers_has_a_loss() -> None:
    assert 5.0 < float(layers_job("scanned", 2).run()) < 8.0  # ln 512 is 6.2


def test_table_and_figure(tmp_path: Path) -> None:
    cells = [
        Cell("vocabulary", size, who, 1.0, (0.2, 0.1 * rate, 0.3), 2**20, None)
        for size in (4, 8)
        for who, rate in (("chunks", 1), ("whole", 2))
    ]
    shown = table(cells).splitlines()
    assert shown[2] == (
        "| vocabulary | 4 | chunks | 1.00 | 0.2000 (0.1500 to 0.2500) | 1.00 (0.75 to 1.00) | 1.0 | – |"
    )
    draw_figure(cells, tmp_path / "scaling")
    assert (tmp_path / "scaling.png").stat().st_size > 10_000


@pytest.mark.medium
def test_contestants_take_turns_in_processes_of_their_own() -> None:
    cells = measured("vocabulary", 512, 2)
    assert [(one.who, len(one.seconds)) for one in cells] == [("chunks", 2), ("whole", 2)]

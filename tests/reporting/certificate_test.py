"""Certificates on paper: the text, the files, the figure, for a certificate made by hand."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from aila_jax.guarantees.certificates import Certificate
from aila_jax.guarantees.gaps import Gap
from aila_jax.guarantees.key_counts import KeyCounts
from aila_jax.reporting.certificate_files import EMPIRICAL, describe_certificate, write_certificate
from aila_jax.reporting.plots_certificate import certificate_figure
from tests.reporting.conftest import make_cell, make_head

SCORES = np.array([[3.0, 4.0], [5.0, 20.0]])
MEASURED = {(0, 0): make_head(make_cell(1.0, 1.0), 0, 0)}


def made(bound: str = "qk_norm", worst: bool = False) -> Certificate:
    """Two layers of two heads, a margin of 16, windows of 2 over 5 positions; layer 1, head 1 is not
    guaranteed anything.
    """
    position = np.arange(5)
    n_in = position % 2 + 1
    counts = KeyCounts(n_in[None], position[None] + 1 - n_in, np.ones(5, int), worst)
    if bound == "hard":
        return Certificate(
            Gap(1.0, "hard", np.ones((2, 2)), 0.0, 0 * SCORES, 0 * SCORES + np.inf), 1.0, counts
        )
    return Certificate(Gap(1.0, bound, np.ones((2, 2)), 16.0, SCORES, 16.0 - 2 * SCORES), 1.0, counts)


def test_the_text_says_what_is_guaranteed_and_by_what() -> None:
    found = made()
    text = describe_certificate(found, "tiny, step 900", 0.9, MEASURED)
    lines = text.splitlines()
    assert lines[0] == "tiny, step 900: λ = 1, τ = 1, 5 positions"
    assert lines[1] == "scores bounded by QK-normalisation; blocks as in every text"
    assert EMPIRICAL not in text and "NOTHING" not in text
    assert lines[3] == "block mass at least       0.000"
    assert "says something at         75.0 % of heads and positions with keys outside their block" in lines
    assert next(line for line in lines if line.startswith("margin for 0.9")).endswith("now 16")
    header, first, *_, last = lines[-5:]
    assert header.split("  ")[-1] == "measured"
    assert (
        0.9995 < found.block_mass[0, 0].min() < found.head_block_mass[0, 0] < 1.0
    )  # shown rounded down, not as 1.000
    assert first.split() == [
        "0",
        "0",
        "3",
        "10",
        "0.999",
        "0.999",
        f"{MEASURED[0, 0].block_mass:.3f}",
        *first.split()[7:],
    ]
    assert last.split()[:5] == ["1", "1", "20", "-24", "0.000"]
    assert last.split()[6] == "–"
    assert "measured" not in describe_certificate(found, "tiny", 0.9)


def test_a_margin_that_no_setting_allows_is_said_to_be_one() -> None:
    gap = Gap(1e-4, "qk_norm", np.full((2, 2), 1e-4), 16.0, SCORES, 16e-4 - 2 * SCORES)
    lines = describe_certificate(Certificate(gap, 1.0, made().counts), "tiny", 0.9).splitlines()
    assert "at these scores, more than a margin may be (10000); now 16" in next(
        line for line in lines if line.startswith("margin for 0.9")
    )


def test_warnings_stand_where_they_belong() -> None:
    assert EMPIRICAL in describe_certificate(made("empirical"), "x", 0.9)
    assert "the worst case" in describe_certificate(made(worst=True), "x", 0.9)
    found = made("parameters")
    vacuous = Certificate(
        Gap(1.0, "parameters", np.ones((2, 2)), 16.0, SCORES, 0 * SCORES - 1.0), 1.0, found.counts
    )
    assert "NOTHING IS GUARANTEED" in describe_certificate(vacuous, "x", 0.9)
    everything = KeyCounts(np.arange(1, 6)[None], np.zeros((1, 5), int), np.ones(5, int), False)
    alone = describe_certificate(Certificate(vacuous.gap, 1.0, everything), "x", 0.9)
    assert "No query has a key outside its block, so there is nothing to guarantee." in alone
    assert "says something" not in alone and "NOTHING" not in alone
    hard = describe_certificate(made("hard"), "x", 0.9)
    assert "∞" in hard and "margin for" not in hard


@pytest.mark.parametrize("bound", ["qk_norm", "empirical", "hard"])
def test_files_hold_every_number(bound: str, tmp_path: Path) -> None:
    found = made(bound)
    paths = write_certificate(found, tmp_path, meta={"run": "tiny"}, target_mass=0.9, measured=MEASURED)
    assert [path.name for path in paths] == ["certificate.csv", "certificate.json"]
    with open(paths[0], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["layer", "head", "position", "n_in", "n_out", "block_mass", "entropy_bits"]
    assert len(rows) == 20
    for row in rows:
        at = int(row["layer"]), int(row["head"]), int(row["position"])
        assert float(row["block_mass"]) == found.block_mass[at]
        assert float(row["entropy_bits"]) == found.entropy_bits[at]
        assert (int(row["n_in"]), int(row["n_out"])) == (
            found.counts.n_in[0, at[2]],
            found.counts.n_out[0, at[2]],
        )
    document = json.loads(paths[1].read_text(encoding="utf-8"))
    assert (document["bound"], document["empirical"], document["meta"]) == (
        bound,
        bound == "empirical",
        {"run": "tiny"},
    )
    assert document["least_block_mass"] == found.least_block_mass
    assert document["margin_required"] == (None if bound == "hard" else found.required_margin(0.9))
    assert [head["gap"] for head in document["heads"]] == (
        [None] * 4 if bound == "hard" else [10.0, 8.0, 6.0, -24.0]
    )
    assert [head["measured_block_mass"] for head in document["heads"]] == [
        MEASURED[0, 0].block_mass,
        None,
        None,
        None,
    ]


def test_the_figure_draws_every_head_and_the_measurement() -> None:
    found = made()
    fig = certificate_figure(found, MEASURED)
    left, right = fig.axes
    curves = [line for line in left.get_lines() if len(line.get_xdata()) == 5]
    assert len(curves) == 5
    np.testing.assert_array_equal(curves[3].get_ydata(), found.block_mass[1, 1])
    np.testing.assert_allclose(curves[4].get_ydata(), [1, 1, 1 / 3, 1 / 2, 1 / 5])
    assert [list(line.get_ydata()) for line in right.get_lines()] == [
        found.head_block_mass.ravel().tolist(),
        [MEASURED[0, 0].block_mass],
    ]
    assert [text.get_text() for text in fig.legends[0].get_texts()] == [
        "layer 0, guaranteed",
        "layer 1, guaranteed",
        "uniform attention",
        "guaranteed, mean",
        "measured, mean",
    ]
    assert certificate_figure(found, of="a $ b").get_supxlabel() == "for the text 'a $ b' alone"
    assert not fig.get_supxlabel()
    labels = [text.get_text() for text in certificate_figure(made("empirical")).legends[0].get_texts()]
    assert not any("guaranteed" in label for label in labels)

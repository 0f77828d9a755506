"""The goals of speed: ratios with intervals, from result files alone."""

import json

import numpy as np
import pytest

from benchmarks.goals import (
    GOALS,
    Goal,
    against,
    attention,
    certified,
    faster_than,
    generated,
    helped,
    imported,
    ratio,
    swept,
    table,
)
from benchmarks.imports import HELP, IMPORTED, LIBRARIES

RUN = {
    "shapes": [
        {
            "name": "small",
            "entries": [
                {"name": name, "measures": [{"task": "train", "seconds": seconds}, {"task": "sweep", "seconds": [9.0]}]}
                for name, seconds in (
                    ("ours", [1.0, 1.1, 0.9]),
                    ("torch-eager", [2.0, 2.2, 1.8]),
                    ("torch-compile", [1.5, 1.65, 1.35]),
                )
            ],
        }
    ]
}  # fmt: skip


def test_a_ratio_is_of_the_same_round_with_an_interval_over_rounds():
    found = ratio([1.0, 20.0, 3.3], [1.0, 10.0, 3.0])
    assert found.median == pytest.approx(1.1) and found.rounds == 3
    assert (found.low, found.high) == (1.0, 2.0)  # medians of three rounds are drawn from those of the rounds
    draw = np.random.default_rng(1)
    times = draw.normal(1.0, 0.1, 400)
    wide, narrow = ratio(times[:20], np.ones(20)), ratio(times, np.ones(400))
    assert narrow.high - narrow.low < 0.5 * (wide.high - wide.low)
    assert narrow.low < 1.0 < narrow.high


def test_speed_is_against_the_fastest_of_those_that_were_measured():
    assert faster_than("small", "torch-eager", "torch-compile")(RUN).median == pytest.approx(1.5)
    assert faster_than("small", "torch-eager")(RUN).median == pytest.approx(2.0)
    assert faster_than("small", "plain-einsum")(RUN) is None
    assert faster_than("paper", "torch-eager")(RUN) is None


def test_a_goal_holds_where_the_worse_end_does():
    found = ratio([1.0, 1.1, 1.2], [1.0, 1.0, 1.0])
    for limit, least, holds in (
        (1.15, False, False),
        (1.2, False, True),
        (1.05, True, False),
        (1.0, True, True),
    ):
        assert Goal("", "", certified, limit, least).holds(found) is holds


def test_the_table_has_a_row_for_what_files_speak_of(tmp_path):
    assert len(table(tmp_path).splitlines()) == 2
    for name, document in (
        ("benchmark/benchmark.json", RUN),
        (
            "attention/attention.json",
            {
                "cells": [
                    {
                        "who": "chunked",
                        "length": 8192,
                        "skipped": "",
                        "seconds": [3.0, 3.0],
                        "peak_bytes": 10,
                    },
                    {"who": "torch", "length": 8192, "skipped": "", "seconds": [2.0, 2.0], "peak_bytes": 1},
                    {
                        "who": "reference",
                        "length": 8192,
                        "skipped": "long",
                        "seconds": [],
                        "peak_bytes": None,
                    },
                ]
            },
        ),
    ):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(json.dumps(document))
    lines = table(tmp_path).splitlines()[2:]
    assert lines == [
        "| speed of a training step, `small` ÷ PyTorch's | 1.50 (1.50 to 1.50; 3 rounds) | ≥ 1 | holds |",
        "| the same ÷ PyTorch's, without a dial | 1.50 (1.50 to 1.50; 2 rounds) | ≤ 1.5 | holds |",
    ]
    assert attention(8192, "chunked", "reference", True)(json.loads((tmp_path / name).read_text())) is None
    assert len({goal.what + goal.file for goal in GOALS}) < len(GOALS) == 19  # some rows say "the same"


def test_a_sweep_imports_and_help_are_read():
    cells = [
        {"who": who, "axis": "grid", "size": 18, "seconds": own}
        for who, own in (("sweep", [2.0, 4.0]), ("evaluate", [2.0, 2.0]))
    ]
    assert swept(18)({"cells": cells}).median == pytest.approx(1.5)
    assert swept(6)({"cells": cells}) is None
    cells = [
        {"who": who, "seconds": own}
        for who, own in ((LIBRARIES, [1.0, 2.0]), (IMPORTED, [1.1, 2.6]), (HELP, [0.2, 0.2]))
    ]
    assert imported({"cells": cells}).median == pytest.approx(1.2)
    assert helped({"cells": cells}).median == pytest.approx(0.2)


def test_generation_is_set_against_transformers():
    cells = [
        {"who": who, "batch": batch, "tokens_per_second": own}
        for batch, whose in ((1, {"kept": [3.0, 4.0], "transformers": [2.0, 2.0]}), (8, {"kept": [9.0]}))
        for who, own in whose.items()
    ]
    assert generated(1)({"cells": cells}).median == pytest.approx(1.75)
    assert generated(8)({"cells": cells}) is None


def test_a_contestant_is_set_against_another():
    assert against("small", "train", "ours", "torch-eager")(RUN).median == pytest.approx(0.5)
    assert against("small", "sweep", "ours", "torch-eager")(RUN).median == pytest.approx(1.0)
    assert against("small", "train", "ours", "plain-chunk")(RUN) is None

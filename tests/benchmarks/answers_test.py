"""The benchmark of answers: kept and whole runs say the same before anything is timed; what is reported."""

import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmarks import answers
from benchmarks.answers import FIRST, LEAVE, Contest, Times, measured, proved, ratio_of, seconds_of
from benchmarks.generation import SHAPES, drawn_model


@cache
def contest() -> Contest:
    return Contest(drawn_model(SHAPES["tiny"], 80), 3, 8)


def test_kept_and_whole_runs_say_the_same() -> None:
    assert proved(contest(), 3) < 1e-5
    found = contest().leave(True)
    assert (
        found.shape == (4,) and np.abs(found[1:] - found[0]).min() > 1e-5
    )  # each passage is worth something


def test_nothing_is_timed_where_they_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = contest().leave
    monkeypatch.setattr(contest(), "leave", lambda kept: honest(kept) + 2e-4 * kept)
    with pytest.raises(ValueError, match=r"differ by 2.0e-04 nats.*nothing is timed"):
        proved(contest(), 1)


def test_everyone_has_each_turn_and_a_part_of_the_whole_runs_counts_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []
    now = iter(range(1000))
    monkeypatch.setattr(answers.time, "perf_counter", lambda: float(next(now)))
    for name in ("leave", "first"):
        monkeypatch.setattr(contest(), name, lambda kept, name=name: calls.append(f"{name} {kept}"))
    monkeypatch.setattr(contest(), "leave_whole", lambda runs: calls.append(f"leave whole {runs}"))
    monkeypatch.setattr(contest(), "first_whole", lambda: calls.append("first whole"))
    found = measured(contest(), 2, 2)
    first = ["first True", "first False", "first whole"]
    turn = ["leave True", "leave False", "leave whole 2", *(one for one in first for _ in range(2))]
    assert calls == turn * 3
    assert [one.seconds for one in found] == [(1.0, 1.0)] * 2 + [(2.0, 2.0)] + [(1.0, 1.0)] * 3
    assert {(one.what, one.who) for one in found} == {
        (what, who) for what in (LEAVE, FIRST) for who in ("kept", "encoded", "whole")
    }


def test_ratios_are_of_the_same_round() -> None:
    found = [Times(LEAVE, "kept", 4, (1.0, 2.0, 4.0)), Times(LEAVE, "whole", 4, (10.0, 40.0, 120.0))]
    assert seconds_of(found, LEAVE, "kept", 4) == (1.0, 2.0, 4.0)
    assert ratio_of(found, LEAVE, "whole", 4).median == 20.0


def test_the_command_writes_what_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None, raising=False)
    out = tmp_path / "answers.json"
    answers.main(["--shape=tiny", "--passages=3", "--tokens=8", "--rounds=1", "--whole=0", f"--out={out}"])
    record = json.loads(out.read_text())
    assert record["largest difference of log-probability"]["3"] < 1e-4
    assert {"commit", "versions", "machine", "settings"} <= record.keys()
    assert len(record["times"]) == 6 and len(record["ratios"]) == 4
    assert "3 passages: kept and whole runs differ by at most" in capsys.readouterr().out

"""Progress: a bar on a terminal, lines elsewhere, nothing when quiet."""

import io
import sys
import time

import pytest

from aila_jax import progress
from aila_jax.progress import Progress, Stage, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
@pytest.mark.parametrize("quiet", [False, True])
def test_a_bar_on_a_terminal_and_lines_elsewhere(monkeypatch, stream, quiet):
    clock = iter([0.0, 90.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    shown = stream()
    monkeypatch.setattr(sys, "stderr", shown)
    with Progress(20, "step", start=5, quiet=quiet) as counted:
        counted.advance(3)
        if not quiet or shown.isatty():
            counted.report("loss 1.5")
    text = shown.getvalue()
    if quiet:
        assert text == ""
    elif shown.isatty():
        assert "\r" in text and "8/20" in text and "loss 1.5" in text and "ETA" not in text
    else:
        # 3 of the remaining 15 units in 90 s: 12 more take 6 minutes.
        assert text == "step 8 of 20: loss 1.5, ETA 6 min\n"


def test_work_of_unknown_length_shows_the_time_so_far(monkeypatch):
    clock = iter([0.0, 90.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    with Progress(None, "step") as counted:
        counted.advance(1200)
        counted.report("bits 1.5")
    assert shown.getvalue() == "step 1,200: bits 1.5, 2 min so far\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (89, "89 s"),
        (100, "2 min"),
        (3600, "60 min"),
        (5400, "1 h 30 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations_read_as_people_say_them(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("terminal", [False, True])
def test_where_nobody_reads_the_work_goes_on(monkeypatch, terminal):
    class Gone(io.StringIO):
        def isatty(self) -> bool:
            return terminal

        def write(self, text):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Gone())
    with Progress(3, "step") as counted:
        for _ in range(3):
            counted.advance()
            counted.report("loss 1.5")
    assert isinstance(counted.error, OSError)


def test_a_stage_says_what_begins_that_it_goes_on_and_when_it_ended(monkeypatch):
    monkeypatch.setattr(progress, "SILENCE", 0.05)
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    with Stage(2, 4, "train", "3 min"):
        for _ in range(100):
            if shown.getvalue().count("still at it") == 2:
                break
            time.sleep(0.05)
    lines = shown.getvalue().splitlines()
    assert lines[0] == "[2 of 4] train (about 3 min)"
    assert lines[1:-1] and all(line.strip().startswith("still at it, ") for line in lines[1:-1])
    assert lines[-1] == "[2 of 4] done in 0 s" or lines[-1].endswith(" s")


def test_a_stage_is_silent_while_other_things_are_shown(monkeypatch):
    monkeypatch.setattr(progress, "SILENCE", 0.2)
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    with Stage(1, 1, "count", "1 s"), Progress(None, "unit") as counted:
        for _ in range(40):
            counted.report("going")
            time.sleep(0.02)
    assert "still at it" not in shown.getvalue()


def test_a_stage_that_fails_does_not_say_that_it_is_done(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    with pytest.raises(RuntimeError), Stage(1, 1, "fail", "1 s"):
        raise RuntimeError
    assert shown.getvalue() == "[1 of 1] fail (about 1 s)\n"

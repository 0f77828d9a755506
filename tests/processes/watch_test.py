"""Processes that watch each other: killed, stopped, failed, and ended in peace."""

import signal
import time

import pytest

from tests.support.several import Job, free_port, start

PATIENCE = 3.0
PROGRAM = """
import sys, time
from aila_jax.processes.meet import Place, meet
from aila_jax.processes.watch import Watch

port, count, number, patience, then = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5]
lines, _ = meet(Place(f"127.0.0.1:{port}", count, number), "test", 60.0)
watch = Watch(count, lines, patience)
watch.start()
print("watching", file=sys.stderr, flush=True)
if then == "stay":
    time.sleep(120)
if then == "fail" and number == 1:
    watch.tell("process 1 of 3 failed: no more data", 2)
    sys.exit(5)
if then == "peace":
    time.sleep(2 * patience)
    watch.stop()
    sys.exit(0)
time.sleep(120)
"""


def job(folder, then: str) -> Job:
    port = free_port()
    commands = [["-c", PROGRAM, str(port), "3", str(number), str(PATIENCE), then] for number in range(3)]
    return start(folder, commands)


def watching(said: str) -> bool:
    return "watching" in said


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_one_that_dies_or_stands_still_ends_the_job_and_is_named(tmp_path, victim, number):
    with job(tmp_path, "stay") as running:
        for process in range(3):
            running.when(process, watching)
        running.signal(victim, number)
        began = time.monotonic()
        others = [running.ended(process, 60.0) for process in range(3) if process != victim]
        assert time.monotonic() - began < (PATIENCE if number == signal.SIGSTOP else 0.0) + 30.0
        why = "has given no sign of life for 3 s" if number == signal.SIGSTOP else "is gone"
        pid = running.processes[victim].pid
        for other in others:
            assert other.code == 1
            assert f"aila: process {victim} of 3 (" in other.error
            assert f", pid {pid}) {why}; the job ends. Fix: " in other.error


def test_one_that_fails_says_why_to_all(tmp_path):
    with job(tmp_path, "fail") as running:
        ends = running.all_ended(60.0)
    assert [end.code for end in ends] == [2, 5, 2]
    for end in (ends[0], ends[2]):
        assert "aila: process 1 of 3 failed: no more data" in end.error


def test_those_that_live_are_left_alone_and_end_in_peace(tmp_path):
    with job(tmp_path, "peace") as running:
        ends = running.all_ended(60.0)
    assert [end.code for end in ends] == [0, 0, 0]
    assert {end.error for end in ends} == {"watching\n"}

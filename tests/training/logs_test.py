"""Tests of the training log: the averages, the JSON lines, TensorBoard's file, numbers that are not
finite.
"""

import io
import json
import os
import struct
import sys

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from aila_jax import files
from aila_jax.loss.group_sparsity import Sparsity
from aila_jax.reporting import read_training_log
from aila_jax.training import event_file, logs
from aila_jax.training.logs import LogPlan, TrainingLog, average
from aila_jax.training.penalty import PenaltyMetrics, PenaltyTerms
from aila_jax.training.step import StepMetrics


def metrics(loss=1.0, lam=0.0, bin_loss=(0,) * 6, bin_targets=(0,) * 6, skipped=0, grad_norm=2.0):
    return StepMetrics(
        loss=np.float32(loss),
        grad_norm=np.float32(grad_norm),
        lam_mean=np.float32(lam),
        bin_loss=np.asarray(bin_loss, np.float32),
        bin_targets=np.asarray(bin_targets, np.float32),
        skipped=np.int32(skipped),
        first_bad_step=np.int32(-1),
        bad_parts=np.zeros(3, bool),
    )


def make_log(directory, start=0, steps=7, log_every=3, interval=None):
    return TrainingLog(
        directory,
        LogPlan(start, steps, log_every, tokens_per_step=100, learning_rates=np.arange(steps) / 10),
        interval=interval,
        quiet=True,
    )


def test_average_is_the_mean_over_steps_and_over_targets_in_each_bin():
    first = metrics(1.0, 0.2, (6, 0, 0, 0, 0, 10), (3, 0, 0, 0, 0, 4), skipped=1, grad_norm=2)
    second = metrics(2.0, 0.4, (0, 0, 9, 0, 0, 20), (0, 0, 3, 0, 0, 1), skipped=2, grad_norm=4)
    record = average([first, second])
    # Bins: 6/3 at 0, 9/3 at 0.4, 30/5 at 1; the mean of means there would be 11.25.
    expected = {
        "loss": 1.5,
        "lam_mean": pytest.approx(0.3),
        "grad_norm": 3.0,
        "skipped": 2,
        "loss_at_lam_0.0": 2.0,
        "loss_at_lam_0.4": 3.0,
        "loss_at_lam_1.0": 6.0,
    }
    assert record == expected


def test_a_penalty_is_averaged_and_counts_are_those_after_the_last_step(tmp_path):
    def penalised(group, value, zero, dead):
        counts = Sparsity(np.float32(zero), np.float32(zero / 2), np.float32(dead))
        return metrics(2.0).replace(
            penalty=PenaltyMetrics(PenaltyTerms(np.float32(group), np.float32(value)), counts)
        )

    record = average([penalised(1.0, 0.5, 0.25, 0), penalised(3.0, 1.5, 0.5, 2)])
    found = {
        name: record[name]
        for name in ("loss", "penalty", "value_penalty", "zero_query", "zero_key", "dead_heads")
    }
    # The loss stays the cross-entropy.
    assert found == {
        "loss": 2.0,
        "penalty": 2.0,
        "value_penalty": 1.0,
        "zero_query": 0.5,
        "zero_key": 0.25,
        "dead_heads": 2,
    }
    with make_log(tmp_path) as log:
        log.on_metrics(3, penalised(1.0, 0.5, 0.25, 1))
    assert read_training_log(tmp_path)[0]["dead_heads"] == 1
    assert events(tmp_path / "tensorboard")["train/zero_query", 3] == 0.25


def test_records_come_every_few_steps_and_at_the_last_one(tmp_path):
    with make_log(tmp_path) as log:
        for step in range(1, 8):
            log.on_metrics(step, metrics(loss=step))
    records = read_training_log(tmp_path)
    assert [(record["step"], record["kind"], record["loss"]) for record in records] == [
        (3, "train", 2.0),
        (6, "train", 5.0),
        (7, "train", 7.0),
    ]
    assert [record["learning_rate"] for record in records] == [0.2, 0.5, 0.6]  # that of the update just made
    assert all(record["tokens_per_second"] > 0 for record in records)


def test_tokens_per_second_leave_evaluations_and_checkpoints_out(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: clock[0])
    with make_log(tmp_path) as log:
        for step in range(1, 7):
            clock[0] += 0.5
            log.on_metrics(step, metrics())
            if step == 3:
                clock[0] += 100.0
                log.restart_clock()
    assert [record["tokens_per_second"] for record in read_training_log(tmp_path)] == [200.0, 200.0]


@pytest.mark.parametrize("penalised", [False, True])
def test_an_interval_goes_on_in_another_log_as_if_nothing_had_been_between(tmp_path, monkeypatch, penalised):
    """Through JSON, as a checkpoint holds it; float32 sums depend on every bit of every step."""
    clock = [0.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: clock[0])
    draw = np.random.default_rng(0)

    def step(number):
        found = metrics(*draw.random(2), draw.random(6), draw.integers(0, 9, 6), number, draw.random())
        if penalised:
            terms = PenaltyTerms(*np.float32(draw.random(2)))
            found = found.replace(penalty=PenaltyMetrics(terms, Sparsity(*np.float32(draw.random(3)))))
        return found

    steps = [step(number) for number in range(1, 8)]
    steps[2] = steps[2].replace(grad_norm=np.float32("inf"), bin_loss=np.full(6, np.nan, np.float32))

    def run(log, first, last):
        for number in range(first, last + 1):
            clock[0] += 0.5
            log.on_metrics(number, steps[number - 1])

    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    with make_log(tmp_path / "whole", log_every=4) as log:
        run(log, 1, 7)
    with make_log(tmp_path / "parts", log_every=4) as log:
        run(log, 1, 3)
        saved = json.dumps(log.interval(), allow_nan=False)
    clock[0] += 1000.0
    with make_log(tmp_path / "parts", start=3, log_every=4, interval=json.loads(saved)) as log:
        assert log.interval() == json.loads(saved)
        run(log, 4, 7)
    logged = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "parts")]
    assert logged[0] == logged[1]
    assert logged[0].count(b"\n") == 2


@pytest.mark.parametrize(
    "damage",
    [
        {"seconds": None},
        {"steps": 3},
        {"steps": [{}]},
        {"steps": [{"bin_loss": []}]},
        {"steps": [{"loss": "x"}]},
        {"steps": [{"skipped": 1e300}]},
        {"unwritten": 3},
        {"unwritten": [{"step": 1}]},
        {"unwritten": [{"step": "x", "kind": "train"}]},
    ],
)
def test_a_damaged_interval_is_refused(tmp_path, damage):
    with make_log(tmp_path) as log:
        log.on_metrics(1, metrics())
        saved = log.interval()
    if isinstance(damage.get("steps"), list) and damage["steps"][0]:
        damage = {"steps": [saved["steps"][0] | damage["steps"][0]]}
    with pytest.raises(ValueError, match=r"the checkpoint's log is damaged .*Fix: restore a copy"):
        make_log(tmp_path, interval=saved | damage)


def test_a_place_that_cannot_be_written_is_told_of_and_not_tried_again(tmp_path, monkeypatch):
    def full(file, content):
        tried.append(content)
        raise OSError(28, "No space left on device")

    tried: list[bytes] = []
    with make_log(tmp_path, log_every=1) as log:
        log.on_metrics(1, metrics())
        assert log.failure(1) is None
        monkeypatch.setattr(files, "write_whole", full)
        for step in (2, 3):
            log.on_metrics(step, metrics())
        assert len(tried) == 1
        assert str(log.failure(3)) == (
            f"{tmp_path / 'metrics.jsonl'} cannot be written (No space left on device). Training ended after"
            " step 3, which is saved. Fix: make it writable (is the disk full?); the same command continues"
            " from there"
        )
    assert [record["step"] for record in read_training_log(tmp_path)] == [1]


def test_a_log_that_cannot_begin_leaves_no_file_open(tmp_path, monkeypatch):
    def refused(self, records):
        raise RuntimeError("refused")

    monkeypatch.setattr(logs.TrainingLog, "_write_again", refused)
    with pytest.raises(RuntimeError, match="refused"):
        make_log(tmp_path)
    opened = {os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")}
    assert not [path for path in opened if path.startswith(str(tmp_path))]


@pytest.mark.parametrize("which", ["log", "board"])
def test_what_could_not_be_written_is_written_by_the_run_that_goes_on(tmp_path, monkeypatch, which):
    """Each record once, in its place: a file of its own for the run that had no such trouble."""
    monkeypatch.setattr(logs.time, "monotonic", lambda: 1.0)
    write, fails = files.write_whole, [False]

    def some(file, content):
        if fails[0] and (which == "log") == content.startswith(b"{"):
            raise OSError(122, "Disk quota exceeded")
        write(file, content)

    monkeypatch.setattr(files, "write_whole", some)
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
        with make_log(tmp_path / name, log_every=1) as log:
            for step in (1, 2, 3):
                fails[0] = name == "parts" and step == 2
                log.on_metrics(step, metrics(loss=step))
            log.write(3, "eval", {"loss": 0.5})
            saved = json.loads(json.dumps(log.interval()))
        with make_log(tmp_path / name, start=3, log_every=1, interval=saved) as log:
            log.on_metrics(4, metrics(loss=4.0))
            assert log.interval()["unwritten"] == []
    logged = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "parts")]
    assert logged[0] == logged[1]
    whole, parts = (events(tmp_path / name / "tensorboard") for name in ("whole", "parts"))
    assert whole == parts
    assert parts["train/loss", 2] == 2.0


def test_progress_that_cannot_be_shown_ends_training_too(tmp_path, monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stderr", Gone())
    plan = LogPlan(0, 7, every=1, tokens_per_step=100, learning_rates=np.ones(7))
    with TrainingLog(tmp_path, plan) as log:
        log.on_metrics(1, metrics())
        assert "standard error cannot be written ([Errno 32] Broken pipe)" in str(log.failure(1))
    assert [record["step"] for record in read_training_log(tmp_path)] == [1]


def test_two_runs_of_one_second_have_two_files_for_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setattr(event_file.time, "time", lambda: 1000.0)
    for start in (0, 3):
        with make_log(tmp_path, start=start) as log:
            log.on_metrics(start + 3, metrics(loss=start + 1))
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2
    found = events(tmp_path / "tensorboard")
    assert (found["train/loss", 3], found["train/loss", 6]) == (1.0, 4.0)


def test_what_is_not_finite_becomes_null_and_stays_strict_json(tmp_path):
    with make_log(tmp_path) as log:
        log.write(
            1,
            "eval",
            {"loss": float("nan"), "perplexity": float("inf"), "accuracy": 0.5, "word": None, "count": 3},
        )
        log.on_metrics(3, metrics(loss=np.nan))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    strict = [
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON")) for line in lines
    ]
    assert strict[0] == {
        "step": 1,
        "kind": "eval",
        "loss": None,
        "perplexity": None,
        "accuracy": 0.5,
        "word": None,
        "count": 3,
    }
    assert strict[1]["loss"] is None


def test_a_continued_run_appends(tmp_path):
    for start in (0, 3):
        with make_log(tmp_path, start=start) as log:
            log.on_metrics(start + 3, metrics())
    assert [record["step"] for record in read_training_log(tmp_path)] == [3, 6]


def test_what_an_attempt_wrote_beyond_the_step_it_continues_from_is_taken_out(tmp_path):
    with make_log(tmp_path) as log:
        for step in (3, 6):
            log.on_metrics(step, metrics(loss=1))
        log.write(6, "eval", {"loss": 1.0})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 7, "ki')  # cut short by a crash
    with make_log(tmp_path, start=4) as log:
        log.on_metrics(6, metrics(loss=2))
    assert [(record["step"], record["kind"], record["loss"]) for record in read_training_log(tmp_path)] == [
        (3, "train", 1.0),
        (6, "train", 2.0),
    ]
    with make_log(tmp_path, start=0):
        pass
    assert read_training_log(tmp_path) == []


@pytest.mark.parametrize("line", ["not json", "[]", '{"kind": "train"}', '{"step": null}'])
def test_a_damaged_line_is_named(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(
        f'{{"step": 3, "kind": "train"}}\n{line}\n{{"step": 6, "kind": "train"}}\n'
    )
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(
        ValueError,
        match=r"metrics\.jsonl, line 2 is no record of a training log .*Fix: repair or remove that line",
    ):
        make_log(tmp_path, start=6)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_each_record_is_on_disk_at_once(tmp_path):
    with make_log(tmp_path) as log:
        log.on_metrics(3, metrics())
        assert len(read_training_log(tmp_path)) == 1


def test_where_there_is_no_terminal_each_record_is_a_line_on_standard_error(tmp_path, capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: clock[0])
    plan = LogPlan(0, 7, every=3, tokens_per_step=100, learning_rates=np.ones(7))
    with TrainingLog(tmp_path, plan) as log:
        for step in range(1, 8):
            clock[0] += 100.0
            log.on_metrics(step, metrics(loss=2.0))
    assert capsys.readouterr().err.splitlines() == [
        "step 3 of 7: loss 2.000, 1 tokens/s, ETA 7 min",
        "step 6 of 7: loss 2.000, 1 tokens/s, ETA 2 min",
        "step 7 of 7: loss 2.000, 1 tokens/s, done in 12 min",
    ]
    with TrainingLog(tmp_path, plan, quiet=True) as log:
        log.on_metrics(3, metrics())
    assert capsys.readouterr().err == ""


def events(directory):
    """The scalars of TensorBoard's files."""
    found = {}
    for path in sorted(directory.glob("events*")):
        for event in all_events(path):
            found.update({(value.tag, event.step): value.simple_value for value in event.summary.value})
    return found


def all_events(path):
    """Of one file: each record is a length, its checksum, an Event, and its checksum."""
    data = path.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        yield Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


@pytest.mark.parametrize(("start", "hidden"), [(0, []), (3, [4])])
def test_a_continued_run_hides_only_what_lies_beyond_the_step_it_continues_from(tmp_path, start, hidden):
    """TensorBoard hides the points from a START event's step on."""
    with make_log(tmp_path, start=start):
        pass
    (path,) = (tmp_path / "tensorboard").glob("events*")
    assert [event.step for event in all_events(path) if event.HasField("session_log")] == hidden


def test_tensorboard_gets_the_numbers_and_nothing_that_is_not_one(tmp_path):
    with make_log(tmp_path) as log:
        log.on_metrics(3, metrics(loss=1.25))
        log.write(3, "eval", {"loss": 2.5, "perplexity": float("nan")})
    found = events(tmp_path / "tensorboard")
    assert found["train/loss", 3] == 1.25
    assert found["eval/loss", 3] == 2.5
    assert ("eval/perplexity", 3) not in found
    assert ("train/skipped", 3) in found

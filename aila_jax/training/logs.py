"""Where training reports to: a JSONL file, TensorBoard, and standard error.

None of them may stop or lose a run: what cannot be written is told once, after the state is saved.
"""

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float

from aila_jax.files import Growing, folder_inside, names_the_file, refuse_link, replaced
from aila_jax.json_files import loads
from aila_jax.loss.group_sparsity import Sparsity
from aila_jax.progress import Progress
from aila_jax.training.penalty import PenaltyMetrics, PenaltyTerms
from aila_jax.training.step import LAM_BINS, StepMetrics

LOG, BOARD = "metrics.jsonl", "tensorboard"  # in a run directory
STEP_NUMBERS = ("loss", "grad_norm", "lam_mean")
PENALTY_NUMBERS = ("group", "value", "zero_query", "zero_key", "dead_heads")


class LogUnwritable(OSError):
    """Training ended early, after saving, because a place that it reports to can no longer be written."""


@dataclass(frozen=True)
class LogPlan:
    """What is known of a training's records before it begins.

    Attributes:
      start: the step that training continues from.
      steps: the last step.
      every: steps between two records.
      tokens_per_step: tokens that a step reads.
      learning_rates: of every step, from the first.
    """

    start: int
    steps: int
    every: int
    tokens_per_step: int
    learning_rates: Float[np.ndarray, " steps"]


class TrainingLog:
    """Averages step metrics over `plan.every` steps and writes them; a context manager.

    `metrics.jsonl` gets one line a record: {"step", "kind": "train" or "eval", …}. A continued run appends to
    it, after taking out what an earlier attempt wrote beyond the step it continues from.

    Args:
      directory: the run directory; what is written in it is no link.
      plan: which steps there are, and which of them are recorded.
      interval: what `interval` was when that step was saved; None for a run that begins, and for a checkpoint
        that holds none.
      unmoved: called before each record is written; raises where the directory is no longer there.

    Raises:
      ValueError: a damaged line in the log or a damaged `interval`, or a link where a file is to be.
      OSError: a file that cannot be written. Later such a failure makes `failure` return an error.
    """

    def __init__(
        self,
        directory: Path,
        plan: LogPlan,
        *,
        interval: dict[str, Any] | None = None,
        unmoved: Callable[[], None] = lambda: None,
        quiet: bool = False,
    ):
        self._interval, self._seconds, again = _restored(interval)
        self._unwritten: list[dict[str, Any]] = []
        self._path = directory / LOG
        with contextlib.ExitStack() as opened:
            self._file = _cut_back(self._path, plan.start)
            opened.callback(self._file.close)
            # The points of step `start` are valid; later ones are of steps that run again.
            first = plan.start + 1 if plan.start else None
            from aila_jax.training.event_file import EventFile  # late: Protocol Buffers, for this alone

            self._board = EventFile(folder_inside(directory, BOARD), first)
            opened.callback(self._board.close)
            self._write_again(again)
            self._opened = opened.pop_all()
        self._progress = Progress(plan.steps, "step", start=plan.start, quiet=quiet)
        self._plan, self._unmoved = plan, unmoved
        self._error: OSError | None = None
        self._began = time.monotonic()

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.close()
        self._opened.close()

    def on_metrics(self, step: int, metrics: StepMetrics) -> None:
        """Takes one step's metrics; writes a record every `plan.every` steps and at the last."""
        self._interval.append(metrics)
        self._progress.advance()
        now = time.monotonic()
        self._seconds, self._began = self._seconds + now - self._began, now
        if step % self._plan.every == 0 or step == self._plan.steps:
            self.finish(step)

    def finish(self, step: int) -> None:
        """Writes the record of the steps since the last one, where there are any."""
        if not self._interval:
            return
        record = average(self._interval)
        tokens = self._plan.tokens_per_step * len(self._interval)
        record["tokens_per_second"] = tokens / max(self._seconds, 1e-9)
        record["learning_rate"] = float(self._plan.learning_rates[step - 1])
        self._progress.report(f"loss {record['loss']:.3f}, {record['tokens_per_second']:,.0f} tokens/s")
        self.write(step, "train", record)
        self._interval, self._seconds = [], 0.0

    def write(self, step: int, kind: str, record: dict[str, Any]) -> None:
        """Writes one record to the file and its numbers to TensorBoard. None and non-finite numbers become
        null. After a write has failed none is tried, and the next checkpoint holds what was not written.
        """
        self._unmoved()
        clean = {
            name: None if isinstance(value, float) and not np.isfinite(value) else value
            for name, value in record.items()
        }
        record = {"step": step, "kind": kind, **clean}
        if self._error is None:
            try:
                self._add(record, b"")
                return
            except OSError as error:
                self._error = error
        self._unwritten.append(record)

    def _add(self, record: dict[str, Any], there: bytes) -> None:
        """Adds a record to both files; to the first one unless it is `there`."""
        line = _line(record)
        if line not in there:
            with names_the_file(self._path):
                self._file.add(line)
        numbers = {name: value for name, value in record.items() if isinstance(value, (int, float))}
        step = numbers.pop("step")
        self._board.add(int(step), {f"{record['kind']}/{name}": value for name, value in numbers.items()})

    def _write_again(self, records: list[dict[str, Any]]) -> None:
        """What could not be written before the checkpoint that training goes on from. Where TensorBoard's
        file could not be, the log's line is there already.
        """
        there = self._path.read_bytes() if records else b""
        for record in records:
            self._add(record, there)

    def failure(self, step: int) -> LogUnwritable | None:
        """What to raise once step `step` is saved, where something could not be written; None where all
        could.
        """
        reason = self.unwritable()
        if not reason:
            return None
        return LogUnwritable(
            f"{reason}. Training ended after step {step}, which is saved. Fix: make it writable (is the disk"
            " full?); the same command continues from there"
        )

    def unwritable(self) -> str:
        """What could not be written and why; empty where all could."""
        if self._error is not None:
            return f"{self._error.filename} cannot be written ({self._error.strerror})"
        if self._progress.error is not None:
            return f"standard error cannot be written ({self._progress.error})"
        return ""

    def interval(self) -> dict[str, Any]:
        """The steps since the last record, as JSON that a checkpoint holds, so that the next record of a
        continued run is that of an undisturbed one; and the records that could not be written.
        """
        steps = [_step_to_json(metrics) for metrics in self._interval]
        return {"seconds": self._seconds, "steps": steps, "unwritten": self._unwritten}

    def files(self) -> dict[str, Growing]:
        """The files that it writes, by their paths in the run directory. What they hold is on disk when this
        returns: a checkpoint is of the log's last record too, so a power cut after it loses none.
        """
        try:
            for file in (self._file, self._board.file):
                file.flush()
        except OSError as error:
            self._error = self._error or OSError(error.errno, error.strerror, str(self._path))
        return {LOG: self._file, f"{BOARD}/{self._board.path.name}": self._board.file}

    def restart_clock(self) -> None:
        """Leaves what happened since the last step (an evaluation, a checkpoint) out of tokens/s."""
        self._began = time.monotonic()


class NoLog(TrainingLog):
    """The log of a process that writes none, because the first one does."""

    def __init__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def on_metrics(self, step: int, metrics: StepMetrics) -> None:
        pass

    def finish(self, step: int) -> None:
        pass

    def write(self, step: int, kind: str, record: dict[str, Any]) -> None:
        pass

    def unwritable(self) -> str:
        return ""

    def interval(self) -> dict[str, Any]:
        return {"seconds": 0.0, "steps": []}

    def files(self) -> dict[str, Growing]:
        return {}

    def restart_clock(self) -> None:
        pass


def _step_to_json(metrics: StepMetrics) -> dict[str, Any]:
    """The numbers of one step that a record is made of. Floats are exact; those that are not finite are
    words, because JSON has no numbers for them.
    """
    step: dict[str, Any] = {name: _number(getattr(metrics, name)) for name in STEP_NUMBERS}
    step["skipped"] = int(metrics.skipped)
    for name in ("bin_loss", "bin_targets"):
        step[name] = [_number(value) for value in np.asarray(getattr(metrics, name))]
    if metrics.penalty is not None:
        terms, left = metrics.penalty.terms, metrics.penalty.sparsity
        values = (terms.group, terms.value, left.zero_query, left.zero_key, left.dead_heads)
        step["penalty"] = dict(zip(PENALTY_NUMBERS, map(_number, values), strict=True))
    return step


def _number(value: Any) -> float | str:
    return float(value) if np.isfinite(value) else str(float(value))


def _line(record: dict[str, Any]) -> bytes:
    return (json.dumps(record, allow_nan=False) + "\n").encode()


def _restored(interval: dict[str, Any] | None) -> tuple[list[StepMetrics], float, list[dict[str, Any]]]:
    """The steps, seconds and unwritten records of `TrainingLog.interval`; none of each for None."""
    if interval is None:
        return [], 0.0, []
    try:
        steps = [_step_from_json(step) for step in interval["steps"]]
        unwritten = [
            {**record, "step": int(record["step"]), "kind": str(record["kind"])}
            for record in interval.get("unwritten", [])
        ]
        return steps, float(interval["seconds"]), unwritten
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"the checkpoint's log is damaged ({error!r}); it must hold the steps since the last record. Fix:"
            " restore a copy or an older step"
        ) from None


def _step_from_json(step: dict[str, Any]) -> StepMetrics:
    """The metrics of one step, as far as records are made of them."""
    bins = {
        name: np.asarray(list(map(float, step[name])), np.float32) for name in ("bin_loss", "bin_targets")
    }
    if any(values.shape != (LAM_BINS,) for values in bins.values()):
        raise ValueError(f"{len(step['bin_loss'])} bins of λ, not {LAM_BINS}")
    penalty = None
    if "penalty" in step:
        group, value, *left = (np.float32(step["penalty"][name]) for name in PENALTY_NUMBERS)
        penalty = PenaltyMetrics(PenaltyTerms(group, value), Sparsity(*left))
    return StepMetrics(
        **{name: np.float32(step[name]) for name in STEP_NUMBERS},
        **bins,
        skipped=np.int32(step["skipped"]),
        first_bad_step=np.int32(-1),
        bad_parts=np.zeros(0, bool),
        penalty=penalty,
    )


def _cut_back(path: Path, start: int) -> Growing:
    """Leaves the records up to step `start` in a log, for later ones are of steps that run again, and opens
    it for more. The file is always a new one, which no other name leads to.
    """
    refuse_link(path)
    if path.exists() and not path.is_file():
        raise ValueError(f"{str(path)!r} is no file; it must be a training log. Fix: move it away")
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()  # cut short by a crash
    kept = b"".join(
        line
        for number, line in enumerate(lines, start=1)
        if _step_of(line, f"{path}, line {number}") <= start
    )
    with names_the_file(path):
        return Growing(replaced(path, kept), kept)


def _step_of(line: bytes, where: str) -> int:
    try:
        return int(loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(
            f"{where} is no record of a training log ({error!r}). Fix: repair or remove that line"
        ) from None


def average(interval: list[StepMetrics]) -> dict[str, Any]:
    """Means over some steps, and the loss of each λ bin that had targets."""
    record: dict[str, Any] = {
        name: float(np.mean([getattr(m, name) for m in interval]))
        for name in ("loss", "grad_norm", "lam_mean")
    }
    record["skipped"] = int(interval[-1].skipped)
    loss = np.sum([np.asarray(m.bin_loss, np.float64) for m in interval], axis=0)
    targets = np.sum([np.asarray(m.bin_targets, np.float64) for m in interval], axis=0)
    for index in range(LAM_BINS):
        if targets[index]:
            record[f"loss_at_lam_{index / (LAM_BINS - 1):.1f}"] = float(loss[index] / targets[index])
    return record | _penalty_record([m.penalty for m in interval if m.penalty is not None])


def _penalty_record(interval: list[PenaltyMetrics]) -> dict[str, Any]:
    """Mean λ · η · R and ν · Σ‖W_V‖², and what the weights are after the last step; empty without a
    penalty.
    """
    if not interval:
        return {}
    last = interval[-1].sparsity
    return {
        "penalty": float(np.mean([m.terms.group for m in interval])),
        "value_penalty": float(np.mean([m.terms.value for m in interval])),
        "zero_query": float(last.zero_query),
        "zero_key": float(last.zero_key),
        "dead_heads": int(last.dead_heads),
    }

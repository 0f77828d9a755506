"""Where training reports to: a JSONL file, TensorBoard, and standard error."""

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter

from aila_jax.progress import Progress
from aila_jax.training.penalty import PenaltyMetrics
from aila_jax.training.step import LAM_BINS, StepMetrics


class TrainingLog:
    """Averages step metrics over `log_every` steps and writes them; a context manager.

    `metrics.jsonl` gets one line a record: {"step", "kind": "train" or "eval", …}. A continued run appends to
    it, after taking out what an earlier attempt wrote beyond the step it continues from.
    """

    def __init__(
        self,
        directory: Path,
        *,
        start: int,
        steps: int,
        tokens_per_step: int,
        log_every: int,
        learning_rates: np.ndarray,
        quiet: bool = False,
    ):
        _cut_back(directory / "metrics.jsonl", start)
        self._file = open(directory / "metrics.jsonl", "a", encoding="utf-8")  # noqa: SIM115 (closed by __exit__)
        # The points of step `start` are valid; those from purge_step on are hidden.
        self._board = SummaryWriter(str(directory / "tensorboard"), purge_step=start + 1 if start else None)
        self._progress = Progress(steps, "step", start=start, quiet=quiet)
        self._tokens_per_step, self._log_every, self._rates = tokens_per_step, log_every, learning_rates
        self._interval: list[StepMetrics] = []
        self._steps = steps
        self._began = time.monotonic()

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.close()
        self._board.close()
        self._file.close()

    def on_metrics(self, step: int, metrics: StepMetrics) -> None:
        """Takes one step's metrics; writes a record every `log_every` steps and at the last."""
        self._interval.append(metrics)
        self._progress.advance()
        if step % self._log_every and step != self._steps:
            return
        seconds = time.monotonic() - self._began
        record = average(self._interval)
        record["tokens_per_second"] = self._tokens_per_step * len(self._interval) / max(seconds, 1e-9)
        record["learning_rate"] = float(self._rates[step - 1])
        self._progress.report(f"loss {record['loss']:.3f}, {record['tokens_per_second']:,.0f} tokens/s")
        self.write(step, "train", record)
        self._interval = []
        self._began = time.monotonic()

    def write(self, step: int, kind: str, record: dict[str, Any]) -> None:
        """Writes one record to the file and its numbers to TensorBoard. None and non-finite numbers become
        null.
        """
        clean = {
            name: None if isinstance(value, float) and not np.isfinite(value) else value
            for name, value in record.items()
        }
        self._file.write(json.dumps({"step": step, "kind": kind, **clean}, allow_nan=False) + "\n")
        self._file.flush()
        for name, value in clean.items():
            if isinstance(value, (int, float)):
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def restart_clock(self) -> None:
        """Leaves what happened since the last step (an evaluation, a checkpoint) out of tokens/s."""
        self._began = time.monotonic()


def _cut_back(path: Path, start: int) -> None:
    """Leaves the records up to step `start` in a log; those after it are of steps that run again."""
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()  # cut short by a crash
    partial = path.with_suffix(".tmp")
    partial.write_bytes(
        b"".join(
            line
            for number, line in enumerate(lines, start=1)
            if _step_of(line, f"{path}, line {number}") <= start
        )
    )
    partial.replace(path)


def _step_of(line: bytes, where: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError) as error:
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

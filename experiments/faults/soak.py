"""A long run in one process that trains, saves, sweeps and answers: nothing grows, nothing slows down."""

import contextlib
import gc
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from aila_jax import presets, runs
from aila_jax.answering.cache import SHARED
from aila_jax.checkpoint import CheckpointStore
from aila_jax.config import Config
from aila_jax.training.stopping import TrainingStopped
from benchmarks.turns import give_back, memory
from experiments.faults.victims import ASKED, PASSAGES

KEPT = 2**20  # bytes of passages


@dataclass(frozen=True)
class Sample:
    """The process after a save, a sweep and an answer.

    Attributes:
      seconds: since the beginning.
      step: of training.
      resident: bytes of its own memory that are in use; neither pages of files, which the system gives and
        takes, nor free ones of the heap, which lie scattered between those of many threads.
      files: open ones.
      threads: of it, those of libraries among them.
      rate: steps a second since the sample before, in training alone.
    """

    seconds: float
    step: int
    resident: int
    files: int
    threads: int
    rate: float


def soak(folder: Path, seconds: float, every: int = 200) -> list[Sample]:
    """Trains for so long; each `every` steps a checkpoint, a sweep of the run and an answer."""
    samples: list[Sample] = []
    with _measured(folder / "run", seconds, samples), contextlib.suppress(TrainingStopped):
        runs.train(_config(every), folder / "run", quiet=True)
    return samples


def growth(samples: list[Sample]) -> float:
    """How much more memory the last tenth of the samples has than those right after the first fifth, as a
    share.
    """
    fifth, tenth = len(samples) // 5, max(len(samples) // 10, 1)
    before = median(one.resident for one in samples[fifth : fifth + tenth])
    return median(one.resident for one in samples[-tenth:]) / before - 1


def more(counts: Sequence[int]) -> bool:
    """Whether there were ever more of something in the last fifth than in the second. One more or less at a
    moment is no leak: a thread that ends is there for a while.
    """
    fifth = max(len(counts) // 5, 1)
    return max(counts[-fifth:]) > max(counts[fifth : 2 * fifth])


def slowing(samples: list[Sample]) -> float:
    """Steps a second in the last fifth of the samples, as a share of those in the second."""
    fifth = max(len(samples) // 5, 1)
    return median(one.rate for one in samples[-fifth:]) / median(
        one.rate for one in samples[fifth : 2 * fifth]
    )


def _config(every: int) -> Config:
    config = presets.questions()
    asked = replace(config.data.questions, sequences=256, asked=1, most=3, capacity=64)
    return replace(
        config,
        data=replace(config.data, questions=asked, vocab_size=320),
        model=replace(config.model, d_model=16, n_heads=2, d_ff=32, n_layers=2, length=384),
        train=replace(
            config.train,
            steps=10**6,
            batch_size=4,
            warmup_steps=1,
            checkpoint_every=every,
            eval_every=every,
            eval_batches=2,
        ),
    )


@contextlib.contextmanager
def _measured(run: Path, seconds: float, samples: list[Sample]) -> Iterator[None]:
    """Sweeps, answers and measures after each save, and asks training to stop when it is time."""
    save, began, since = CheckpointStore.save, time.monotonic(), [time.monotonic(), 0]

    def saved(self: CheckpointStore, step: int, *rest: Any) -> None:
        rate = (step - since[1]) / (time.monotonic() - since[0])
        save(self, step, *rest)
        if step == since[1]:  # once more, at the end
            return
        _use(run)
        gc.collect()
        samples.append(
            Sample(
                seconds=time.monotonic() - began,
                step=step,
                resident=_resident(),
                files=len(os.listdir("/proc/self/fd")),
                threads=len(os.listdir("/proc/self/task")),
                rate=rate,
            )
        )
        if time.monotonic() - began > seconds:
            os.kill(os.getpid(), signal.SIGTERM)
        since[:] = [time.monotonic(), step]

    assert threading.current_thread() is threading.main_thread(), "signals come to it"
    # Each checkpoint has passages of its own: what is kept of them soon reaches its limit.
    with patch.object(CheckpointStore, "save", saved), patch.object(SHARED, "most", KEPT):
        yield


def _resident() -> int:
    assert give_back(), "the C library of Linux can"
    found = memory("RssAnon")
    assert found is not None, "Linux says it"
    return found


def _use(run: Path) -> None:
    import aila_jax as aila

    model = aila.load(run)
    aila.sweep(model, lams=(0.0, 1.0), max_batches=1, quiet=True)
    aila.answer(
        model, ASKED[0], PASSAGES, mode="isolated", capacity=64, max_tokens=3, cache_dir=run.parent / "cache"
    )

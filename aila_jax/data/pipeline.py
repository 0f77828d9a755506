"""Batches for training (shuffled by Grain, resumable) and for evaluation (in order, every window once)."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from aila_jax.config.checks import shown
from aila_jax.config.sweep import PARTS
from aila_jax.data.packing import Windows
from aila_jax.types import PADDING_ID, Batch


class TrainBatches:
    """An endless iterator of Batch [batch_size, L] over all windows, in another order in each epoch.

    Every window comes once an epoch; a batch may hold the end of one epoch and the start of the next. The
    same windows, batch size and seed give the same batches, and `get_state` / `set_state` continue in the
    middle. Each of several processes takes its rows of them; their positions are those of one.
    """

    def __init__(self, windows: Windows, batch_size: int, seed: int, rows: slice = slice(None)):
        """Sets up the iterator at its first batch; `rows` are those that are taken of each.

        Raises:
          ValueError: batch_size below 1 or above the number of windows.
        """
        if not 1 <= batch_size <= len(windows):
            raise ValueError(
                f"train.batch_size is {batch_size}; it must be from 1 to the number of training windows,"
                f" {len(windows)}. Fix: lower --config.train.batch_size, shorten --config.model.length"
                f" ({windows.length}), or give more text"
            )
        # Imported here, not above: evaluation needs this module too, and works where Grain is not installed.
        import grain

        # Grain uses seed + epoch for the order of an epoch, so that seed 1 would begin with the second epoch
        # of seed 0. Spread seeds keep runs with neighbouring seeds apart.
        spread = int(np.random.SeedSequence(seed).generate_state(1)[0])
        # Only window numbers go through Grain; a batch is then one gather per array, not 6 · batch_size small
        # copies.
        order = (
            grain.MapDataset.range(len(windows))
            .shuffle(seed=spread)
            .repeat()
            .batch(batch_size, drop_remainder=True)
        )
        numbered = order.map(lambda numbers: take(windows.batch, numbers[rows]))
        # Threads would fetch ahead, but a gather takes less time than handing it from thread to thread.
        self._iterator = iter(
            numbered.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
        )
        self.fingerprint = _fingerprint(windows, batch_size, seed)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return next(self._iterator)

    def get_state(self) -> dict[str, Any]:
        """The position in the stream of batches, with the fingerprint of what it is a position in; plain
        JSON.
        """
        state = self._iterator.get_state()
        return {"fingerprint": self.fingerprint, "grain": json.loads(json.dumps(state))}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to where `get_state` was called, on this or another iterator over the same data.

        Raises:
          ValueError: the state belongs to other data or settings. Grain itself would accept it without a
            word.
        """
        found = state.get("fingerprint") if isinstance(state, dict) else state
        if found != self.fingerprint:
            raise ValueError(
                f"the data state has fingerprint {shown(found)[:80]}; this run's data has {self.fingerprint!r}, so the"
                " position means nothing here. Fix: resume with the corpus, tokenizer, seed, batch size,"
                " length and document mask that the run began with, or start a new run"
            )
        try:
            self._iterator.set_state(state["grain"])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(
                f"the data state is {str(state)[:200]}, which is no position ({type(error).__name__}). Fix:"
                " resume from an older step"
            ) from error


def eval_batches(
    windows: Windows, batch_size: int, max_batches: int = 0, part: str = PARTS[0]
) -> Iterator[Batch]:
    """All windows in order, or so many batches of a part of them; every batch has `batch_size` rows.

    The last batch is filled up with rows of padding (weights 0), so that one compiled program serves all
    batches.

    Args:
      windows: a split's.
      batch_size: rows of a batch, at least 1.
      max_batches: batches at most; 0 is all.
      part: see `chosen_windows`.

    Raises:
      ValueError: batch_size below 1, or max_batches below 0.
    """
    if batch_size < 1:
        raise ValueError(
            f"batch_size is {batch_size}; it must be at least 1. Fix: raise --config.sweep.batch_size"
        )
    if max_batches < 0:
        raise ValueError(
            f"max_batches is {max_batches}; it must be at least 0, where 0 is all. Fix: set"
            " --config.sweep.max_batches=0"
        )
    chosen = chosen_windows(len(windows), batch_size, max_batches, part)
    return (
        _rows(windows.batch, chosen[first : first + batch_size], batch_size)
        for first in range(0, len(chosen), batch_size)
    )


def chosen_windows(
    windows: int, batch_size: int, max_batches: int, part: str = PARTS[0]
) -> Int[np.ndarray, " n"]:
    """The numbers of the windows that `eval_batches` reads, batch after batch.

    Where not all of them are read: `spread` takes windows at equal distances from the first to the last, and
    gives each batch windows from all over the split, so that batches differ by chance alone; `first` takes
    the first ones.
    """
    count = windows if max_batches == 0 else min(windows, max_batches * batch_size)
    if count == windows or part == "first":
        return np.arange(count)
    spread = np.linspace(0, windows - 1, count).astype(int)
    return spread.reshape(batch_size, max_batches).T.reshape(-1)


def take(batch: Batch, rows: np.ndarray) -> Batch:
    """The windows with these numbers."""
    return jax.tree.map(lambda array: array[rows], batch)


def _rows(batch: Batch, rows: Int[np.ndarray, " n"], count: int) -> Batch:
    """These windows, filled up to `count` rows."""
    part = take(batch, rows)
    missing = count - len(part.tokens)
    if not missing:
        return part
    length = batch.tokens.shape[1]
    empty = np.zeros((missing, length), np.int32)
    ids = np.full((missing, length), PADDING_ID, np.int32)
    positions = np.tile(np.arange(length, dtype=np.int32), (missing, 1))
    pointers = None if part.pointers is None else np.full((missing, length), -1, np.int32)
    padding = Batch(empty, empty, np.zeros((missing, length), np.float32), positions, ids, ids, pointers)
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), part, padding)


def _fingerprint(windows: Windows, batch_size: int, seed: int) -> str:
    settings = {
        "tokenizer": windows.tokenizer,
        "document_mask": windows.document_mask,
        "batch_size": batch_size,
        "seed": seed,
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for field in dataclasses.fields(Batch):
        array = getattr(windows.batch, field.name)
        if array is None:  # a corpus without pointers has the fingerprint that it had before there were any
            continue
        digest.update(f"{field.name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()

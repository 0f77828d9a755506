"""The arrays of a checkpoint, which Orbax keeps: their names, their checksums, and how they are compared."""

import contextlib
import hashlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aila_jax.checkpoint.manifest import MARK, Damaged, mark_array
from aila_jax.checkpoint.record import ArrayEntry
from aila_jax.processes import here
from aila_jax.training.state import TrainState

ANCHOR_ARRAYS = ("table", "counts", "importance")


def alone() -> Any:
    """Orbax's options for one process that writes, or reads, by itself: it does not wait for the others."""
    import orbax.checkpoint as ocp  # late: see `check_arrays`

    if here.count() == 1:
        return ocp.options.MultiprocessingOptions()
    own = here.index()
    return ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"aila_{own}"
    )


def leaves(tree: Any) -> list[tuple[str, Any]]:
    """Every array of a tree with its name: "layer_0/query/kernel"."""
    return [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def array_sha256(leaf: Any) -> str:
    """SHA-256 of an array's bytes in row-major order."""
    return hashlib.sha256(np.ascontiguousarray(np.asarray(leaf)).tobytes()).hexdigest()


def without_params(state: TrainState) -> dict[str, Any]:
    """The training state but its parameters, which are an item of their own."""
    rest = {
        name: getattr(state, name)
        for name in ("step", "opt_state", "key", "skipped", "first_bad_step", "bad_parts")
    }
    return rest if state.importance is None else {**rest, "importance": state.importance}


def check_mark(found: Any, mark: str) -> None:
    """Raises Damaged unless the mark beside the parameters is that of the manifest."""
    if not np.array_equal(np.asarray(found), mark_array(mark)):
        raise Damaged("the mark in the arrays is not that of the manifest")


def check_arrays(folder: Path, entries: Mapping[str, ArrayEntry], mark: str | None) -> None:
    """Compares every array of a step's folder with the record's checksum.

    Args:
      folder: the step's.
      entries: "params/…", "state/…", "anchors/…", "partition/…" and "relation/…" names.
      mark: the one that must stand beside the parameters; None for format 1, which has none.

    Raises:
      Damaged: something differs.
    """
    import orbax.checkpoint as ocp  # late, since Orbax takes a third of a second that a model without a checkpoint never needs

    for item in sorted({name.split("/")[0] for name in entries}):
        own = {name.removeprefix(f"{item}/"): entry for name, entry in entries.items() if _in(item, name)}
        with quiet_libraries(), ocp.StandardCheckpointer(multiprocessing_options=alone()) as checkpointer:
            # What Orbax would make is looked at before it makes it: without a template its own files decide.
            stored = checkpointer.metadata(folder / item)
            _check_shapes(item, own, dict(leaves(getattr(stored.item_metadata, "tree", None))), mark)
            tree = checkpointer.restore(folder / item)
        if item == "params" and mark is not None:
            check_mark(tree.pop(MARK), mark)
        for name, leaf in leaves(tree):
            if array_sha256(leaf) != own[name].sha256:
                raise Damaged(f"{item}/{name} does not match its checksum")


def _in(item: str, name: str) -> bool:
    return name.startswith(f"{item}/")


def _check_shapes(
    item: str, entries: Mapping[str, ArrayEntry], stored: Mapping[str, Any], mark: str | None
) -> None:
    """Raises Damaged unless Orbax has the arrays of the record, and no others but the mark."""
    wanted = {name: (entry.shape, entry.dtype) for name, entry in entries.items()}
    if item == "params" and mark is not None:
        wanted[MARK] = (mark_array(mark).shape, "int32")
    there = {name: (tuple(leaf.shape), str(np.dtype(leaf.dtype))) for name, leaf in stored.items()}
    for name in sorted(wanted.keys() | there.keys()):
        if wanted.get(name) != there.get(name):
            raise Damaged(
                f"{item}/{name} is {there.get(name, 'absent')} in the arrays,"
                f" {wanted.get(name, 'absent')} in the record"
            )


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Without the tracebacks that Orbax logs, and TensorStore prints, of their threads for an error which is
    raised as well.
    """
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    levels, hook = [logger.level for logger in loggers], sys.unraisablehook
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    sys.unraisablehook = partial(_but_closed_loops, hook)
    yield
    # After a failure all of this stays: writes that were under way end later, and find Orbax's event loop
    # closed and nobody who waits for them.
    sys.unraisablehook = hook
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def _but_closed_loops(hook: Callable[[Any], Any], unraisable: Any) -> None:
    """An `unraisablehook` without "Event loop is closed"."""
    if str(unraisable.exc_value) != "Event loop is closed":
        hook(unraisable)

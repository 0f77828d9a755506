"""Power cuts while a model is trained and results are written: after each, everything that was done is there,
and whole.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from aila_jax import runs
from aila_jax.checkpoint import CheckpointStore, verify_run
from aila_jax.config import Config
from experiments.faults.power import FORMS, Moment, Recorder, identity, lay, recorded
from experiments.faults.subject import newest, weights


@dataclass
class Cuts:
    """What was found.

    Attributes:
      moments: calls before which the power was cut.
      disks: different disks that cuts left.
      resumed: of them, how many a run went on from, to the same bits.
      broken: what was wrong, a line each.
    """

    moments: int = 0
    disks: int = 0
    resumed: int = 0
    broken: list[str] = field(default_factory=list)


def cut_training(folder: Path, config: Config, resume: int = 3, forms: Sequence[str] = FORMS) -> Cuts:
    """Trains with the disk recorded, cuts the power before every call, and looks at what is left.

    Args:
      folder: a new one.
      config: of the run.
      resume: of the disks that cuts left, so many are gone on from, evenly spread.
      forms: of disks, from `FORMS`.
    """
    disk = folder / "disk"
    disk.mkdir(parents=True)
    expected: dict[int, str] = {}
    with recorded(disk) as recorder, _saves_said(recorder, disk / "run", expected):
        runs.train(config, disk / "run", quiet=True)
    last, cuts = max(expected), Cuts()
    disks = list(_disks(recorder.moments, forms, cuts))
    chosen = {round(index * (len(disks) - 1) / max(resume - 1, 1)) for index in range(resume)}
    for number, (moment, form, laid) in enumerate(disks):
        there = folder / f"cut{number}"
        lay(laid, there)
        why = _wrong(there / "run", moment, expected)
        if not why and number in chosen:
            runs.train(config, there / "run", quiet=True)
            why = "" if weights(there / "run", last) == expected[last] else "it goes on to other weights"
            cuts.resumed += 1
        if why:
            cuts.broken.append(f"cut before {moment.call}, {form}: {why}")
        shutil.rmtree(there)
    return cuts


def cut_writing(folder: Path, write: Callable[[Path], Any], read: Callable[[Path], Any], old: Any) -> Cuts:
    """Cuts the power while results are written over old ones: what is read afterwards is old or new, and new
    once `write` has returned.

    Args:
      folder: one in which the old results are.
      write: writes the new ones into a folder.
      read: what is there; an error is a torn file.
      old: what `read` finds of the old ones.
    """
    disk = folder / "disk"
    with recorded(disk) as recorder:
        write(disk)
        recorder.say("written")
    new, cuts = read(disk), Cuts()
    for number, (moment, form, laid) in enumerate(_disks(recorder.moments, FORMS, cuts)):
        there = folder / f"cut{number}"
        lay(laid, there)
        try:
            found = read(there)
        except (ValueError, OSError) as error:
            cuts.broken.append(f"cut before {moment.call}, {form}: {error}")
            continue
        if found != new and (moment.done or found != old):
            cuts.broken.append(f"cut before {moment.call}, {form}: neither old nor new")
        shutil.rmtree(there)
    return cuts


def _disks(
    moments: Sequence[Moment], forms: Sequence[str], cuts: Cuts
) -> Iterator[tuple[Moment, str, dict[str, bytes | None]]]:
    """Every disk that differs from the others in what it holds or in what was promised of it."""
    seen = set()
    for moment in moments:
        cuts.moments += 1
        for form in forms:
            laid = moment.laid(form)
            key = identity(laid), moment.done
            if key not in seen:
                seen.add(key)
                cuts.disks += 1
                yield moment, form, laid


@contextmanager
def _saves_said(recorder: Recorder, run: Path, expected: dict[int, str]) -> Iterator[None]:
    """Notes each step whose save has returned, and what its arrays are."""
    save = CheckpointStore.save

    def said(self: CheckpointStore, step: int, *args: Any, **kwargs: Any) -> None:
        save(self, step, *args, **kwargs)
        expected[step] = weights(run, step)
        recorder.say(str(step))

    with patch.object(CheckpointStore, "save", said):
        yield


def _wrong(run: Path, moment: Moment, expected: dict[int, str]) -> str:
    """What is wrong with a run after a cut; empty where nothing is."""
    promised = max((int(step) for step in moment.done), default=None)
    try:
        step = newest(run)
        if step is None:
            return "" if promised is None else f"step {promised} is gone"
        if promised is not None and step < promised:
            return f"step {promised} is gone, {step} is the newest"
        if weights(run, step) != expected[step]:
            return f"step {step} has other weights"
        damaged = [str(one) for one in verify_run(run) if one.damaged]
    except (ValueError, OSError) as error:
        return str(error)
    return "; ".join(damaged)

"""Damage to every file of a run, and to every value of its JSON: found, or harmless; never taken for what was
saved.
"""

import copy
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aila_jax.checkpoint import find_checkpoint, verify_run, whole_steps
from aila_jax.reporting.records import check_sweep

Place = tuple[str | int, ...]  # the keys and numbers that lead to a value


def flipped(content: bytes) -> bytes:
    """One bit in the middle is another."""
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


HOW: dict[str, Callable[[bytes], bytes | None]] = {
    "flipped": flipped,
    "cut": lambda content: content[: len(content) // 2],
    "zeroed": lambda content: bytes(len(content)),
    "deleted": lambda content: None,
}


@dataclass
class Damages:
    """What was found.

    Attributes:
      tried: damages.
      missed: files and what was done to them, where nothing was found.
      survived: damages of the newest checkpoint after which an older one was used.
      lost: those after which it was not.
    """

    tried: int = 0
    missed: list[str] = field(default_factory=list)
    survived: int = 0
    lost: list[str] = field(default_factory=list)


def files_of(run: Path) -> list[Path]:
    """Every file that holds something."""
    return sorted(path for path in run.rglob("*") if path.is_file() and path.stat().st_size)


def damaged_files(run: Path, folder: Path, how: Sequence[str] = tuple(HOW)) -> Damages:
    """Damages each file of a copy of a run in turn, and puts it back.

    Args:
      run: a finished run with two checkpoints at least; perhaps with a sweep.
      folder: a new one, for the copy.
      how: from `HOW`.
    """
    copied, found = Path(shutil.copytree(run, folder)), Damages()
    newest = copied / "checkpoints" / str(whole_steps(copied / "checkpoints")[-1])
    for path in files_of(copied):
        content = path.read_bytes()
        for name in how:
            changed = HOW[name](content)
            if changed == content:  # zeros already
                continue
            found.tried += 1
            if changed is None:
                path.unlink()
            else:
                path.write_bytes(changed)
            if not named(copied, path):
                found.missed.append(f"{path.relative_to(copied)} {name}")
            if newest in path.parents:
                _look_for_another(copied, int(newest.name), f"{path.relative_to(copied)} {name}", found)
            path.write_bytes(content)
    return found


def damaged_values(run: Path, folder: Path, most: int = 10**9) -> Damages:
    """Changes each value of each JSON file of a copy of a run in turn, to another that JSON can hold.

    Args:
      run: as in `damaged_files`.
      folder: likewise.
      most: values a file at most, evenly spread.
    """
    copied, found = Path(shutil.copytree(run, folder)), Damages()
    for path in files_of(copied):
        document = _document(path)
        if document is None:
            continue
        content, places = path.read_bytes(), list(json_places(document))
        for place in places[:: max(len(places) // most, 1)]:
            found.tried += 1
            path.write_text(json.dumps(with_another_value(document, place)), encoding="utf-8")
            if not named(copied, path):
                found.missed.append(f"{path.relative_to(copied)} {'.'.join(map(str, place))}")
        path.write_bytes(content)
    return found


def named(run: Path, path: Path) -> bool:
    """Whether verifying the run says that this file, or the checkpoint that it is of, is damaged."""
    if path.name.startswith("sweep"):
        return check_sweep(run) != ""
    return any(one.damaged and (one.folder == path or one.folder in path.parents) for one in verify_run(run))


def json_places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Where every value that is no object and no list is."""
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from json_places(item, (*place, key))
    elif place:
        yield place


def with_another_value(document: Any, place: Place) -> Any:
    """A copy with one value of the same kind changed: a number by one, a text by one character."""
    changed = copy.deepcopy(document)
    inside = changed
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = _another(inside[place[-1]])
    return changed


def _another(value: Any) -> Any:
    if value is None:
        return 1
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 1.0000001 + 1e-9
    return f"{value[:-1]}{'a' if value[-1:] != 'a' else 'b'}"


def _document(path: Path) -> Any:
    """What a JSON file holds; None for another."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return found if isinstance(found, (dict, list)) else None


def _look_for_another(run: Path, newest: int, what: str, found: Damages) -> None:
    """Takes the newest whole checkpoint, as `--fallback` does."""
    try:
        step = find_checkpoint(run, fallback=True).step
    except ValueError as error:
        found.lost.append(f"{what}: {error}")
        return
    if step < newest:
        found.survived += 1
    else:
        found.lost.append(f"{what}: the damaged step {newest} is used")

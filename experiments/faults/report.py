"""The table of promises, made from one result file each."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aila_jax.files import write_atomically
from aila_jax.json_files import json_object, read_json
from aila_jax.provenance import git_commit, versions
from aila_jax.reporting.tables import markdown
from experiments.faults.promises import PROMISES, Kept
from experiments.faults.without import FORM as WITHOUT_FORM

FORM = "aila_jax reliability, version 1"


def file_of(out: Path, promise: str) -> Path:
    """Its result file."""
    return out / f"{re.sub('[^a-z]+', '_', promise.lower()).strip('_')}.json"


def write(found: Kept, scale: str, out: Path) -> None:
    """Writes what became of a promise, with versions and commit."""
    document = {
        "format": FORM,
        "scale": scale,
        "commit": git_commit(),
        "versions": versions(),
        **asdict(found),
    }
    write_atomically(file_of(out, found.promise), (json.dumps(document, indent=1) + "\n").encode())


def read(path: Path, form: str = FORM) -> dict[str, Any]:
    """A result file of a form; ValueError where it is none."""
    found = json_object(read_json(path), str(path))
    if found.get("format") != form:
        raise ValueError(f"{path} is no result of this experiment. Fix: move it away")
    return found


def without_file_of(out: Path, promise: str) -> Path:
    """The file of what became of it without its protection."""
    path = file_of(out, promise)
    return path.with_name(f"without_{path.name}")


def collect(out: Path) -> tuple[str, list[str]]:
    """Makes table.md from the files in `out`; the table, and the promises that are broken, or that no
    protection was needed for.
    """
    lines, broken = [], []
    for promise in PROMISES:
        path, without = file_of(out, promise), "not tried"
        if without_file_of(out, promise).is_file():
            found = read(without_file_of(out, promise), WITHOUT_FORM)
            without = f"{found['said']}: {found['broken']:,} of {found['cases']:,} broken"
            if not found["broken"]:
                broken.append(f"{promise} (its test shows nothing)")
        if not path.is_file():
            lines.append((promise, "not tried", "", without, "", ""))
            continue
        found = read(path)
        skipped = f", {found['skipped']} skipped" if found["skipped"] else ""
        kept = f"{found['kept']:,} of {found['cases']:,}{skipped}"
        minutes = f"{found['seconds'] / 60:.1f}"
        lines.append((promise, found["injected"], kept, without, minutes, found["scale"]))
        if found["broken"]:
            broken.append(promise)
    text = markdown(("promise", "injected", "kept", "without a protection", "minutes", "scale"), lines)
    write_atomically(out / "table.md", text.encode())
    return text, broken

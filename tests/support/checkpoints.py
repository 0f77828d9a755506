"""What tests do to checkpoints on disk: edit them, and cover that up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aila_jax.checkpoint.manifest import make_manifest, mark_of, write_manifest

GOLDEN = Path(__file__).parents[1] / "runs" / "golden" / "run"
KEY = b"0123456789abcdef0123456789abcdef"


def step_folder(run: Path, step: int = 24) -> Path:
    return run / "checkpoints" / str(step)


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Changes the JSON in a file."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    change(stored)
    path.write_text(json.dumps(stored), encoding="utf-8")


def reseal(folder: Path, key: bytes | None = None) -> None:
    """What somebody does who covers an edit up: a new manifest for the files as they are."""
    record = (folder / "record" / "metadata").read_bytes()
    write_manifest(make_manifest(folder, int(folder.name), "run", mark_of(record)), folder, key)

"""Every checkpoint of a run, and the files beside them, compared byte by byte with what was saved."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aila_jax.checkpoint.folders import DIRECTORY, incomplete_steps, whole_steps
from aila_jax.checkpoint.found import check_all, open_checkpoint
from aila_jax.checkpoint.lineage import Ancestor
from aila_jax.checkpoint.manifest import NAME, Damaged, read_key
from aila_jax.config import user_path
from aila_jax.config.checks import shown
from aila_jax.json_files import read_json


@dataclass(frozen=True)
class Verified:
    """What is known of one checkpoint, or of one file beside them.

    Attributes:
      folder: the step's, or the file.
      state: `verified`, `not verified` (format 1 has checksums of its arrays alone) or `damaged`.
      detail: what was compared, or what differs.
      weights: the identity of its parameters; empty where it is damaged.
      began: the checkpoint that its run began from; None where it began by itself.
    """

    folder: Path
    state: str
    detail: str
    weights: str = ""
    began: Ancestor | None = None

    @property
    def damaged(self) -> bool:
        return self.state == "damaged"

    def __str__(self) -> str:
        weights = f", weights {self.weights[:12]}" if self.weights else ""
        began = f", began from {shown(str(self.began))}" if self.began else ""
        return f"{self.folder}: {self.state} ({self.detail}){weights}{began}"


def verify_run(path: str | Path, key_file: str | Path | None = None) -> tuple[Verified, ...]:
    """Verifies all checkpoints of a run directory, oldest first, and the files beside them; or one step's
    folder.

    Args:
      path: where they are.
      key_file: holds the key that every checkpoint must be signed with; that of AILA_CHECKPOINT_KEY_FILE by
        default, and without either, signatures are not looked at.

    Raises:
      ValueError: there is none, or the key cannot be read.
    """
    path = user_path(path).resolve()
    run = (path / DIRECTORY).is_dir()
    directory = path / DIRECTORY if run else path
    if path.name.isdecimal() and (path / "record").is_dir():
        directory, steps, incomplete = path.parent, [int(path.name)], []
    else:
        steps, incomplete = whole_steps(directory), incomplete_steps(directory)
    if not steps and not incomplete:
        raise ValueError(
            f"checkpoint path is {str(path)!r}; it must be a run directory that holds a checkpoint. Fix:"
            " train first, or correct the path"
        )
    key = read_key(key_file)
    found = [Verified(directory / str(step), "damaged", "it has no record") for step in incomplete]
    checkpoints = sorted((*found, *(_verify(directory, step, key) for step in steps)), key=_number)
    return (*checkpoints, *(_verify_files(path, checkpoints) if run else ()))


def _verify_files(run: Path, checkpoints: Sequence[Verified]) -> Iterator[Verified]:
    """A line for each file that the newest whole checkpoint knows."""
    whole = [one for one in checkpoints if not one.damaged]
    if not whole:
        return
    step = int(whole[-1].folder.name)
    known = open_checkpoint(run / DIRECTORY, step).files
    for name in sorted(known.entries):
        try:
            known.check(run, name)
            yield Verified(run / name, "verified", f"as step {step} knows it")
        except (Damaged, OSError) as error:
            yield Verified(run / name, "damaged", f"{error}, as step {step} knows it")


def _verify(directory: Path, step: int, key: bytes | None) -> Verified:
    folder = directory / str(step)
    try:
        checkpoint = open_checkpoint(directory, step, key)
        check_all(checkpoint)
    except ValueError as error:
        return Verified(folder, "damaged", str(error).removeprefix(f"checkpoint {folder}").lstrip(": "))
    weights, began = checkpoint.weights, checkpoint.lineage[0] if checkpoint.lineage else None
    if checkpoint.manifest is None:
        detail = "format 1: its arrays match their checksums, its record has none"
        return Verified(folder, "not verified", detail, weights, began)
    signed = ", signed with the key" if key else ", signed, and no key was given" if _signed(folder) else ""
    files = f"{len(checkpoint.manifest.files)} files{signed}"
    return Verified(folder, "verified", files, weights, began)


def _signed(folder: Path) -> bool:
    return "hmac" in read_json(folder / NAME)


def _number(found: Verified) -> int:
    return int(found.folder.name)

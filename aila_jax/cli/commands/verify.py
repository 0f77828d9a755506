"""`aila verify`: whether the checkpoints of a run are what was saved."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from aila_jax.cli.command import Call, Command, CommandError, PathFlag
from aila_jax.config.options import VerifyOptions

if TYPE_CHECKING:
    from aila_jax.checkpoint import Verified


def _run(call: Call[VerifyOptions]) -> None:
    from aila_jax.checkpoint import verify_run

    found = (*verify_run(call.path, call.options.key_file or None), *_results(Path(call.path)))
    for one in found:
        print(one, flush=True)
    if damaged := sum(one.damaged for one in found):
        raise CommandError(
            f"{damaged} of {len(found)} checkpoints and files {'is' if damaged == 1 else 'are'} damaged. Fix:"
            " restore a copy, or use a whole checkpoint"
        )


def _results(run: Path) -> "tuple[Verified, ...]":
    """The sweep in a run directory, where there is one."""
    from aila_jax.checkpoint import Verified
    from aila_jax.config import user_path
    from aila_jax.reporting.records import check_sweep, has_checksums

    path = user_path(run).resolve() / "sweep.json"
    if not os.path.lexists(path):
        return ()
    if wrong := check_sweep(path.parent):
        return (Verified(path, "damaged", wrong),)
    if not has_checksums(path.parent):
        return (Verified(path, "not verified", "it has no checksums, as those of earlier versions"),)
    return (Verified(path, "verified", "with its CSV files"),)


COMMAND = Command(
    name="verify",
    summary="say whether the checkpoints of a run are what was saved",
    about=(
        "Reads every byte of every checkpoint of a run, or of one of them, and prints a line for each:"
        " verified, not verified (of format 1, which has checksums of its arrays alone), or damaged, and what."
        " Of a run, config.json, run.json, metrics.jsonl and TensorBoard's files are compared with what they"
        " held when the newest checkpoint was saved, and a sweep with its checksums."
        " With a key, a checkpoint that is not signed with it is damaged too. The exit code is 1 if one is"
        " damaged."
    ),
    examples=("verify runs/tiny", "verify runs/tiny --key_file=$HOME/.aila_key"),
    run=_run,
    options=VerifyOptions,
    path=PathFlag("checkpoint", "A run directory, or one checkpoint inside it.", bare=True),
)

"""Checkpoints: Orbax for the arrays, a record in JSON, and one manifest over everything.

The layout of a step's folder, and what is detected: docs/checkpoints.md.
"""

from aila_jax.checkpoint.folders import DIRECTORY, incomplete_steps, whole_steps
from aila_jax.checkpoint.found import Checkpoint, find_checkpoint
from aila_jax.checkpoint.lineage import Ancestor
from aila_jax.checkpoint.record import Record
from aila_jax.checkpoint.store import CheckpointStore, SaveError
from aila_jax.checkpoint.verify import Verified, verify_run

__all__ = [
    "DIRECTORY",
    "Ancestor",
    "Checkpoint",
    "CheckpointStore",
    "Record",
    "SaveError",
    "Verified",
    "find_checkpoint",
    "incomplete_steps",
    "verify_run",
    "whole_steps",
]

"""Where a run's first weights came from, when they were those of another run (`aila train --start`)."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from aila_jax.checkpoint.arrays import array_sha256, leaves
from aila_jax.checkpoint.record import LINEAGE, ArrayEntry
from aila_jax.types import Array


@dataclass(frozen=True)
class Ancestor:
    """A checkpoint whose weights another run began with.

    Attributes:
      run: name of its run directory.
      step: optimizer steps it was trained for.
      weights: the identity of its parameters, from `weights_sha256`.
      path: where it was then; empty for a model that was in memory.
    """

    run: str
    step: int
    weights: str
    path: str = ""

    def __str__(self) -> str:
        return f"{self.run}, step {self.step} (weights {self.weights[:12]})"


def weights_sha256(entries: Mapping[str, ArrayEntry]) -> str:
    """The identity of parameters, of whatever format their checkpoint is: SHA-256 over names, shapes, types
    and checksums of all arrays "params/…".
    """
    rows = [
        [name, list(entry.shape), entry.dtype, entry.sha256]
        for name, entry in sorted(entries.items())
        if name.startswith("params/")
    ]
    return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()


def weights_of(params: Any) -> str:
    """The same of parameters in memory."""
    return weights_of_each(leaves(params))


def weights_of_each(named: Iterable[tuple[str, Array]]) -> str:
    """The same of arrays with their names ("layer_0/query/kernel"), which are seen one at a time."""
    return weights_sha256(
        {
            f"params/{name}": ArrayEntry(tuple(np.shape(leaf)), str(leaf.dtype), array_sha256(leaf))
            for name, leaf in named
        }
    )


def lineage_to_json(lineage: tuple[Ancestor, ...]) -> dict[str, Any]:
    """What is added to `meta`: nothing for a run that began by itself."""
    return {LINEAGE: [asdict(one) for one in lineage]} if lineage else {}


def lineage_of(meta: Mapping[str, Any]) -> tuple[Ancestor, ...]:
    """The lineage that `meta` of a record holds, the run's own start first, then what that began with.

    `read_record` has checked its form.
    """
    names = [one.name for one in fields(Ancestor)]
    return tuple(Ancestor(*(one[name] for name in names)) for one in meta.get(LINEAGE, ()))

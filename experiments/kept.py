"""What a long measurement has found so far, in a file, so that it goes on where it was stopped."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aila_jax.config import Config, saved_config, to_dict
from aila_jax.files import write_atomically
from aila_jax.json_files import read_json
from aila_jax.reporting.results import portable


@dataclass(frozen=True)
class Kept:
    """The parts of one measurement.

    Attributes:
      path: their file.
      subject: what is measured; parts of another subject are made again.
    """

    path: Path
    subject: dict[str, Any]

    @classmethod
    def of(cls, path: Path, config: Config, step: int) -> "Kept":
        """Of a model, known by its configuration and its step."""
        return cls(path, {"config": _plain(portable(config)), "step": step})

    def part(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` returns, which JSON can hold; it is not called where the part is there."""
        found = self._read()
        if name not in found:
            found = {**found, name: make()}
            document = {"subject": self.subject, "parts": found}
            write_atomically(self.path, (json.dumps(document, indent=1) + "\n").encode())
            print(f"{self.path.parent.name}: {name} is measured", file=sys.stderr, flush=True)
        return self._read()[name]

    def _read(self) -> dict[str, Any]:
        if not self.path.is_file():
            return {}
        document = read_json(self.path)
        subject = document["subject"]
        try:
            # Settings may have come since; a model of then has their old values.
            subject = {**subject, "config": _plain(saved_config(subject["config"]))}
        except ValueError:  # of another version, with other settings
            return {}
        return dict(document["parts"]) if subject == self.subject else {}


def _plain(config: Config) -> dict[str, Any]:
    """As JSON has it."""
    return dict(json.loads(json.dumps(to_dict(config))))

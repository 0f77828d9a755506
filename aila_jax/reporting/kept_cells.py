"""The cells of a sweep that was stopped, kept in a file: the same command measures what is missing."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aila_jax.evaluation.rows import CellRow, HeadRow
from aila_jax.evaluation.sweep import Cell, Keep
from aila_jax.files import flush, make_folder, names_the_file, new_file, refuse_link, write_whole
from aila_jax.json_files import json_object, json_sha256, loads
from aila_jax.reporting.tables import json_rows, row_from

NAME = "sweep_cells.jsonl"


@dataclass
class KeptCells(Keep):
    """A line a cell, each with its own checksum, on disk before the next cell is begun. A line that is cut
    off, damaged or of another subject is not used.

    Attributes:
      path: the file; there while a sweep is not finished.
      subject: what is known of model, corpus, settings and versions, as a digest. Cells of another are made
        anew.
    """

    path: Path
    subject: str
    _found: dict[tuple[float, float], Cell] = field(default_factory=dict)

    def read(self) -> int:
        """Reads what is there; how many cells that are."""
        refuse_link(self.path)
        for line in self.path.read_bytes().splitlines() if self.path.is_file() else ():
            try:
                self._take(line)
            except ValueError:
                continue
        return len(self._found)

    def has(self, lam: float, tau: float) -> bool:
        return (lam, tau) in self._found

    def cell(self, lam: float, tau: float, make: Callable[[], Cell]) -> Cell:
        if (lam, tau) not in self._found:
            self._found[lam, tau] = make()
            self._write(lam, tau)
        return self._found[lam, tau]

    def forget(self) -> None:
        """Removes the file: all is in the sweep's own."""
        self.path.unlink(missing_ok=True)

    def _take(self, line: bytes) -> None:
        values = json_object(loads(line), "line")
        checksum = values.pop("sha256", None)
        if checksum != json_sha256(values) or values["subject"] != self.subject:
            return
        cell = row_from(CellRow, values["cell"], "cell")
        heads = tuple(row_from(HeadRow, one, f"heads[{index}]") for index, one in enumerate(values["heads"]))
        self._found[cell.lam, cell.tau] = cell, heads

    def _write(self, lam: float, tau: float) -> None:
        """Adds a cell at the file's end; what cannot be written is said, and the sweep goes on."""
        cell, heads = self._found[lam, tau]
        values = {"subject": self.subject, "cell": json_rows([cell])[0], "heads": json_rows(heads)}
        line = json.dumps({**values, "sha256": json_sha256(values)}) + "\n"
        try:
            with names_the_file(self.path):
                if not self.path.exists():
                    make_folder(self.path.parent)
                    new_file(self.path).close()
                    flush(self.path.parent)
                with open(self.path, "ab", buffering=0) as file:
                    write_whole(file, b"\n" + line.encode())  # what was cut off before ends here
                flush(self.path)
        except OSError as error:
            print(f"aila: {self.path} cannot be written ({error.strerror}); if the sweep is stopped, this cell is"
                  " measured again", file=sys.stderr)  # fmt: skip

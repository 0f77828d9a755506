"""Reading `metrics.jsonl`, the log that training appends to."""

import warnings
from pathlib import Path
from typing import Any

from aila_jax.config.checks import shown
from aila_jax.json_files import loads

NUMBERS = {
    "train": ("loss", "tokens_per_second", "learning_rate", "grad_norm", "lam_mean"),
    "eval": ("loss", "perplexity", "accuracy", "entropy_bits", "block_mass", "lam", "tau"),
}


def read_training_log(path: str | Path) -> list[dict[str, Any]]:
    """The records of a training log, in file order.

    Each line is a JSON object with `step` (an integer), `kind` (`train` or `eval`) and the numbers of its
    kind, `NUMBERS`; more keys are kept as they are. A number that was not finite is null in the file and None
    here. A last line cut short by a crash is left out with a warning.

    Args:
      path: the file, or the run's folder that holds `metrics.jsonl`.

    Raises:
      ValueError: the file is missing, or a line other than the last is not such a record; the message names
        the line.
    """
    path = Path(path)
    path = path / "metrics.jsonl" if path.is_dir() else path
    if not path.is_file():
        raise ValueError(
            f"no training log at {str(path)!r}; it must be a metrics.jsonl or a folder that holds one. Fix:"
            " correct the path."
        )
    records = []
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            record = loads(line)
        except ValueError as error:  # also UnicodeDecodeError: a cut may fall inside a character
            if number == len(lines) and not line.endswith(b"\n"):
                warnings.warn(
                    f"{path}: the last line is cut short (a crash while writing); it is left out",
                    stacklevel=2,
                )
                break
            raise ValueError(
                f"{path}, line {number} is not JSON ({error}); it must be one record. Fix: remove or repair"
                " that line."
            ) from None
        records.append(_checked(record, f"{path}, line {number}"))
    return records


def _checked(record: Any, place: str) -> dict[str, Any]:
    """The record; raises ValueError unless it has a step, a kind and the numbers of its kind."""
    if (
        not isinstance(record, dict)
        or type(record.get("step")) is not int
        or type(record.get("kind")) is not str
        or record["kind"] not in NUMBERS
    ):
        raise ValueError(
            f"{place} is {record!r:.200}; it must have an integer step and the kind {' or '.join(NUMBERS)}."
            " Fix: repair that line."
        )
    for name in NUMBERS[record["kind"]]:
        value = record.get(name, "missing")
        if type(value) not in (int, float, type(None)):
            raise ValueError(
                f"{place}: {name} is {shown(value)}; it must be a number or null. Fix: remove or repair that line."
            )
    return record

"""Sweep results as tidy files: CSV for spreadsheets and data frames, JSON for an exact round trip."""

import hashlib
import math
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from aila_jax.columns import row_values
from aila_jax.config import check_lam, check_tau, saved_config, to_dict
from aila_jax.config.checks import shown
from aila_jax.evaluation.origin import SweepMeta
from aila_jax.evaluation.rows import CellRow, HeadRow, SweepResult
from aila_jax.json_files import json_sha256, read_json
from aila_jax.reporting.tables import json_rows, json_text, names_of, row_from, values_csv, write_files

FORMAT = "aila_jax sweep, version 1"
_KEYS = ("format", "config", "meta", "cells", "heads")
_SEAL = ("files", "sha256")  # checksums of the CSV files beside it, and of all the rest; none in older files

Row = TypeVar("Row", CellRow, HeadRow)


def write_sweep(result: SweepResult, directory: str | Path, stem: str = "sweep") -> list[Path]:
    """Writes `<stem>.csv` (a row per cell), `<stem>_heads.csv` (a row per cell, layer and head) and
    `<stem>.json` (everything).

    A value that is None is an empty CSV cell and a JSON null. Each file is replaced as a whole, the JSON file
    last; nothing is written when anything is refused.

    Args:
      result: the rows, their configuration, and `meta`, whose `more` is made of dicts, lists, tuples, text,
        numbers, booleans and None.
      directory: made if it does not exist.
      stem: start of the file names.

    Returns:
      The three paths, in the order above.

    Raises:
      ValueError: a NaN or infinite number, or a value of a type that JSON does not hold; the message names
        the place.
    """
    cells = json_rows(_plain(row, f"cells[{index}]") for index, row in enumerate(result.cells))
    heads = json_rows(_plain(row, f"heads[{index}]") for index, row in enumerate(result.heads))
    config, meta = to_dict(result.config) if result.recorded else {}, result.meta.to_json()
    _check_plain(config, "config")
    _check_plain(meta, "meta")
    tables = {
        f"{stem}.csv": values_csv(_names(CellRow, cells), cells),
        f"{stem}_heads.csv": values_csv(_names(HeadRow, heads), heads),
    }
    files = {name: _sha256(text.encode()) for name, text in tables.items()}
    document = {
        "format": FORMAT,
        "config": config,
        "meta": meta,
        "cells": cells,
        "heads": heads,
        "files": files,
    }
    text = json_text({**document, "sha256": json_sha256(document)})
    return write_files(directory, {**tables, f"{stem}.json": text})


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def has_checksums(directory: Path, stem: str = "sweep") -> bool:
    """Whether a sweep's file holds checksums; those of before hold none."""
    return "sha256" in _load(directory / f"{stem}.json")


def check_sweep(directory: Path, stem: str = "sweep") -> str:
    """Compares a sweep's files with their checksums.

    Returns:
      What is wrong; empty where nothing is.
    """
    try:
        document = _load(directory / f"{stem}.json")
        _check_seal(document, directory / f"{stem}.json")
    except (ValueError, OSError) as error:
        return str(error)
    for name, checksum in document.get("files", {}).items():
        if name not in (f"{stem}.csv", f"{stem}_heads.csv"):
            return f"it names the file {shown(name)}, which is none of a sweep"
        path = directory / name
        if not path.is_file() or path.is_symlink():
            return f"{name} is missing"
        if _sha256(path.read_bytes()) != checksum:
            return f"{name} does not match its checksum"
    return ""


def sweep_folder(path: str | Path) -> Path:
    """The folder of the sweep that `read_sweep` reads at that path."""
    path = Path(path)
    return path if path.is_dir() else path.parent


def read_sweep(path: str | Path) -> SweepResult:
    """Reads what `write_sweep` wrote; numbers come back bit for bit, tuples inside `meta.more` as lists. In a
    file that an older version wrote, what it did not know means what it meant then.

    Args:
      path: the JSON file, or the folder that holds `sweep.json`.

    Raises:
      ValueError: the file is missing, is not such a JSON file, or holds a row with a missing, unknown or
        malformed value, or a configuration that this version does not know.
    """
    path = Path(path)
    path = path / "sweep.json" if path.is_dir() else path
    document = _load(path)
    try:
        result = SweepResult(
            cells=tuple(
                _row(CellRow, values, f"cells[{index}]") for index, values in enumerate(document["cells"])
            ),
            heads=tuple(
                _row(HeadRow, values, f"heads[{index}]") for index, values in enumerate(document["heads"])
            ),
            config=saved_config(document["config"]),
            meta=SweepMeta.from_json(document["meta"]),
            recorded=bool(document["config"].get("model")),
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    _check_seal(document, path)  # last, since the others say more
    return result


def _load(path: Path) -> dict[str, Any]:
    """The JSON document, with the keys that a sweep has, of the right kinds."""
    if not path.is_file():
        raise ValueError(
            f"no sweep at {str(path)!r}; it must be a sweep's JSON file or a folder with sweep.json. Fix:"
            " sweep first, or correct the path."
        )
    try:
        document = read_json(path, constant=_refuse_constant)
    except ValueError as error:  # also JSONDecodeError and UnicodeDecodeError
        raise ValueError(
            f"{path} is not strict JSON ({error}); it must be a file written by write_sweep. Fix: give the"
            " .json file, or sweep again."
        ) from None
    keys = tuple(document) if isinstance(document, dict) else type(document).__name__
    if not isinstance(document, dict) or set(keys) - set(_SEAL) != set(_KEYS):
        raise ValueError(
            f"{path} holds {shown(keys)}; it must hold exactly the keys {', '.join(_KEYS)}. Fix: give a file"
            " written by write_sweep."
        )
    if document["format"] != FORMAT:
        raise ValueError(
            f"{path} has format {shown(document['format'])}; it must be {FORMAT!r}. Fix: sweep again with this"
            " version."
        )
    kinds = {"config": dict, "meta": dict, "cells": list, "heads": list, "files": dict}
    for key, kind in kinds.items():
        if key in document and type(document[key]) is not kind:
            raise ValueError(
                f"{path}: {key} is a {type(document[key]).__name__}; it must be a {kind.__name__}. Fix: sweep"
                " again."
            )
    return document


def _check_seal(document: dict[str, Any], path: Path) -> None:
    """Raises ValueError where something was changed; a file of before there were checksums passes."""
    rest = {key: value for key, value in document.items() if key != "sha256"}
    if "sha256" in document and document["sha256"] != json_sha256(rest):
        raise ValueError(
            f"{path} does not match its checksum: something in it was changed. Fix: restore a copy, or sweep again."
        )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it contains {name}")


def _names(cls: type, rows: list[dict[str, Any]]) -> list[str]:
    """The columns of a file: those that its rows have."""
    return list(rows[0]) if rows else names_of(cls)


def _plain(row: Row, place: str) -> Row:
    """The row with plain Python values, each checked. NumPy scalars become the numbers they are."""
    values = {
        name: value.item() if hasattr(value, "item") else value for name, value in row_values(row).items()
    }
    return _row(type(row), values, place)


def _row(cls: type[Row], values: Any, place: str) -> Row:
    """A row from its JSON object, its dial inside the limits too."""
    row = row_from(cls, values, place)
    check_lam(row.lam, f"{place}.lam")
    check_tau(row.tau, f"{place}.tau")
    return row


def _check_plain(value: Any, place: str) -> None:
    """Raises ValueError at the first thing that strict JSON would refuse or would bring back as something
    else.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                raise ValueError(f"{place} has the key {key!r}; it must be text. Fix: use str({key!r}).")
            _check_plain(item, f"{place}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_plain(item, f"{place}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place} is {value!r}; it must be finite. Fix: leave it out, or give None.")
    elif value is not None and type(value) not in (str, bool, int, float):
        kind = type(value).__name__
        raise ValueError(
            f"{place} is {value!r}, a {kind}; it must be text, a number, a boolean, None, a list or a dict."
            " Fix: convert it first."
        )

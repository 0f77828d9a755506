"""Result files of experiments, read back, and the cells of the tables that are made from them."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

MISSING = "–"


Read = TypeVar("Read")


def portable(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration without the path of the data on this machine, which says nothing about a result; its
    fingerprint is beside it.
    """
    data = config["data"]
    return {**config, "data": {**data, "data_dir": "$WIKITEXT2" if data["data_dir"] else ""}}


def read_document(path: Path, experiment: str, form: str, parse: Callable[[dict[str, Any]], Read]) -> Read:
    """What `parse` makes of the JSON document of an experiment that has its own form of result files, named
    under "format".

    Raises:
      ValueError: it is no such file, or `parse` raised ValueError, KeyError or TypeError.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != form:
            raise ValueError(f"its format is {document['format']!r}")
        return parse(document)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no result of the {experiment} experiment ({error!r}). Fix: remove it, or run the"
            " experiment again"
        ) from error


def result_paths(directory: Path) -> dict[str, list[Path]]:
    """The result files NAME-seedS.json of a folder, as name → files.

    Raises:
      ValueError: there is none.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(directory.glob("*-seed*.json")):
        found.setdefault(path.stem.rsplit("-seed", 1)[0], []).append(path)
    if not found:
        raise ValueError(
            f"{str(directory)!r} holds no result file NAME-seedS.json. Fix: run the experiment first"
        )
    return found


def with_spread(values: np.ndarray, decimals: int) -> str:
    """The mean, and ± half the range where there are several values."""
    mean = f"{values.mean():.{decimals}f}"
    return mean if len(values) == 1 else f"{mean} ± {(values.max() - values.min()) / 2:.{decimals}f}"


def markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return (
        "\n".join("| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *lines)) + "\n"
    )

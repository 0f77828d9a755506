"""Result files of experiments: what they leave out, how they are found and read back."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from aila_jax.config import Config
from aila_jax.json_files import read_json

Read = TypeVar("Read")


def portable(config: Config) -> Config:
    """The configuration without where data is on this machine, which says nothing about a result; its
    fingerprint is beside it. Of files their names are left, of a tokenizer its file and folder.
    """
    data = config.data
    tokenizer = "/".join(Path(data.tokenizer).parts[-2:]) if "/" in data.tokenizer else data.tokenizer
    return replace(
        config,
        data=replace(
            data,
            data_dir="$WIKITEXT2" if data.data_dir else "",
            files=_names(data.files),
            valid_files=_names(data.valid_files),
            test_files=_names(data.test_files),
            tokenizer=tokenizer,
        ),
    )


def _names(paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(Path(path).name for path in paths)


def read_document(path: Path, experiment: str, form: str, parse: Callable[[Mapping[str, Any]], Read]) -> Read:
    """What `parse` makes of the JSON document of an experiment that has its own form of result files, named
    under "format".

    Raises:
      ValueError: it is no such file, or `parse` raised ValueError, KeyError or TypeError.
    """
    try:
        document = read_json(path)
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

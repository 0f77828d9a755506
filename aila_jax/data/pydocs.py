"""The embedded corpus: this Python's own documentation, real English text on every machine, with no
download.
"""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aila_jax.data.cache import key_of
from aila_jax.data.docstrings import content_key, harvest, source_files
from aila_jax.data.documents import SPLITS, Document
from aila_jax.data.prepared import DocumentBuilder, Splits, read_or_prepare

_HELD_OUT_PERCENT = 5  # of the documents, for validation and for test each


class Pydocs(DocumentBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Docstrings and language-reference topics as documents, their lines as pieces."""

    DESCRIPTION = (
        "Docstrings of CPython's standard library and its language reference, from the running installation"
        " (PSF license)."
    )
    HOMEPAGE = "https://docs.python.org"

    def __init__(self, *, files: dict[str, bytes], **settings: Any):
        """A builder that reads these source files (`docstrings.source_files`)."""
        self._files = files
        super().__init__(**settings)

    def read(self, download: Callable[[str], Path]) -> Splits:
        """The documents of the three splits; nothing is downloaded."""
        splits: dict[str, list[Document]] = {split: [] for split in SPLITS}
        for document in harvest(self._files):
            splits[split_of(document)].append(document)
        return {split: tuple(documents) for split, documents in splits.items()}


def read_pydocs(directory: Path) -> Splits:
    """The three splits, prepared under `directory` once for each content of the standard library.

    Raises:
      ValueError: this Python has no source files beside it.
    """
    files = source_files()
    key = key_of(*((name, hashlib.sha256(source).hexdigest()) for name, source in files.items()))
    where = directory / f"pydocs-python{sys.version_info.major}.{sys.version_info.minor}-{key}"
    return read_or_prepare(lambda path: Pydocs(files=files, data_dir=path, file_format="array_record"), where)


def split_of(document: Document) -> str:
    """90 % train, 5 % validation, 5 % test, by the content alone: the same text is in the same split under
    every Python.
    """
    percentile = int(content_key(document.pieces)[:8], 16) % 100
    if percentile < _HELD_OUT_PERCENT:
        return "test"
    return "validation" if percentile < 2 * _HELD_OUT_PERCENT else "train"

"""The embedded corpus: this Python's own documentation, real English text on every machine, with no
download.
"""

import ast
import hashlib
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from aila_jax.data.cache import key_of
from aila_jax.data.documents import SPLITS, Document
from aila_jax.data.prepared import DocumentBuilder, Splits, read_or_prepare

_HELD_OUT_PERCENT = 5  # of the documents, for validation and for test each
# Tests, applications and bundled packages are no reference text; the codecs in `encodings` repeat one
# sentence 120 times.
_SKIPPED = {
    "test",
    "tests",
    "idle_test",
    "idlelib",
    "turtledemo",
    "ensurepip",
    "encodings",
    "site-packages",
    "dist-packages",
    "__pycache__",
}
_TOPICS = "pydoc_data/topics.py"
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


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


def source_files(stdlib: Path | None = None) -> dict[str, bytes]:
    """The standard library's Python files, by their path relative to it, in sorted order.

    Raises:
      ValueError: this Python has no source files beside it (a zipped or stripped installation).
    """
    root = Path(sysconfig.get_path("stdlib")) if stdlib is None else stdlib
    files = {path.relative_to(root): path for path in root.rglob("*.py")}
    names = sorted(
        name
        for name in files
        if name.parts[0].removesuffix(".py") in sys.stdlib_module_names and not _SKIPPED & set(name.parts)
    )
    if not names:
        raise ValueError(
            f"the standard library at {root} has 0 source files; the corpus 'pydocs' reads them. Fix: use a"
            " Python installed with its .py files, or set --config.data.corpus=text"
            " --config.data.files=\"('my/*.txt',)\""
        )
    return {name.as_posix(): files[name].read_bytes() for name in names}


def harvest(files: dict[str, bytes]) -> list[Document]:
    """One document for each different docstring or topic, sorted by name; its lines are the pieces."""
    found: dict[str, Document] = {}
    for title, text in sorted(text for name, source in files.items() for text in _texts(name, source)):
        if text.strip():
            lines = tuple(text.strip("\n").split("\n"))
            # Of texts that differ in white space only, the first by name is kept: methods often repeat one
            # another.
            found.setdefault(content_key(lines), Document(title, lines))
    return list(found.values())


def content_key(pieces: tuple[str, ...]) -> str:
    """Sha256 of the words, so that texts that differ in white space only have the same key."""
    return hashlib.sha256(" ".join(" ".join(pieces).split()).encode()).hexdigest()


def _texts(name: str, source: bytes) -> Iterator[tuple[str, str]]:
    """(name, text) of every docstring in one file, or of every topic in the file of topics."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in old modules are not the reader's business
        tree = ast.parse(source, filename=name)
    if name == _TOPICS:
        yield from _topics(tree)
    else:
        yield from _docstrings(tree, name.removesuffix(".py").removesuffix("/__init__").replace("/", "."))


def _topics(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for table in (
        node.value for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
    ):
        for topic, text in ast.literal_eval(table).items():
            yield f"topic {topic}", text


def _docstrings(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, _Documented):
        text = ast.get_docstring(node)
        if text:
            yield name, text
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _docstrings(child, f"{name}.{child.name}")
        else:
            yield from _docstrings(child, name)

"""TensorFlow data sets by name: found on disk, or made by their builder, without TensorFlow and without a
network.
"""

import contextlib
import difflib
import functools
import importlib.abc
import importlib.machinery
import json
import re
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import tensorflow_datasets as tfds

from aila_jax.config import TFDS_NAME, user_path
from aila_jax.data.prepared import silence

_VERSION = re.compile(r"\d+\.\d+\.\d+")
_DOWNLOADS = ("download", "download_and_extract", "download_kaggle_data", "download_checksums")


def find_builder(name: str, data_dir: str, directory: Path, check: Callable[[Any], None]) -> Any:
    """The builder of a prepared data set: read from its files where they are, else made under `directory` by
    its registered class.

    Args:
      name: NAME, NAME/CONFIG, NAME:VERSION or NAME/CONFIG:VERSION.
      data_dir: the user's folder of prepared data sets, or empty.
      directory: where data sets are prepared.
      check: raises ValueError where the builder's features will not do; called before work.

    Raises:
      ValueError: an unknown name, configuration or version; files that are not array_record; a builder that
        needs TensorFlow, another
        missing package or a download.
    """
    root = user_path(data_dir or tfds.core.constants.DATA_DIR)
    for place in (root, directory):
        folder = prepared_folder(place, name)
        if folder is not None:
            return _from_files(name, folder, check)
    with _refusing(name, root):
        builder = _from_class(name, root, directory)
        check(builder)
        with without_tensorflow(), silence():
            builder.download_and_prepare(
                download_dir=directory / "downloads",
                download_config=tfds.download.DownloadConfig(try_download_gcs=False),
            )
    return builder


def prepared_folder(root: Path, name: str) -> Path | None:
    """The folder of the asked or else the newest version under `root`, or None.

    Raises:
      ValueError: several configurations are there and none is named.
    """
    match = TFDS_NAME.fullmatch(name)
    assert match is not None, "DataConfig checks it"
    base = root / match["name"]
    bases = (
        [base / match["config"]]
        if match["config"]
        else [base, *(path for path in sorted(base.glob("*")) if path.is_dir())]
    )
    found = {place: versions for place in bases if (versions := _versions(place, match["version"]))}
    if len(found) > 1:
        names = ", ".join(f"{match['name']}/{place.name}" for place in found)
        raise ValueError(
            f"data.tfds_name is {name!r}; {root} holds {names}. Fix: set --config.data.tfds_name to one of"
            " them"
        )
    return next((versions[-1] for versions in found.values()), None)


def _versions(base: Path, version: str | None) -> list[Path]:
    """The prepared versions in a folder, oldest first."""
    found = [
        path
        for path in base.glob(version or "*")
        if _VERSION.fullmatch(path.name) and (path / "dataset_info.json").is_file()
    ]
    return sorted(found, key=lambda path: [int(number) for number in path.name.split(".")])


def _from_files(name: str, folder: Path, check: Callable[[Any], None]) -> Any:
    try:
        info = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
        formats = {info.get("fileFormat", "tfrecord"), *info.get("alternativeFileFormats", ())}
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{folder} is no prepared data set ({error}). Fix: prepare it again") from error
    if "array_record" not in formats:
        raise ValueError(
            f"data.tfds_name is {name!r}; {folder} is prepared as {', '.join(sorted(formats))}, it must be"
            " array_record, which is read without TensorFlow. Fix: where TensorFlow is installed, run: tfds"
            f" build {name.split(':')[0]} --file_format=array_record --data_dir=FOLDER, and set"
            " --config.data.tfds_data_dir=FOLDER"
        )
    try:
        with without_tensorflow(), silence():
            builder = tfds.builder_from_directory(folder)
    except Exception as error:  # a feature that needs TensorFlow, or damaged files, which raise many types
        raise ValueError(
            f"data.tfds_name is {name!r}; {folder} cannot be read without TensorFlow ({_first_line(error)})."
            " Fix: prepare it again"
        ) from error
    check(builder)
    return builder


def _from_class(name: str, root: Path, directory: Path) -> Any:
    """The builder that the registered class makes, its files to be written as array_record under
    `directory`.
    """
    match = TFDS_NAME.fullmatch(name)
    assert match is not None, "DataConfig checks it"
    with without_tensorflow(), silence():
        try:
            cls = tfds.builder_cls(match["name"])
        except tfds.core.DatasetNotFoundError as error:
            near = difflib.get_close_matches(
                match["name"], tfds.list_builders(with_community_datasets=False), n=1
            )
            hint = f"did you mean {near[0]!r}? Or " if near else ""
            raise ValueError(
                f"data.tfds_name is {name!r}; it is not prepared in {root}, and without TensorFlow no data"
                f" set of this name is registered. Fix: {hint}set --config.data.tfds_data_dir to the folder"
                " that holds it, or import the module that defines its builder"
            ) from error
        chosen = {key: match[key] for key in ("config", "version") if match[key]}
        return _offline(cls)(**chosen, data_dir=directory, file_format="array_record")


def _offline(cls: Any) -> Any:
    """The same builder class with a download manager that downloads nothing."""

    @functools.wraps(cls._split_generators)  # the library looks at its parameters
    def split_generators(self: Any, manager: Any, **options: Any) -> Any:
        return cls._split_generators(self, _Offline(manager), **options)

    # Without downloads there are no checksums to look for, which for classes inside a package takes
    # `importlib_resources`, a package that the library does not install.
    body = {"__module__": cls.__module__, "url_infos": {}, "_split_generators": split_generators}
    return types.new_class(
        cls.__name__, (cls,), {"skip_registration": True}, lambda namespace: namespace.update(body)
    )


class _NeedsNetworkError(Exception):
    pass


class _Offline:
    """A download manager that reads what is there (extract, manual_dir) and downloads nothing."""

    def __init__(self, manager: Any):
        self._manager = manager

    def __getattr__(self, name: str) -> Any:
        if name in _DOWNLOADS:
            raise _NeedsNetworkError(f"it calls {name}()")
        return getattr(self._manager, name)


@contextlib.contextmanager
def _refusing(name: str, root: Path) -> Iterator[None]:
    """Turns whatever a builder raises into a ValueError that says why it cannot be made here, and how else to
    get its data.
    """
    try:
        yield
    except ValueError as error:
        if str(error).startswith("data.tfds_"):
            raise
        _refuse(name, root, _first_line(error), error)
    except ImportError as error:
        _refuse(
            name,
            root,
            f"its builder needs {error.name or error}, which is not imported here or not installed",
            error,
        )
    except _NeedsNetworkError as error:
        _refuse(name, root, f"its builder needs a network: {error}", error)
    except Exception as error:  # third-party code may raise anything
        _refuse(name, root, f"{type(error).__name__}: {_first_line(error)}", error)


def _refuse(name: str, root: Path, reason: str, error: Exception) -> NoReturn:
    raise ValueError(
        f"data.tfds_name is {name!r}; it is not prepared in {root} and cannot be prepared here ({reason})."
        f" Fix: where TensorFlow and a network are, run: tfds build {name.split(':')[0]}"
        " --file_format=array_record --data_dir=FOLDER, and set --config.data.tfds_data_dir=FOLDER"
    ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def without_tensorflow() -> Iterator[None]:
    """Makes `import tensorflow` fail while it lasts, also where it is installed; where it was imported
    before, it stays.
    """
    finder = _NoTensorFlow()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _NoTensorFlow(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds an installed tensorflow, so that asking whether it is there gives the truth, and refuses to load
    it.
    """

    def find_spec(
        self, fullname: str, path: Any, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "tensorflow" or importlib.machinery.PathFinder.find_spec(fullname, path) is None:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def exec_module(self, module: Any) -> NoReturn:
        raise ModuleNotFoundError("TensorFlow is never imported here", name="tensorflow")

"""What the TensorFlow Datasets builders share: documents written once as ArrayRecord files, then read and
verified.

No TensorFlow is needed: the `array_record` format is written and read without it.
"""

import contextlib
import errno
import io
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from aila_jax.data.documents import SPLITS, Document, fingerprint

# Failures of the machine or its settings, which say nothing of the files.
PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM, errno.EIO, errno.EINTR}

Splits = dict[str, tuple[Document, ...]]


class DocumentBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A builder whose examples are documents, in the order of their source.

    A subclass gives `VERSION`, `DESCRIPTION`, `HOMEPAGE` and `read`. Its examples are
    {"title": bytes, "pieces": [bytes, …]}, UTF-8.
    """

    VERSION = tfds.core.Version("1.0.0")  # raise it when `read` makes other documents of the same source
    DESCRIPTION = ""
    HOMEPAGE = ""
    # No registered checksums: the builders verify what they read. Left to itself, the library looks for a
    # checksum file beside this module by means of `importlib_resources`, a package that it does not install.
    # pyright: ignore[reportIncompatibleVariableOverride] - a class property there
    url_infos: ClassVar[dict[str, Any]] = {}
    documents: Splits | None = None  # what `read` gave, in the process that prepares

    def read(self, download: Callable[[str], Path]) -> Splits:
        """The documents from their source; `download` fetches an address into the download folder."""
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        features = {"title": tfds.features.Text(), "pieces": tfds.features.Sequence(tfds.features.Text())}
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            homepage=self.HOMEPAGE,
            features=tfds.features.FeaturesDict(features),
            # neighbouring documents stay neighbours, as in the published token streams
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(sha256={}),
        )

    @property
    def checksums(self) -> dict[str, str]:
        """Fingerprint of each split's documents, written beside the prepared files."""
        assert self.info.metadata is not None, "_info always makes it"
        return self.info.metadata["sha256"]

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterable[tuple[int, Any]]]:
        self.documents = self.read(lambda address: Path(dl_manager.download(address)))
        self.checksums.update({split: fingerprint(documents) for split, documents in self.documents.items()})
        return {split: self._generate_examples(documents) for split, documents in self.documents.items()}

    def _generate_examples(self, documents: Sequence[Document]) -> Iterator[tuple[int, Any]]:
        for number, document in enumerate(documents):
            yield number, {"title": document.title, "pieces": list(document.pieces)}


def read_or_prepare(make: Callable[[Path], DocumentBuilder], directory: Path) -> Splits:
    """The documents of a builder's data set, prepared under `directory` if they are not there yet.

    A damaged preparation gives a warning, is set aside, and deleted when it has been made again. Several
    processes may prepare at once: each writes beside the final place and moves its files there in one step.
    Where they cannot be written, on a full disk, say, that gives a warning too, and the documents are those
    just read.

    Args:
      make: makes the builder for a data directory.
      directory: a folder of this data set alone, named after the content of its source.

    Raises:
      ValueError: from the builder's `read`, or a directory that cannot be written.
    """
    damaged = directory.with_name(f"{directory.name}.damaged")
    try:
        # A builder's data_path is <directory>/<name>/<version>, and exists only when its files are complete.
        builder = make(directory)
        if builder.data_path.exists():
            return _read(builder)
    except Exception as error:  # a damaged record, index or JSON file raises many types
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in PASSING):
            raise
        warnings.warn(
            f"the prepared data set {directory} is damaged ({type(error).__name__}: {error}); it is prepared"
            " again",
            stacklevel=2,
        )
        shutil.rmtree(damaged, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):  # another process came first
            directory.rename(damaged)
        builder = make(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"data.cache_dir cannot hold {directory} ({error}); it must be writable. Fix: set"
            " --config.data.cache_dir=/a/folder"
        ) from error
    settings = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        with silence():
            builder.download_and_prepare(
                download_dir=directory.parent / "downloads", download_config=settings
            )
    except (OSError, RuntimeError) as error:  # RuntimeError: what the writer of records makes of a full disk
        if not builder.data_path.exists():
            if builder.documents is None:
                raise
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            warnings.warn(
                f"the prepared data set {directory} cannot be written ({reason}); the next run prepares it again."
                " Fix: make room, or set --config.data.cache_dir",
                stacklevel=2,
            )
            return builder.documents
        # Another process that prepared the same content came first: its files are as good as ours.
        builder = make(directory)
    splits = _read(builder)
    shutil.rmtree(damaged, ignore_errors=True)
    return splits


def _read(builder: DocumentBuilder) -> Splits:
    splits = {}
    for split in SPLITS:
        # pyright: ignore[reportCallIssue] - the library's decorator hides the signature
        source = builder.as_data_source(split)
        examples = source.__getitems__(range(len(source)))  # all at once, twice as fast as one by one
        documents = tuple(
            Document(example["title"].decode(), tuple(piece.decode() for piece in example["pieces"]))
            for example in examples
        )
        if fingerprint(documents) != builder.checksums[split]:
            raise ValueError(f"the checksum of split {split!r} does not match")
        splits[split] = documents
    return splits


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keeps the library's banners off standard output, and its progress bars away."""
    tfds.display_progress_bar(enable=False)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.display_progress_bar(enable=True)

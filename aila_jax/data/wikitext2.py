"""WikiText-2, word level (Merity et al., 2016): 720 Wikipedia articles, checked against the published
counts.
"""

import hashlib
import http.client
import re
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aila_jax.config import user_path
from aila_jax.data.cache import key_of
from aila_jax.data.documents import Document
from aila_jax.data.prepared import DocumentBuilder, Splits, read_or_prepare


@dataclass(frozen=True)
class SplitFile:
    """One file of the published archive: its name, its size in bytes, its words plus line ends."""

    name: str
    size: int
    tokens: int


FILES = {
    "train": SplitFile("wiki.train.tokens", 10_797_148, 2_088_628),
    "validation": SplitFile("wiki.valid.tokens", 1_121_681, 217_646),
    "test": SplitFile("wiki.test.tokens", 1_256_449, 245_569),
}
_BY_HAND = (
    "Fix: download wikitext-2-v1.zip (4.5 MB, word level) where there is a network, unpack it, and set "
    "--config.data.data_dir to the folder that holds " + ", ".join(file.name for file in FILES.values())
)
# An article begins at a level-1 heading that opens the file or follows a blank line.
_HEADING = re.compile(r" = (?!=)(.*)(?<!=) = ")
_TIMEOUT = 20.0  # seconds


class Wikitext2(DocumentBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Articles as documents, their lines as pieces, heading and blank lines included."""

    DESCRIPTION = "WikiText-2, word level, with <unk>; text from Wikipedia under CC BY-SA 3.0."
    HOMEPAGE = "https://arxiv.org/abs/1609.07843"

    def __init__(self, *, source: Path | str, **settings: Any):
        """A builder that reads `source`: the folder of the three files, or the address of the zip archive."""
        self._source = source
        super().__init__(**settings)

    def read(self, download: Callable[[str], Path]) -> Splits:
        """The articles of the three files, verified. Raises ValueError as `read_wikitext2` does."""
        if isinstance(self._source, Path):
            return _articles({split: read_file(self._source, split) for split in FILES})
        archive = fetch(self._source, download)
        try:
            return _articles(unpack(archive, self._source))
        except ValueError:
            # Or the download manager would hand out the same bad file next time, or refuse a good one beside
            # its .INFO file.
            for path in archive.parent.glob(f"{archive.name}*"):
                path.unlink()
            raise


def read_wikitext2(data_dir: str, url: str, directory: Path) -> Splits:
    """The three splits from `data_dir`, or, where that is empty, from the archive at `url`, prepared under
    `directory`.

    Raises:
      ValueError: a file is missing, or has another size or token count than the published one; or there is no
        network.
        The message says how to get the files by hand.
    """
    source: Path | str = user_path(data_dir) if data_dir else url
    # Local files are hashed each time, so that changed files are never answered from an old preparation.
    content = (
        [hashlib.sha256(read_file(source, split)).hexdigest() for split in FILES]
        if isinstance(source, Path)
        else [source]
    )
    where = directory / f"wikitext2-{key_of(*content)}"
    return read_or_prepare(
        lambda path: Wikitext2(source=source, data_dir=path, file_format="array_record"), where
    )


def read_file(data_dir: Path, split: str) -> bytes:
    """The file of one split. Raises ValueError where it is missing or of another size, before reading it."""
    path = data_dir / FILES[split].name
    if not path.is_file():
        raise ValueError(
            f"data.data_dir is {str(data_dir)!r}; it must hold"
            f" {', '.join(file.name for file in FILES.values())}, but has no {path.name}. {_BY_HAND}"
        )
    _check_size(split, path.stat().st_size, str(path))
    return path.read_bytes()


def verified(split: str, data: bytes) -> str:
    """The text of one split's file. Raises ValueError unless its size and its words plus line ends are the
    published ones.
    """
    _check_size(split, len(data), FILES[split].name)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{FILES[split].name} is not UTF-8 at byte {error.start}; the published file is. {_BY_HAND}"
        ) from error
    tokens = len(text.split()) + text.count("\n")
    if tokens != FILES[split].tokens:
        raise ValueError(
            f"{FILES[split].name} has {tokens} words and line ends; the published file has"
            f" {FILES[split].tokens}. {_BY_HAND}"
        )
    return text


def split_articles(text: str) -> tuple[Document, ...]:
    """The articles of one file, their lines as pieces; lines before the first heading belong to the first
    article.
    """
    documents: list[tuple[str, list[str]]] = [("", [])]
    after_blank = True
    for line in text.removesuffix("\n").split("\n"):
        heading = _HEADING.fullmatch(line) if after_blank else None
        if heading and any(piece.strip() for piece in documents[-1][1]):
            documents.append((heading[1], []))
        elif heading:
            documents[-1] = (heading[1], documents[-1][1])
        documents[-1][1].append(line)
        after_blank = not line.strip()
    return tuple(Document(title, tuple(lines)) for title, lines in documents)


def _check_size(split: str, size: int, name: str) -> None:
    if size != FILES[split].size:
        raise ValueError(f"{name} has {size} bytes; the published file has {FILES[split].size}. {_BY_HAND}")


def fetch(url: str, download: Callable[[str], Path]) -> Path:
    """The downloaded archive. Raises ValueError, saying how to do it by hand, where it cannot be had."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"data.url is {url!r}; it must begin with http:// or https://. {_BY_HAND}")
    try:
        # The download manager tries ten times, with growing pauses and no time limit; without a network that
        # is minutes of silence. One request with a limit finds out first.
        urllib.request.urlopen(url, timeout=_TIMEOUT).close()
        return download(url)
    except (OSError, http.client.HTTPException) as error:
        raise ValueError(f"data.url {url} cannot be downloaded ({error}). {_BY_HAND}") from error


def unpack(archive: Path, url: str) -> dict[str, bytes]:
    """The three files of the archive, in whatever folder they lie there. Raises ValueError where one is
    missing.
    """
    try:
        with zipfile.ZipFile(archive) as files:
            members = {Path(name).name: name for name in files.namelist()}
            missing = [file.name for file in FILES.values() if file.name not in members]
            if missing:
                raise ValueError(f"the archive from {url} has no {', '.join(missing)}. {_BY_HAND}")
            return {split: files.read(members[file.name]) for split, file in FILES.items()}
    except (zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"what came from {url} is no zip archive ({error}). {_BY_HAND}") from error


def _articles(contents: dict[str, bytes]) -> Splits:
    return {split: split_articles(verified(split, data)) for split, data in contents.items()}

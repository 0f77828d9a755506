"""What made a result: versions, git commit, device."""

import configparser
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "aila_jax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "tensorflow-datasets",
    "tokenizers",
    "numpy",
)


@cache
def version() -> str:
    """The version of this package: the installed one's, in a checkout without installation that of its
    setup.cfg, `unknown` where there is neither.
    """
    try:
        return metadata.version("aila_jax")
    except metadata.PackageNotFoundError:
        settings = configparser.ConfigParser()
        settings.read(Path(__file__).resolve().parents[1] / "setup.cfg", encoding="utf-8")
        return settings.get("metadata", "version", fallback="unknown")


def versions() -> dict[str, str]:
    """Python's and the packages' versions; a package that is not installed is left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def git_commit() -> str:
    """Commit of the source tree that this package was imported from, with `-dirty` after changes; `unknown`
    outside git.
    """
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != here.parent:
            return "unknown"  # installed inside some other project's repository
        return git("rev-parse", "HEAD") + (
            "-dirty" if git("status", "--porcelain", "--untracked-files=no", ".") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"

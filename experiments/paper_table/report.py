"""The table: the paper's figures beside what was measured."""

from pathlib import Path


def collect(directory: Path) -> str:
    return ""

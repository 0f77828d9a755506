"""Processes of their own that see this project."""

import os
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment(more: Mapping[str, str] = {}) -> dict[str, str]:
    """This process's environment, with the project on its path, and more."""
    return {**os.environ, **more, "PYTHONPATH": str(ROOT)}

"""A stand-in for pandas, which is not in the test environment: what is asked of it is one constructor and
`attrs`.
"""

import sys
from types import SimpleNamespace
from typing import Any

import pytest


class Frame(dict[str, Any]):
    """As much of a data frame as is used: columns, and room for notes."""

    def __init__(self, columns: dict[str, Any]):
        super().__init__(columns)
        self.attrs: dict[str, Any] = {}


def install(patch: pytest.MonkeyPatch) -> None:
    """`import pandas` finds it."""
    patch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=Frame))

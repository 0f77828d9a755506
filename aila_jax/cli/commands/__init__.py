"""The commands, one module each: it parses, calls a function of `aila_jax.runs` and prints what that returns.

A module here named like its command, with a `COMMAND`, is a command of `aila`: nothing else lists it. `runs`
is imported inside the functions: it loads JAX, which a help text need not wait for.
"""

import importlib
import pkgutil
from typing import Any

from aila_jax.cli.command import Command

# In the order of their use; all others follow by name.
FIRST = (
    "demo",
    "train",
    "evaluate",
    "sweep",
    "attention",
    "anchors",
    "report",
    "generate",
    "score",
    "answer",
)


def _find() -> tuple[Command[Any], ...]:
    names = {module.name for module in pkgutil.iter_modules(__path__)}
    return tuple(
        importlib.import_module(f"{__name__}.{name}").COMMAND
        for name in (*FIRST, *sorted(names.difference(FIRST)))
    )


COMMANDS = _find()

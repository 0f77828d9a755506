"""The type checker of the tests: array shapes and dtypes in signatures, and nothing else.

Other annotations are left to mypy, so that tests can hand over wrong values and see how they are refused.
"""

import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

import flax.struct
from beartype import beartype
from jaxtyping import AbstractArray


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with its array annotations checked by beartype at every call."""
    hints = dict(function.__annotations__)
    function.__annotations__ = {name: hint if holds_array(hint) else Any for name, hint in hints.items()}
    return beartype(function)


def holds_array(hint: Any) -> bool:
    """Whether a jaxtyping array is in the annotation, by itself or in a union."""
    if inspect.isclass(hint) and issubclass(hint, AbstractArray):
        return True
    return typing.get_origin(hint) in (typing.Union, types.UnionType) and any(
        holds_array(part) for part in typing.get_args(hint)
    )


def _unchecked_pytrees() -> None:
    """Leaves the fields of flax.struct dataclasses unchecked: JAX rebuilds them with batched, reduced and
    missing leaves.
    """
    make = flax.struct.dataclass

    def dataclass(cls: Any = None, **options: Any) -> Any:
        if cls is None:
            return lambda decorated: dataclass(decorated, **options)
        made = make(cls, **options)
        made.__no_type_check__ = True
        return made

    flax.struct.dataclass = dataclass


_unchecked_pytrees()

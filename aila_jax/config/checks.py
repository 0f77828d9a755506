"""What the settings' dataclasses and the public callables check their values with.

Everything raises ValueError that names the value, its limit and the fix. Whole and real numbers may be
Python's, NumPy's or JAX's, arrays without axes too; text is neither a number nor a sequence, and a bool is
a number only as a λ or τ.
"""

import dataclasses
import difflib
import enum
import functools
import math
import os
import reprlib
import typing
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from operator import attrgetter
from pathlib import Path
from typing import Any

# Between them float32 scores divided by τ neither overflow nor vanish.
MIN_TAU, MAX_TAU = 1e-6, 1e6
MAX_BATCH_SIZE = 2**20  # sequences; a configuration that came from elsewhere may claim any number
MAX_SHOWN = 1000  # characters of a value in a message; more than a path has


def user_path(path: Any, name: str = "path") -> Path:
    """The path, with ~ and ~NAME as the home of a user.

    Raises:
      ValueError: neither text nor a pathlib.Path, empty, or of a user that there is not.
    """
    right = isinstance(path, str | os.PathLike) and isinstance(os.fspath(path), str)
    fix = f"{name}='runs/tiny', say"
    require(right, name, path, "text or a pathlib.Path", fix)
    require(bool(str(path)) and "\0" not in str(path), name, path, "a path, not empty", fix)
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = str(path).split("/")[0]
        raise ValueError(
            f"{name} is {str(path)!r}; {user} must be a user of this machine. Fix: write the path out, or"
            f" ./{user} for a folder"
        ) from None


def require(condition: bool, name: str, value: Any, limit: str, fix: str) -> None:
    """Raises ValueError naming the setting, its value, its limit and the fix, unless `condition` holds."""
    if not condition:
        raise ValueError(f"{name} is {shown(value)}; it must be {limit}. Fix: {fix}.")


def shown(value: Any) -> str:
    """A value as a message shows it: in one line, at most so long that the line is still read."""
    try:
        long = not isinstance(value, str | bytes) and len(value) > MAX_SHOWN
    except TypeError:  # it has no length
        long = False
    text = " ".join(line.strip() for line in (reprlib.repr if long else repr)(value).splitlines())
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


# A setting, or several of one group ("start, end"); whether it holds; the limit; the fix.
Rule = tuple[str, bool, str, str]


def check_rules(section: str, settings: Any, rules: Iterable[Rule]) -> None:
    """Raises ValueError for the first rule that does not hold, with the value that its setting has.

    Args:
      section: where the settings stand, with a dot at its end; empty for all of them.
      settings: the dataclass that holds them.
      rules: a table of them.
    """
    for setting, holds, limit, fix in rules:
        if not holds:
            first, *others = setting.split(", ")
            group = first[: first.rfind(".") + 1]
            names = (first, *(f"{group}{name}" for name in others))
            values = tuple(attrgetter(name)(settings) for name in names)
            require(False, f"{section}{setting}", values if others else values[0], limit, fix)


def positive(value: float) -> bool:
    """Whether it is finite and above 0."""
    return 0.0 < value < math.inf


def not_negative(value: float) -> bool:
    """Whether it is finite and at least 0."""
    return 0.0 <= value < math.inf


def in_unit(value: float) -> bool:
    """Whether it is in [0, 1]."""
    return 0.0 <= value <= 1.0


def whole(value: Any) -> bool:
    """Whether a value is a whole number by type: 2.5 and 2.0 are not, and True is not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def real(value: Any) -> bool:
    """Whether a value is a real number by type, NaN included: "2" is not, and True is not."""
    return isinstance(value, Real) and not isinstance(value, bool)


def plain(value: Any) -> Any:
    """A NumPy or JAX scalar, or an array without axes, as the Python number or bool that it holds; anything
    else as it is, and what is traced.
    """
    if getattr(value, "ndim", None) != 0:
        return value
    try:
        return value.item()
    except (AttributeError, TypeError):  # JAX's error about a traced value is a TypeError
        return value


def check_flag(name: str, value: Any) -> bool:
    """The value as True or False; a number or a text is neither."""
    value = plain(value)
    require(isinstance(value, bool), name, value, "True or False", f"{name}=True, say")
    return bool(value)


def check_text(name: str, value: Any, limit: str = "a text", fix: str = "") -> str:
    """The value, a str."""
    require(isinstance(value, str), name, value, limit, fix or f"{name}='…'")
    return str(value)


def check_whole(name: str, value: Any, least: int, fix: str = "") -> int:
    """The value as a whole number of at least `least`."""
    value = plain(value)
    limit = f"{'' if whole(value) else 'a whole number, '}at least {least}"
    require(whole(value) and value >= least, name, value, limit, fix or f"{name}={max(least, 1)}, say")
    return int(value)


def check_instance(name: str, value: Any, kinds: Any, limit: str, fix: str) -> None:
    """Raises ValueError unless the value is of one of the types."""
    require(isinstance(value, kinds), name, value, limit, fix)


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises ValueError unless `value` is one of `allowed`; suggests the nearest."""
    if not isinstance(value, str) or value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, n=1)
        fix = f"did you mean {near[0]!r}?" if near else f"use {allowed[0]!r}"
        raise ValueError(f"{name} is {shown(value)}; it must be one of {', '.join(allowed)}. Fix: {fix}")


def numbers(name: str, symbol: str, values: Any) -> list[float]:
    """The values of one dial as floats, each once; raises ValueError unless they are one number or more in a
    sequence.
    """
    try:
        found = [] if isinstance(values, str | bytes) else [plain(value) for value in values]
    except TypeError:
        found = []
    right = len(found) > 0 and all(isinstance(value, Real) for value in found)
    require(right, name, values, f"at least one {symbol}, in a sequence", f"{name}=(1,), say")
    return list(dict.fromkeys(float(value) for value in found))


def check_lam(lam: float, name: str = "lam") -> float:
    """Returns λ as a float; raises ValueError unless it is in [0, 1]."""
    lam = plain(lam)
    require(
        isinstance(lam, Real) and 0.0 <= lam <= 1.0,
        name,
        lam,
        "a number in [0, 1]",
        "choose λ between 0 (distributed) and 1 (localist)",
    )
    return float(lam)


def check_tau(tau: float, name: str = "tau") -> float:
    """Returns τ as a float; raises ValueError unless it is from `MIN_TAU` to `MAX_TAU`."""
    tau = plain(tau)
    require(
        isinstance(tau, Real) and MIN_TAU <= tau <= MAX_TAU,
        name,
        tau,
        f"a number from {MIN_TAU:g} to {MAX_TAU:g}",
        "choose τ = 1 for the trained temperature",
    )
    return float(tau)


def check_fields(settings: Any, where: str = "") -> None:
    """Puts every field of a frozen dataclass right by `as_kind`, or raises ValueError; for the beginning of
    its `__post_init__`. `where` goes before the names.
    """
    for name, kind in _kinds(settings.__class__).items():
        object.__setattr__(settings, name, as_kind(kind, getattr(settings, name), f"{where}{name}"))


@functools.cache
def _kinds(cls: type) -> dict[str, object]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def as_kind(kind: Any, value: Any, name: str) -> Any:
    """`value` as `kind`, where nothing is lost by it: an int for a float, a list for a tuple, a Path for a
    text, a word for the member of an enumeration, a NumPy number for Python's. Raises ValueError otherwise;
    limits are the caller's.
    """
    if typing.get_origin(kind) is tuple:
        item, value = typing.get_args(kind)[0], plain(value)
        if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
            value = (value,)
        return tuple(as_kind(item, one, name) for one in value)
    if isinstance(kind, type) and issubclass(kind, enum.StrEnum):
        one_of(name, value, tuple(kind))
        return kind(value)
    value = plain(value)
    if kind is str and isinstance(value, os.PathLike):
        value = os.fspath(value)
    if kind is float and whole(value):
        require(abs(value) < 2**1000, name, value, "a number that fits a float", "give a smaller one")
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(
            f"{name} is {shown(value)}, a {type(value).__name__}; it must be a {kind.__name__}. Fix: give a"
            f" {kind.__name__}."
        )
    return value

"""What the settings' dataclasses check their values with."""

import difflib
import math
from collections.abc import Iterable
from numbers import Integral, Real
from operator import attrgetter
from pathlib import Path
from typing import Any

# Between them float32 scores divided by τ neither overflow nor vanish.
MIN_TAU, MAX_TAU = 1e-6, 1e6
MAX_BATCH_SIZE = 2**20  # sequences; a configuration that came from elsewhere may claim any number
MAX_SHOWN = 1000  # characters; more than a path has


def user_path(path: Any) -> Path:
    """The path, with ~ and ~NAME as the home of a user.

    Raises:
      ValueError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = str(path).split("/")[0]
        raise ValueError(
            f"path is {str(path)!r}; {user} must be a user of this machine. Fix: write the path out, or"
            f" ./{user} for a folder"
        ) from None


def require(condition: bool, name: str, value: Any, limit: str, fix: str) -> None:
    """Raises ValueError naming the setting, its value, its limit and the fix, unless `condition` holds."""
    if not condition:
        raise ValueError(f"{name} is {shown(value)}; it must be {limit}. Fix: {fix}.")


def shown(value: Any) -> str:
    """A value as a message shows it: as Python writes it, cut where it is a stranger's page of text."""
    text = repr(value)
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


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises ValueError unless `value` is one of `allowed`; suggests the nearest."""
    if value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, n=1)
        fix = f"did you mean {near[0]!r}?" if near else f"use {allowed[0]!r}"
        raise ValueError(f"{name} is {shown(value)}; it must be one of {', '.join(allowed)}. Fix: {fix}")


def numbers(name: str, symbol: str, values: Any) -> list[float]:
    """The values of one dial as floats, each once; raises ValueError unless they are one number or more in a
    sequence.
    """
    try:
        found = [float(value) for value in values]
    except (TypeError, ValueError):
        found = []
    require(len(found) > 0, name, values, f"at least one {symbol}, in a sequence", f"{name}=(1,), say")
    return list(dict.fromkeys(found))


def _number(value: Any) -> Any:
    """A NumPy or JAX scalar as a Python number; anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def check_lam(lam: float, name: str = "lam") -> float:
    """Returns λ as a float; raises ValueError unless it is in [0, 1]."""
    lam = _number(lam)
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
    tau = _number(tau)
    require(
        isinstance(tau, Real) and MIN_TAU <= tau <= MAX_TAU,
        name,
        tau,
        f"a number from {MIN_TAU:g} to {MAX_TAU:g}",
        "choose τ = 1 for the trained temperature",
    )
    return float(tau)

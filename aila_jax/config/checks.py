"""What the settings' dataclasses check their values with."""

import difflib
from numbers import Integral, Real
from pathlib import Path
from typing import Any

# Between them float32 scores divided by τ neither overflow nor vanish.
MIN_TAU, MAX_TAU = 1e-6, 1e6


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
        raise ValueError(f"{name} is {value!r}; it must be {limit}. Fix: {fix}.")


def whole(value: Any) -> bool:
    """Whether a value is a whole number by type: 2.5 and 2.0 are not, and True is not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises ValueError unless `value` is one of `allowed`; suggests the nearest."""
    if value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, n=1)
        fix = f"did you mean {near[0]!r}?" if near else f"use {allowed[0]!r}"
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}. Fix: {fix}")


def numbers(name: str, symbol: str, values: Any) -> list[float]:
    """The values of one dial as floats; raises ValueError unless they are one number or more in a
    sequence.
    """
    try:
        found = [float(value) for value in values]
    except (TypeError, ValueError):
        found = []
    require(len(found) > 0, name, values, f"at least one {symbol}, in a sequence", f"{name}=(1,), say")
    return found


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

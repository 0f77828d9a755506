"""Settings as plain dictionaries and back."""

import dataclasses
import difflib
import typing
from typing import Any, TypeVar

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """The configuration as plain nested dicts, ready for JSON or a ConfigDict."""
    return dataclasses.asdict(config)


def from_dict(cls: type[T], values: dict[str, Any], path: str = "") -> T:
    """Builds the (nested) config dataclass `cls` from plain values; missing keys keep their defaults.

    Raises:
      ValueError: an unknown key (the nearest known one is named) or a value outside its limits or of another
        type.
    """
    if not hasattr(values, "items"):
        name = path.removesuffix(".") or cls.__name__
        raise ValueError(
            f"{name} is {values!r}, a {type(values).__name__}; it must be a group of settings. Fix: give a"
            " dictionary of them."
        )
    hints = typing.get_type_hints(cls)
    made = {}
    for key, value in values.items():
        if key not in hints:
            raise ValueError(unknown_key(f"{path}{key}", [f"{path}{name}" for name in hints]))
        made[key] = _coerce(hints[key], value, f"{path}{key}")
    return cls(**made)


def unknown_key(key: str, known: list[str]) -> str:
    """The message for a key that is in no config, with the nearest known one, or for one that is a group of
    settings.
    """
    inner = [name.removeprefix(f"{key}.") for name in known if name.startswith(f"{key}.")]
    if inner:
        return (
            f"config key {key!r} is a group of settings ({', '.join(inner)}); set one of them:"
            f" --config.{key}.{inner[0]}=VALUE"
        )
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"unknown config key {key!r}; " + (
        f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
    )


def _coerce(kind: Any, value: Any, name: str) -> Any:
    """`value` as `kind`, where nothing is lost by it (an int for a float, a list for a tuple)."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return from_dict(kind, value, f"{name}.")
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
            value = (value,)
        return tuple(_coerce(item, one, name) for one in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(
            f"{name} is {value!r}, a {type(value).__name__}; it must be a {kind.__name__}. Fix: give a"
            f" {kind.__name__}."
        )
    return value

"""Settings as plain dictionaries and back.

What a user writes goes through `from_dict` and gets the defaults of today. What was saved goes through
`saved_config`, where a setting that is newer than the file means the rule of the file's time.
"""

import copy
import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from aila_jax.config.checks import as_kind, shown
from aila_jax.config.choices import Choice
from aila_jax.config.nearest import nearest
from aila_jax.config.root import Config

T = TypeVar("T")

# Settings that have another name now: old → new, both dotted, in the same group. Read wherever settings are.
ALIASES: dict[str, str] = {"locality.teach": "locality.distill"}
# What a saved configuration without the setting means. A fault that changed numbers or splits was mended by a
# setting whose default is the new rule; a run of before goes on with, and is read by, the old one.
OLD_RULES: dict[str, Any] = {
    "data.file_kinds": "suffix",
    "data.hold_out": "lines",
    "data.repeated": "keep",
    "train.schedule": "offset",
    "sweep.part": "first",
}


def to_dict(config: Any) -> dict[str, Any]:
    """The configuration as plain nested dicts, ready for JSON or a ConfigDict."""
    return dataclasses.asdict(config, dict_factory=_plain)


def _plain(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value.value if isinstance(value, Choice) else value for name, value in fields}


def saved_config(values: Mapping[str, Any]) -> Config:
    """The configuration of a saved run, whatever version saved it.

    Raises:
      ValueError: as `from_dict`.
    """
    if not isinstance(values, Mapping):
        return from_dict(Config, values)  # says what is wrong with it
    filled = copy.deepcopy(dict(values))
    for key, rule in OLD_RULES.items():
        prefix, name = key[: key.rfind(".") + 1], key[key.rfind(".") + 1 :]
        place: Any = filled
        for part in prefix.split(".")[:-1]:
            place = place.setdefault(part, {}) if isinstance(place, dict) else None
        if isinstance(place, dict) and key not in {name_now(f"{prefix}{given}") for given in place}:
            place[name] = rule
    return from_dict(Config, filled)


def by_rules_of(saved: Mapping[str, Any], config: Config) -> tuple[Config, tuple[str, ...]]:
    """The configuration by the rules of a run that began before they were settings, and which these are.

    A command gives today's rule to settings that it does not name; the run that it goes on with has the old
    one. What differs from today's default was asked for, and stays.
    """
    values, today = to_dict(config), to_dict(Config())
    taken = []
    for key, rule in OLD_RULES.items():
        *groups, name = key.split(".")
        there: Any = saved
        asked, default = values, today
        for group in groups:
            there = there.get(group, {}) if isinstance(there, Mapping) else {}
            asked, default = asked[group], default[group]
        if name not in there and asked[name] == default[name] != rule:
            asked[name] = rule
            taken.append(key)
    return (from_dict(Config, values), tuple(taken)) if taken else (config, ())


def from_dict(cls: type[T], values: dict[str, Any], path: str = "") -> T:
    """Builds the (nested) config dataclass `cls` from plain values; missing keys keep their defaults.

    Raises:
      ValueError: an unknown key (the nearest known one is named) or a value outside its limits or of another
        type.
    """
    if not hasattr(values, "items"):
        name = path.removesuffix(".") or cls.__name__
        raise ValueError(
            f"{name} is {shown(values)}, a {type(values).__name__}; it must be a group of settings. Fix: give a"
            " dictionary of them."
        )
    hints = typing.get_type_hints(cls)
    made = {}
    for given, value in values.items():
        key = name_now(f"{path}{given}").removeprefix(path)
        if key not in hints:
            raise ValueError(unknown_key(f"{path}{key}", [f"{path}{name}" for name in hints]))
        if key in made:
            raise ValueError(
                f"{path}{key} is given twice, once by its former name. Fix: leave out the former one"
            )
        made[key] = _made(hints[key], value, f"{path}{key}")
    return cls(**made)


def name_now(key: str) -> str:
    """The dotted name that a setting has today."""
    return ALIASES.get(key, key)


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
    near = nearest(key, known, cutoff=0.5)
    return f"unknown config key {shown(key)}; " + (
        f"did you mean {near!r}?" if near else f"known keys: {', '.join(sorted(known))}"
    )


def _made(kind: Any, value: Any, name: str) -> Any:
    """`value` as `kind`: a group of settings from a dictionary, anything else by `as_kind`."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return from_dict(kind, value, f"{name}.")
    if typing.get_origin(kind) is tuple and dataclasses.is_dataclass(typing.get_args(kind)[0]):
        return tuple(_made(typing.get_args(kind)[0], one, name) for one in value)
    if kind is int and isinstance(value, float) and value.is_integer():  # JSON of another program
        value = int(value)
    return as_kind(kind, value, name)

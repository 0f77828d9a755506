"""`--config=SOURCE --config.KEY=VALUE …`: from the command line to one frozen, validated `Config`.

The flag holds a ConfigDict, because an override cannot be written into a frozen dataclass. Every key and
every value is checked in `build_config`, once, after all overrides.
"""

import difflib
import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from aila_jax import presets
from aila_jax.config import Config, from_dict, name_now, require, to_dict, unknown_key

OVERRIDE = re.compile(r"--?(?:no)?config\.([^=]+)")
SOURCE_HELP = (
    f"Where the settings start from: a preset ({', '.join(presets.PRESETS)}) or a Python file with"
    " get_config(). Such a file is a program and is run: read a stranger's first (docs/safety.md)."
)


def define_config(
    arguments: list[str],
    values: flags.FlagValues,
    needed: bool = True,
    base: Callable[[list[str]], Config | None] = lambda arguments: None,
) -> list[str]:
    """Defines `--config.KEY` for every key that `arguments` override; returns the arguments without
    `--config=SOURCE`.

    Where no configuration is given it is what `base` makes of the arguments. Where that is None and none is
    `needed`, `--config` is None.

    Raises:
      ValueError: no such preset or file, a file without get_config(), or an override of a key that does not
        exist.
    """
    first = flags.FlagValues()
    flags.DEFINE_string("config", None, SOURCE_HELP, flag_values=first)
    first.set_gnu_getopt(True)  # go on after the value of `--config.KEY VALUE`
    rest = first(["aila", *arguments], known_only=True)
    if first.config is None and not needed and not any(OVERRIDE.match(argument) for argument in rest):
        flags.DEFINE_string("config", None, SOURCE_HELP, flag_values=values)
        return rest[1:]
    without = base(rest[1:]) if first.config is None else None
    if first.config is None and without is None:
        raise ValueError(
            f"--config is missing. Fix: add --config={next(iter(presets.PRESETS))}, or the path of a Python"
            " file with get_config()"
        )
    known = list(leaf_keys(to_dict(Config())))
    rest = [_as_named_now(argument) for argument in rest]
    for argument in rest:
        override = OVERRIDE.match(argument)
        if override and override[1] not in known:
            raise ValueError(unknown_key(override[1], known))
    settings = ConfigDict(load_source(first.config) if without is None else to_dict(without))
    config_flags.DEFINE_config_dict("config", settings, SOURCE_HELP, flag_values=values, sys_argv=rest)
    return rest[1:]


def refuse_source(command: str, arguments: list[str]) -> None:
    """ValueError where a command whose options make the configuration is given another one."""
    given = [one for one in arguments if re.fullmatch(r"--?config(=.*)?", one)]
    limit = f"left out: the options of {command} make the settings"
    require(
        not given, "--config", given[0] if given else "", limit, "change single ones with --config.KEY=VALUE"
    )


def preset_of(arguments: list[str]) -> presets.FromPreset | None:
    """The preset that `--config` names, and what is asked for beside it; None for a file, and where none is
    named.
    """
    first = flags.FlagValues()
    flags.DEFINE_string("config", None, SOURCE_HELP, flag_values=first)
    first.set_gnu_getopt(True)
    rest = first(["aila", *arguments], known_only=True)
    return (
        presets.FromPreset(first.config, tuple(overrides(rest))) if first.config in presets.PRESETS else None
    )


def overrides(arguments: list[str]) -> list[str]:
    """The keys that arguments override."""
    found = [OVERRIDE.match(argument) for argument in arguments]
    return [name_now(one[1]) for one in found if one]


def override_of(arguments: list[str], key: str) -> str | None:
    """What arguments set a key to; None where they leave it."""
    values = flags.FlagValues()
    flags.DEFINE_string(f"config.{key}", None, "", flag_values=values)
    values.set_gnu_getopt(True)
    values(["aila", *arguments], known_only=True)
    found: str | None = values[f"config.{key}"].value
    return found


def _as_named_now(argument: str) -> str:
    """An override by the name that its key has today; any other argument as it is."""
    override = OVERRIDE.match(argument)
    return argument.replace(override[1], name_now(override[1]), 1) if override else argument


def build_config(settings: ConfigDict) -> Config:
    """The frozen configuration; ValueError for whatever is outside its limits."""
    return from_dict(Config, settings.to_dict())


def load_source(source: str) -> dict[str, Any]:
    """The settings of a preset, or of a file whose get_config() returns a Config or any part of one as
    (nested) dicts.
    """
    if source in presets.PRESETS:
        return presets.as_dict(source)
    path = Path(source)
    if path.suffix != ".py" or not path.is_file():
        near = difflib.get_close_matches(source, presets.PRESETS, n=1)
        fix = f"did you mean {near[0]!r}?" if near else "give a preset's name, or the path of such a file"
        raise ValueError(
            f"--config is {source!r}; it must be {', '.join(presets.PRESETS)} or an existing .py file with"
            f" get_config(). Fix: {fix}"
        )
    config = _call_get_config(path)
    if isinstance(config, ConfigDict):
        config = config.to_dict()
    if not isinstance(config, Mapping | Config):
        raise ValueError(
            f"get_config() of {source} returns a {type(config).__name__}; it must return a Config, a"
            " ConfigDict or a dict"
        )
    return to_dict(config if isinstance(config, Config) else from_dict(Config, dict(config)))


def _call_get_config(path: Path) -> Any:
    """Runs the file as a module of its own and calls its get_config()."""
    spec = importlib.util.spec_from_file_location("aila_config_file", path)
    assert spec is not None and spec.loader is not None  # the suffix is .py
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ValueError(f"{path}, line {error.lineno}: {error.msg}") from error
    if not hasattr(module, "get_config"):
        raise ValueError(
            f"{path} has no get_config(); it must define one that returns a Config, a ConfigDict or a dict"
        )
    return module.get_config()


def leaf_keys(settings: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The dotted names of all settings: `model.margin.form`, …"""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from leaf_keys(value, f"{path}{name}.")
        else:
            yield f"{path}{name}"

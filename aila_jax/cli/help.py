"""Help that teaches: what a command does, examples, its flags, and every configuration key with its default
and limits.
"""

import dataclasses
import inspect
import itertools
import re
import shutil
import textwrap
from collections.abc import Iterator
from typing import Any

from absl import flags

from aila_jax import presets
from aila_jax.cli.command import Command
from aila_jax.cli.commands import COMMANDS
from aila_jax.cli.config_flag import SOURCE_HELP
from aila_jax.config import Config

PLACEHOLDERS = {
    "string": "TEXT",
    "multi string": "TEXT",
    "float": "NUMBER",
    "int": "INTEGER",
    "numbers": "N,N,…",
}
COMMON = (("--help", "This text."), ("--debug", "Show the traceback of an error."))


def program_help(program: str = "aila") -> str:
    """The text of `aila --help`."""
    width = max(len(command.name) for command in COMMANDS)
    lines = [
        "aila: transformer language models with a locality dial, λ from 0 (distributed) to 1 (localist).",
        "",
        f"usage: {program} COMMAND --flag=value …",
        "",
        "commands:",
        *(f"  {command.name:<{width}} {command.summary}" for command in COMMANDS),
        "",
        "from nothing to a report:",
        f"  {program} demo",
        "",
        "step by step:",
        *(f"  {program} {command.examples[0]}" for command in COMMANDS if command.name != "demo"),
        "",
        f"`{program} COMMAND --help` explains a command; `{program} train --help` lists every configuration key.",
        "",
        "exit codes:",
        "  0    done",
        "  1    it failed, as the last line explains",
        "  2    a mistake in the call",
        "  129  ended by SIGHUP (with nohup it goes on)",
        "  130  ended by Ctrl-C, SIGINT",
        "  141  nobody reads the output any more",
        "  143  ended by SIGTERM",
        "Training that a signal ends saves first; the same command continues it. A second signal ends it at",
        "once, or, while a checkpoint is being written, when that is whole.",
    ]
    return "\n".join(lines)


def command_help(command: Command[Any], program: str = "aila") -> str:
    """The text of `aila COMMAND --help`."""
    prefix = program if program.endswith(f".{command.name}") else f"{program} {command.name}"
    blocks = [
        f"{prefix}: {command.summary}\n\n{_wrap(command.about, 0)}",
        "examples:\n"
        + "\n".join(f"  {prefix}{example.removeprefix(command.name)}" for example in command.examples),
        "flags:\n" + "\n".join(_entry(title, text) for title, text in flag_entries(command)),
    ]
    if command.takes_config:
        blocks.append(config_help())
    return "\n\n".join(blocks)


def flag_entries(command: Command[Any]) -> Iterator[tuple[str, str]]:
    """(`--name=KIND`, help text with the default) of each flag, in the order of definition."""
    values = flags.FlagValues()
    command.define(values)
    if command.takes_config:
        yield "--config=TEXT", f"{SOURCE_HELP} Needed." if command.needs_config else SOURCE_HELP
    for name in values:
        flag = values[name]
        text = str(flag.help).split("\n")[0].removesuffix(";")  # absl adds to flags that may be repeated
        if name in command.needed:
            text += " Needed."
        elif not flag.boolean and flag.default not in (None, ""):
            text += f" Default: {flag.default}."
        yield f"--[no]{name}" if flag.boolean else f"--{name}={PLACEHOLDERS[flag.flag_type()]}", text
    yield from COMMON


def config_help() -> str:
    """Every `--config.KEY` with its default and what its dataclass says about it."""
    lines = [
        "configuration keys, with the defaults of Config(); a preset changes some of them:",
        *(_entry(f"preset {name}", text) for name, text in preset_entries()),
    ]
    for title, entries in config_entries(Config()):
        lines += ["", _wrap(title, 0), *(_entry(key, text) for key, text in entries)]
    return "\n".join(lines)


def preset_entries() -> Iterator[tuple[str, str]]:
    """Name and description of each preset."""
    for name, make in presets.PRESETS.items():
        yield name, first_paragraph(make)


def first_paragraph(explained: Any) -> str:
    """What a docstring begins with, up to its first empty line."""
    return " ".join((inspect.getdoc(explained) or "").split("\n\n")[0].split())


def config_entries(config: Any, path: str = "config.") -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """For each config dataclass its title and (`--config.KEY=DEFAULT …`, doc) entries; keys documented
    together stay together.
    """
    docs = attribute_docs(type(config))
    own: dict[str, list[str]] = {}
    nested = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            nested.append((value, f"{path}{field.name}."))
        else:
            own.setdefault(docs.get(field.name, ""), []).append(f"--{path}{field.name}={_shown(value)}")
    title = first_paragraph(type(config))
    if own:
        yield title, [("  ".join(keys), doc) for doc, keys in own.items()]
    for value, inner in nested:
        yield from config_entries(value, inner)


def attribute_docs(cls: type) -> dict[str, str]:
    """What the dataclass's docstring says about each field.

    That is its own part of the `Attributes:` section, else the part (or, without such a section, the text)
    that mentions it.
    """
    names = [field.name for field in dataclasses.fields(cls)]
    before, _, section = " ".join((inspect.getdoc(cls) or "").split()).partition("Attributes: ")
    name = "|".join(names)
    starts = list(re.finditer(rf"(?:^|(?<=[.;] ))({name}): ", section))
    docs: dict[str, str] = {}
    for start, end in itertools.pairwise([*starts, None]):
        assert start is not None  # None is the last one, the end of the section
        docs[start[1]] = section[start.end() : end.start() if end else len(section)].strip()
    parts = (*docs.values(), before)
    mentioned = {
        name: next((part for part in parts if re.search(rf"\b{name}\b", part)), "") for name in names
    }
    return mentioned | docs


def _quoted(item: Any) -> str:
    """Inside the shell's own quotation marks."""
    return f'"{item}"' if isinstance(item, str) else repr(item)


def _shown(value: Any) -> str:
    """A default as it would be typed."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        items = (_number(item) if isinstance(item, float) else _quoted(item) for item in value)
        return f"'({','.join(items)})'"
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    """As short as it can be and still be read back as it is."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _entry(title: str, text: str) -> str:
    return f"{_wrap(title, 2)}\n{_wrap(text, 6)}"


def _wrap(text: str, indent: int) -> str:
    width = min(max(shutil.get_terminal_size().columns, 60), 110)
    return textwrap.fill(
        text,
        width,
        initial_indent=" " * indent,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )

"""Flags made from an options class, and read back into it."""

import collections.abc
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar

from absl import flags

from aila_jax.config.options import Options

T = TypeVar("T", bound=Options)


class NumberParser(flags.ArgumentParser):
    """A number; a text that is none stays, to be refused by the option's own check, with its limit."""

    def __init__(self, inner: flags.IntegerParser | flags.FloatParser):
        """`inner`: reads the number."""
        self.inner = inner

    def parse(self, argument: Any) -> Any:
        try:
            return self.inner.convert(argument)
        except (TypeError, ValueError):
            return argument

    def flag_type(self) -> str:
        return self.inner.flag_type()


class NumbersParser(flags.ArgumentParser):
    """`0,0.5,1` or `(0, 0.5, 1)` as a tuple of numbers."""

    syntactic_help = "numbers with commas between them"

    def __init__(self, whole: bool = False):
        """`whole`: 2 is an int. A number that is not whole stays, to be refused with what it counts."""
        self.whole = whole

    def parse(self, argument: Any) -> Any:
        if not isinstance(argument, str):  # a default: one number, or several
            return argument
        try:
            numbers = tuple(float(part) for part in argument.strip().strip("()[]").split(",") if part.strip())
        except ValueError:
            numbers = ()
        if not numbers:
            raise ValueError(f"not {self.syntactic_help}")
        return tuple(int(one) if self.whole and one.is_integer() else one for one in numbers)

    def flag_type(self) -> str:
        return "numbers"


class TextParser(flags.ArgumentParser):
    """A text in which \\n, \\t and \\\\ stand for a line end, a tab and a backslash."""

    def parse(self, argument: Any) -> Any:
        meant = {"n": "\n", "t": "\t", "\\": "\\"}
        return re.sub(r"\\([nt\\])", lambda found: meant[found[1]], argument)

    def flag_type(self) -> str:
        return "string"


def define_options(options: type[Options], values: flags.FlagValues, only: tuple[str, ...] = ()) -> None:
    """A flag for each option, or those of `only`; for one that is needed the default None."""
    hints = typing.get_type_hints(options)
    for each in option_fields(options):
        if each.name in only or not only:
            _define(each, hints[each.name], values)


def option_fields(options: type[Options]) -> Iterator[Field[Any]]:
    """The fields of an options class: its own first, then those that it shares with others."""
    known = {each.name: each for each in fields(options)}
    for stage in options.__mro__:
        yield from (known[name] for name in vars(stage).get("__annotations__", {}) if name in known)


def _define(each: Field[Any], hint: Any, values: flags.FlagValues) -> None:
    """The flag of one option, of the kind that its type says; of `int | None` it is int."""
    name, help_text = each.name, each.metadata["help"]
    default = None if each.default is MISSING else each.default
    kind = typing.get_args(hint)[0] if isinstance(hint, types.UnionType) else hint
    if kind == collections.abc.Sequence[str]:
        flags.DEFINE_multi(
            TextParser(), flags.ArgumentSerializer(), name, default, help_text, flag_values=values
        )
    elif typing.get_origin(kind) is collections.abc.Sequence:
        several = NumbersParser(whole=typing.get_args(kind) == (int,))
        flags.DEFINE(several, name, default, help_text, values, flags.ArgumentSerializer())
    elif kind is bool:
        flags.DEFINE_boolean(name, default, help_text, flag_values=values)
    elif kind in (int, float):
        number = flags.IntegerParser() if kind is int else flags.FloatParser()
        parser = NumberParser(number) if each.metadata["check"] else number
        flags.DEFINE(parser, name, default, help_text, values, flags.ArgumentSerializer())
    else:
        flags.DEFINE_string(name, default, help_text, flag_values=values)


# For each kind of flag, what a value must be, and one that is.
KINDS = {
    "int": ("a whole number", "1"),
    "float": ("a number", "0.5"),
    "bool": ("true or false", "true"),
    "numbers": (NumbersParser.syntactic_help, "0,0.5,1"),
}


def wrong_type(error: flags.IllegalFlagValueError, values: flags.FlagValues) -> str:
    """What is wrong with a value that its flag cannot read: the value, what it must be, and the fix."""
    found = re.match(r"flag --([^=]+)=(.*)", str(error), re.DOTALL)
    if found is None or found[1] not in values:
        return str(error)
    name, value = found[1], found[2].removesuffix(f": {error.__context__}")
    parser, default = values[name].parser, values[name].default
    if parser.flag_type() not in KINDS:
        return str(error)
    limit, example = KINDS[parser.flag_type()]
    if isinstance(parser, NumbersParser) and parser.whole:
        example = "0,1,2"
    elif default is not None and not isinstance(default, tuple):
        example = str(default).lower()
    return f"--{name} is {value!r}; it must be {limit}. Fix: --{name}={example}, say"


def needed_options(options: type[Options]) -> tuple[str, ...]:
    """The options without a default."""
    return tuple(each.name for each in option_fields(options) if each.default is MISSING)


def read_options(options: type[T], values: flags.FlagValues, only: tuple[str, ...] = ()) -> T:
    """The options as the flags say, those of `only` where these alone have a flag.

    Raises:
      ValueError: one is outside its limits; the message names its flag.
    """
    names = [each.name for each in fields(options) if each.name in only or not only]
    try:
        return options(**{name: values[name].value for name in names})
    except ValueError as error:
        if re.match(rf"({'|'.join(names)}) is ", str(error)):
            raise ValueError(f"--{error}") from error
        raise

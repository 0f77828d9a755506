"""What a command is, and the few kinds of flags that commands share."""

from collections.abc import Callable
from dataclasses import dataclass

from absl import flags


class CommandError(Exception):
    """A command failed for a reason that the message explains; shown without a traceback, exit code 1."""


@dataclass(frozen=True)
class Command:
    """One subcommand of `aila`.

    Attributes:
      name: as typed.
      summary: one line for the list of commands.
      about: what it does, reads and writes.
      examples: command lines after the program's name.
      define: adds its flags.
      needed: flags without a default.
      run: does the work with the parsed flags.
      takes_config: it has `--config` and `--config.KEY`, which may be left out unless needed.
    """

    name: str
    summary: str
    about: str
    examples: tuple[str, ...]
    define: Callable[[flags.FlagValues], None]
    needed: tuple[str, ...]
    run: Callable[[flags.FlagValues], None]
    takes_config: bool = False


class NumbersParser(flags.ArgumentParser):
    """`0,0.5,1` or `(0, 0.5, 1)` as a tuple of floats."""

    syntactic_help = "numbers with commas between them"

    def parse(self, argument: str | tuple[float, ...]) -> tuple[float, ...]:
        if isinstance(argument, tuple):
            return argument
        try:
            numbers = tuple(float(part) for part in argument.strip().strip("()[]").split(",") if part.strip())
        except ValueError:
            numbers = ()
        if not numbers:
            raise ValueError(
                f"{argument!r} is not a list of numbers; write them with commas between, as in 0,0.5,1"
            )
        return numbers

    def flag_type(self) -> str:
        return "numbers"


def define_numbers(
    name: str, help_text: str, values: flags.FlagValues, default: tuple[float, ...] | None = None
) -> None:
    """A flag that holds a tuple of floats, or `default` where it is not given."""
    flags.DEFINE(NumbersParser(), name, default, help_text, values, flags.ArgumentSerializer())


def define_text(name: str, default: str | None, help_text: str, values: flags.FlagValues) -> None:
    flags.DEFINE_string(name, default, help_text, flag_values=values)


def define_data_dir(values: flags.FlagValues) -> None:
    define_text(
        "data_dir",
        "",
        "WikiText-2 only: the folder with wiki.{train,valid,test}.tokens. Empty: as in the config.",
        values,
    )


def define_scoring(values: flags.FlagValues) -> None:
    """Flags of every command that scores whole splits; those without a default follow the run's own
    configuration.
    """
    define_reading(values)
    flags.DEFINE_integer(
        "max_batches",
        None,
        "Score only so many batches; 0 is all. Default: the run's sweep.max_batches.",
        flag_values=values,
    )


def define_reading(values: flags.FlagValues) -> None:
    """Flags of every command that reads a split; those without a default follow the run's own
    configuration.
    """
    define_text("split", None, "train, validation or test. Default: the run's sweep.split.", values)
    flags.DEFINE_boolean(
        "hard",
        None,
        "Hard block attention: nothing outside the block; needs λ = 1. Default: as trained.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "window",
        None,
        "Read the model with windows of so many tokens, up to its length. Default: as trained.",
        flag_values=values,
    )
    define_data_dir(values)
    flags.DEFINE_integer(
        "batch_size",
        None,
        "Sequences a batch, at least 1. Default: the run's sweep.batch_size.",
        flag_values=values,
    )


def define_dial(values: flags.FlagValues, lam: float = 0.0) -> None:
    """λ, `lam` by default, and τ of one setting of the dial."""
    flags.DEFINE_float("lam", lam, "λ in [0, 1]: 0 is distributed, 1 localist.", flag_values=values)
    define_tau(values)


def define_tau(values: flags.FlagValues) -> None:
    flags.DEFINE_float("tau", 1.0, "τ, 1e-6 to 1e6: the attention's temperature.", flag_values=values)


def define_checkpoint(values: flags.FlagValues) -> None:
    define_text("checkpoint", None, "A run directory, or one checkpoint inside it.", values)

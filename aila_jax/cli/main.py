"""`aila COMMAND --flag=value …`: the one console script."""

import contextlib
import difflib
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from aila_jax.cli.command import Call, Command, CommandError
from aila_jax.cli.commands import COMMANDS
from aila_jax.cli.config_flag import build_config, define_config
from aila_jax.cli.help import command_help, program_help, version
from aila_jax.cli.options import read_options
from aila_jax.config.options import OpenOptions
from aila_jax.training.stopping import TrainingStopped

HELP = ("--help", "-h", "-help", "--helpfull", "help")
USER_ERRORS = (
    ValueError,
    FileNotFoundError,
    FileExistsError,
    NotADirectoryError,
    IsADirectoryError,
    PermissionError,
    flags.Error,
)


def main(argv: Sequence[str] | None = None, program: str = "aila") -> int:
    """Runs one command line and returns its exit code: 0, 1 (it failed, as explained), 2 (a mistake in the
    call), 130 (Ctrl-C), 141 (nobody reads its output any more) or 143 (SIGTERM).

    Args:
      argv: the arguments after the program's name; those of this process by default.
      program: how the user called it, for the examples of the help text.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="replace"
            )  # a terminal without λ shows "?" instead of stopping the command
    return explained(
        lambda: _dispatch([argument for argument in arguments if argument != "--debug"], program),
        "--debug" in arguments,
    )


def explained(run: Callable[[], int], debug: bool = False) -> int:
    """What `run` returns, or, where it fails in a way that its message explains, that message in one line and
    the exit code of `main`.

    With `debug` such an error is raised, with its traceback.
    """
    try:
        code = run()
        sys.stdout.flush()
        return code
    except (
        BrokenPipeError
    ):  # as in `aila … | head`; Python would complain once more when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except USER_ERRORS as error:
        return _fail(error, debug, code=2)
    except (CommandError, OSError) as error:  # such as a full disk
        return _fail(error, debug, code=1)
    except TrainingStopped as stopped:
        print(f"aila: {stopped}", file=sys.stderr)
        return 128 + stopped.signum
    except KeyboardInterrupt:
        print("aila: interrupted", file=sys.stderr)
        return 130


def _dispatch(arguments: list[str], program: str) -> int:
    if not arguments or arguments[0] in HELP:
        print(program_help(program))
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"aila_jax {version()}")
        return 0
    chosen = find_command(arguments[0])
    if any(argument in HELP[:-1] for argument in arguments[1:]):
        print(command_help(chosen, program))
        return 0
    chosen.run(read_call(chosen, parse(chosen, arguments[1:])))
    return 0


def find_command(name: str) -> Command[Any]:
    """The command of that name; ValueError names the nearest where there is none."""
    names = [command.name for command in COMMANDS]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        raise ValueError(
            f"unknown command {name!r}; "
            + (f"did you mean {near[0]!r}?" if near else f"commands: {', '.join(names)}")
        )
    return COMMANDS[names.index(name)]


def parse(command: Command[Any], arguments: list[str]) -> flags.FlagValues:
    """The flags of one call, in a table of their own: nothing is left behind in absl's global flags.

    Raises:
      ValueError or flags.Error: an unknown flag, key or argument, a value of the wrong type, or a needed flag
        left out.
    """
    values = flags.FlagValues()
    command.define(values)
    if command.takes_config:
        arguments = define_config(arguments, values, needed=command.needs_config)
    rest = values([command.name, *arguments])[1:]
    if rest:
        raise ValueError(f"unexpected argument {rest[0]!r}. Fix: give settings as --flag=value")
    for name in command.needed:
        if values[name].value is None:
            raise ValueError(f"--{name} is missing. Fix: for example, aila {command.examples[0]}")
    return values


def read_call(command: Command[Any], values: flags.FlagValues) -> Call[Any]:
    """The call that parsed flags say.

    Raises:
      ValueError: an option or a setting outside its limits.
    """
    settings: Any = values["config"].value if command.takes_config else None
    opening = read_options(OpenOptions, values, command.opening) if command.opening else OpenOptions()
    return Call(
        path=str(values[command.path.name].value),
        options=read_options(command.options, values),
        window=opening.window,
        data_dir=opening.data_dir,
        out=str(values["out"].value) if command.out else "",
        config=None if settings is None else build_config(settings),
    )


def _fail(error: Exception, debug: bool, code: int) -> int:
    """Prints the error as one line; with --debug, the traceback before it."""
    if debug:
        raise error
    message = str(error)
    if isinstance(error, OSError) and error.filename is not None:
        message = f"{error.filename}: {error.strerror}"
    with contextlib.suppress(BrokenPipeError):
        print(f"aila: error: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())

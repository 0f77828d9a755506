"""`aila COMMAND --flag=value …`: the one console script.

Only `entry` and what it needs is imported at once; the rest follows when signals are answered.
"""

import contextlib
import io
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from aila_jax.cli import signals
from aila_jax.cli.huge_pages import restart_in_huge_pages
from aila_jax.training.stopping import TrainingStopped

if TYPE_CHECKING:
    from absl import flags

    from aila_jax.cli.command import Call, Command

HELP = ("--help", "-h", "-help", "--helpfull", "help")


def entry(argv: Sequence[str] | None = None, program: str = "aila") -> NoReturn:
    """`main` as a process: SIGINT, SIGTERM and SIGHUP are answered from here to its end."""
    given = sys.argv[1:] if argv is None else argv
    if given and not set(HELP) & set(given):
        restart_in_huge_pages()
    signals.install()
    signals.ANSWER.code = main(argv, program)
    if "aila_jax.processes.join" in sys.modules:
        from aila_jax.processes.join import leave

        leave(signals.ANSWER.code)
    sys.exit(signals.ANSWER.code)


def main(argv: Sequence[str] | None = None, program: str = "aila") -> int:
    """Runs one command line and returns its exit code: 0, 1 (it failed, as explained), 2 (a mistake in the
    call), 129 (SIGHUP), 130 (Ctrl-C), 141 (nobody reads its output any more) or 143 (SIGTERM).

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
    with signals.working() as answer:
        try:
            code = run()
            sys.stdout.flush()
            return code
        except BrokenPipeError:  # as in `aila … | head`
            return _say("", 128 + signal.SIGPIPE)
        except TrainingStopped as stopped:
            return _say(str(stopped), 128 + stopped.signum)
        except KeyboardInterrupt as stopped:
            signum = stopped.signum if isinstance(stopped, signals.Interrupted) else signal.SIGINT
            return _say(signals.line_of(signum), 128 + signum)
        except Exception as error:
            if answer.taken:  # what an interrupted library made of it
                return _say(signals.line_of(answer.taken), 128 + answer.taken)
            failed = _code_of(error)
            if debug or failed is None:
                raise
            return _say(f"error: {_message(error)}", failed)


def _code_of(error: Exception) -> int | None:
    """2 for a mistake in the call, 1 for a failure that its message explains, None for any other."""
    from absl import flags

    from aila_jax.cli.command import CommandError

    mistakes = (
        ValueError,
        FileNotFoundError,
        FileExistsError,
        NotADirectoryError,
        IsADirectoryError,
        PermissionError,
        flags.Error,
    )
    if isinstance(error, mistakes):
        return 2
    return 1 if isinstance(error, (CommandError, OSError)) else None  # OSError: a full disk, say


def _message(error: Exception) -> str:
    """The error in one line, or the table that it is."""
    from aila_jax.config.conflict import SettingsConflict

    try:
        sys.stdout.flush()
    except OSError as broken:
        return f"standard output cannot be written ({broken.strerror})"
    message = str(error)
    if isinstance(error, OSError) and error.filename is not None:
        message = f"{error.filename}: {error.strerror}"
    return message if isinstance(error, SettingsConflict) else " ".join(message.split())


def _say(line: str, code: int) -> int:
    """Prints the one line that ends a command, where there is one and somebody reads it; returns the exit
    code.
    """
    for stream, text in ((sys.stdout, ""), (sys.stderr, f"aila: {line}\n" if line else "")):
        try:
            stream.write(text)
            stream.flush()
        except OSError:
            _drop(stream)
    return code


def _drop(stream: TextIO) -> None:
    """Sends what a stream still holds nowhere; Python would complain when it flushes it at the end."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _dispatch(arguments: list[str], program: str) -> int:
    from aila_jax.cli.help import command_help, program_help
    from aila_jax.provenance import version

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
    values = parse(chosen, arguments[1:])
    call = read_call(chosen, values)
    if chosen.takes_config:
        from aila_jax.cli.config_flag import preset_of

        call = replace(call, preset=preset_of(arguments[1:]))
    chosen.check_paths(call)
    with _its_processes(chosen, values):
        chosen.run(replace(call, again=shlex.join([*program.split(), *arguments])))
    return 0


def _its_processes(
    command: "Command[Any]", values: "flags.FlagValues"
) -> contextlib.AbstractContextManager[None]:
    """Inside, this process is one of the command's job, where there are several.

    Raises:
      ValueError: the command works in one process, and there are more.
    """
    from aila_jax.cli.options import read_options
    from aila_jax.config.options import ProcessOptions
    from aila_jax.processes.join import joined, refuse_several

    if command.several:
        return joined(read_options(ProcessOptions, values), command.name)
    refuse_several(command.name, several_commands(), os.environ)
    return contextlib.nullcontext()


def several_commands() -> tuple[str, ...]:
    """The commands that work in several processes."""
    from aila_jax.cli.commands import COMMANDS

    return tuple(command.name for command in COMMANDS if command.several)


def find_command(name: str) -> "Command[Any]":
    """The command of that name; ValueError names the nearest where there is none."""
    from aila_jax.cli.commands import COMMANDS
    from aila_jax.config.nearest import nearest

    names = [command.name for command in COMMANDS]
    if name not in names:
        flag = name.startswith("-")
        near = nearest(name, ("--help", "--version") if flag else names)
        instead = f"did you mean {near!r}?" if near else f"commands: {', '.join(names)}"
        if flag and near is None:
            instead = f"the command comes first, before its flags. {instead.capitalize()}"
        raise ValueError(f"unknown {'flag' if flag and near else 'command'} {name!r}; {instead}")
    return COMMANDS[names.index(name)]


def parse(command: "Command[Any]", arguments: list[str]) -> "flags.FlagValues":
    """The flags of one call, in a table of their own: nothing is left behind in absl's global flags.

    Raises:
      ValueError or flags.Error: an unknown flag, key or argument, a value of the wrong type, or a needed flag
        left out.
    """
    from absl import flags

    from aila_jax.cli.config_flag import define_config, refuse_source
    from aila_jax.cli.options import wrong_type

    values = flags.FlagValues()
    command.define(values)
    if command.takes_config:
        if not command.takes_source:
            refuse_source(command.name, arguments)
        arguments = define_config(arguments, values, command.needs_config, command.base)
    try:
        rest = values([command.name, *arguments])[1:]
    except flags.UnrecognizedFlagError as error:
        raise ValueError(unknown_flag(command, error.flagname, values)) from error
    except flags.IllegalFlagValueError as error:
        raise ValueError(wrong_type(error, values)) from error
    if command.path.bare and rest and values[command.path.name].value is None:
        values[command.path.name].value = rest.pop(0)
    if command.path.second and rest and not values[command.path.second].value:
        values[command.path.second].value = rest.pop(0)
    if rest:
        raise ValueError(f"unexpected argument {rest[0]!r}. Fix: give settings as --flag=value")
    for name in command.needed:
        if values[name].value is None:
            raise ValueError(f"--{name} is missing. Fix: for example, aila {command.examples[0]}")
    return values


def unknown_flag(command: "Command[Any]", name: str, values: "flags.FlagValues") -> str:
    """The message for a flag that the command has not, with the nearest one that it has."""
    from aila_jax.cli.config_flag import leaf_keys
    from aila_jax.config import Config, to_dict
    from aila_jax.config.nearest import nearest
    from aila_jax.config.options import ProcessOptions

    if name in {each.name for each in fields(ProcessOptions)}:
        return (
            f"--{name} is of {', '.join(several_commands())}, which work in several processes; aila {command.name} works"
            " in one. Fix: leave it out"
        )
    keys = [f"config.{key}" for key in leaf_keys(to_dict(Config()))] if command.takes_config else []
    near = nearest(name, [*values, *keys, "help", "debug"])
    instead = f"; did you mean '--{near}'?" if near else f". Fix: aila {command.name} --help lists its flags"
    return f"unknown flag '--{name}'{instead}"


def read_call(command: "Command[Any]", values: "flags.FlagValues") -> "Call[Any]":
    """The call that parsed flags say.

    Raises:
      ValueError: an option or a setting outside its limits.
    """
    from aila_jax.cli.command import Call
    from aila_jax.cli.config_flag import build_config
    from aila_jax.cli.options import read_options
    from aila_jax.config.options import OpenOptions

    settings: Any = values["config"].value if command.takes_config else None
    opening = read_options(OpenOptions, values, command.opening) if command.opening else OpenOptions()
    return Call(
        path=str(values[command.path.name].value),
        options=read_options(command.options, values),
        window=opening.window,
        data_dir=opening.data_dir,
        fallback=opening.fallback,
        step=opening.step,
        relation=opening.relation,
        out=str(values["out"].value) if command.out else "",
        config=None if settings is None else build_config(settings),
    )


if __name__ == "__main__":
    entry()

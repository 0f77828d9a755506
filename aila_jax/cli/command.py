"""What a command is, and what one call of it says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from absl import flags

from aila_jax.cli.options import define_options, needed_options
from aila_jax.cli.paths import (
    PathCheck,
    check_config_paths,
    is_folder,
    is_model,
    is_output_folder,
    is_run,
    is_workdir,
)
from aila_jax.config import Config, user_path
from aila_jax.config.options import OpenOptions, Options, ProcessOptions
from aila_jax.presets import FromPreset

T = TypeVar("T", bound=Options)


class CommandError(Exception):
    """A command failed for a reason that the message explains; shown without a traceback, exit code 1."""


@dataclass(frozen=True)
class PathFlag:
    """The flag that names what a command works on; needed where its default is None.

    Attributes:
      name: without dashes.
      help_text: for `--help`.
      default: where it may be left out.
      check: whether it names what it should.
      bare: it may be given without the flag's name.
      second: the option that a second path without a flag's name is for, where there may be one.
    """

    name: str
    help_text: str
    default: str | None = None
    check: PathCheck = is_run
    bare: bool = False
    second: str = ""


CHECKPOINT = PathFlag("checkpoint", "A run directory, or one checkpoint inside it.")
MODEL = PathFlag(
    "checkpoint",
    "A run directory, one checkpoint inside it, or a pretrained model: a folder with config.json, a GGUF file, or"
    " OWNER/NAME of the hub.",
    check=is_model,
)
WORKDIR = PathFlag(
    "workdir",
    "The run directory: checkpoints, metrics.jsonl, TensorBoard files. An existing run goes on.",
    check=is_workdir,
)


@dataclass(frozen=True)
class Call(Generic[T]):
    """One call of a command.

    Attributes:
      path: what it works on: the value of its `PathFlag`.
      options: how.
      window: `OpenOptions.window`.
      relation: `OpenOptions.relation`.
      data_dir: `OpenOptions.data_dir`.
      fallback: `OpenOptions.fallback`.
      step: `OpenOptions.step`.
      out: where files go; empty: where the command puts them by itself.
      config: the configuration, where one is given.
      preset: the preset that it comes from, where `--config` names one.
      again: the command line, as it can be given again.
    """

    path: str
    options: T
    window: int | None = None
    data_dir: str = ""
    fallback: bool = False
    step: str = ""
    relation: str | None = None
    out: str = ""
    config: Config | None = None
    preset: FromPreset | None = None
    again: str = ""


@dataclass(frozen=True)
class Command(Generic[T]):
    """One subcommand of `aila`.

    Attributes:
      name: as typed.
      summary: one line for the list of commands.
      about: what it does, reads and writes.
      examples: command lines after the program's name.
      run: does the work of one call.
      options: the class that its flags are made from.
      path: the flag that names what it works on.
      opening: those of `OpenOptions` that it has a flag for.
      out: help text of `--out`; empty: it has none.
      out_check: whether that may be written.
      paths: options that name a path, and whether it is there.
      takes_config: it has `--config` and `--config.KEY`.
      needs_config: these may not be left out.
      takes_source: `--config=SOURCE` may be given, not `--config.KEY` alone.
      base: what `--config.KEY` changes where no `--config` is given, by the arguments; None: that is needed.
      several: it works in several processes, of which each does a share.
      begins: whether a call makes its own tokenizer and partition, and none is there before it.
    """

    name: str
    summary: str
    about: str
    examples: tuple[str, ...]
    run: Callable[[Call[T]], None]
    options: type[T]
    path: PathFlag = CHECKPOINT
    opening: tuple[str, ...] = ()
    out: str = ""
    out_check: PathCheck = is_output_folder
    paths: tuple[tuple[str, PathCheck], ...] = ()
    takes_config: bool = False
    needs_config: bool = False
    takes_source: bool = True
    base: Callable[[list[str]], Config | None] = lambda arguments: None
    several: bool = False
    begins: Callable[[Call[T]], bool] = lambda call: True

    @property
    def needed(self) -> tuple[str, ...]:
        """The flags without a default."""
        return (
            *(("config",) if self.needs_config else ()),
            *((self.path.name,) if self.path.default is None else ()),
            *needed_options(self.options),
        )

    def check_paths(self, call: Call[T]) -> None:
        """Looks for whatever the call names, with no more than the file system.

        Raises:
          ValueError: it is not there.
        """
        self.path.check(f"--{self.path.name}", call.path)
        is_folder("--data_dir", call.data_dir)
        self.out_check("--out", call.out)
        for name, check in self.paths:
            check(f"--{name}", getattr(call.options, name))
        if call.config is not None:
            resumed = bool(call.path) and (user_path(call.path) / "config.json").is_file()
            check_config_paths(call.config, call.data_dir, fits=self.begins(call) and not resumed)

    def define(self, values: flags.FlagValues) -> None:
        """Adds its flags, all but `--config`."""
        path = self.path
        flags.DEFINE_string(path.name, path.default, path.help_text, flag_values=values)
        define_options(self.options, values)
        if self.opening:
            define_options(OpenOptions, values, only=self.opening)
        if self.several:
            define_options(ProcessOptions, values)
        if self.out:
            flags.DEFINE_string("out", "", self.out, flag_values=values)

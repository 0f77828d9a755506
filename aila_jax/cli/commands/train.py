"""`aila train`: from a configuration to checkpoints."""

from dataclasses import replace
from typing import Any

from absl import flags

from aila_jax import presets
from aila_jax.cli.command import WORKDIR, Call, Command, CommandError
from aila_jax.cli.config_flag import override_of, overrides
from aila_jax.cli.paths import is_model
from aila_jax.config import Config, DataConfig, PartitionConfig, user_path
from aila_jax.config.options import TrainOptions


def _base(arguments: list[str]) -> Config | None:
    """The configuration of the start, or of the run that goes on; None without a start."""
    values = flags.FlagValues()
    for name in ("start", "workdir"):
        flags.DEFINE_string(name, "", "", flag_values=values)
    values.set_gnu_getopt(True)
    values(["aila", *arguments], known_only=True)
    if not values.start:
        return None
    goes_on = bool(values.workdir) and (user_path(values.workdir) / "config.json").exists()
    if not goes_on:  # a run that goes on does not read its start again, which may be gone
        is_model("--start", values.start)
    from aila_jax.runs import start_config

    config = start_config(values.start, values.workdir or None)
    anew = "data.corpus" in overrides(arguments)
    return blocks_as_asked(replace(config, data=data_of_start(config.data)) if anew else config, arguments)


def data_of_start(data: DataConfig) -> DataConfig:
    """What another text leaves of a start's own settings: how it becomes tokens, not its files, splits and
    rules.
    """
    return DataConfig(cache_dir=data.cache_dir).in_tokens_of(data)


def blocks_as_asked(config: Config, arguments: list[str]) -> Config:
    """The configuration of a start without what its blocks were made by, where `--config.partition.kind`
    asks for another kind.
    """
    kind = override_of(arguments, "partition.kind")
    return config if kind in (None, config.partition.kind) else replace(config, partition=PartitionConfig())


def _run(call: Call[TrainOptions]) -> None:
    train_as_asked(call, call.options.start)


def train_as_asked(call: Call[Any], start: str) -> None:
    """Trains, and says what to do next."""
    config = call.config
    assert config is not None, "it is needed"
    config = presets.with_data_dir(config, call.data_dir)
    from aila_jax import runs

    try:
        run = runs.train(config, call.path, start=start or None, preset=call.preset)
    except runs.NonFiniteError as error:
        raise CommandError(str(error)) from error
    except runs.SaveError as error:
        raise CommandError(f"{error}: {call.again}") from error
    done = "" if run.began == run.step else f"Trained to step {run.step}. "
    print(f"{done}Turn the dial: aila sweep --checkpoint={call.path}")


COMMAND = Command(
    name="train",
    summary="train a model",
    about=(
        "Starts from a preset or a Python file, changes single settings with --config.KEY=VALUE, and trains"
        " into --workdir. The same command continues a run that was stopped, with the settings that it began"
        " with where only the preset has changed since. Tuples are quoted:"
        " --config.sweep.lams='(0,0.5,1)'. With --start a new run begins with the weights, the tokenizer and,"
        " without --config, the settings of another one; its optimizer and its schedules begin anew."
    ),
    examples=(
        "train --config=tiny --workdir=runs/tiny",
        "train --config=small --data_dir=$WIKITEXT2 --workdir=runs/wide --config.model.d_model=256",
        (
            "train --config=launch/configs/small.py --workdir=runs/text --config.data.corpus=text"
            " --config.data.files='my/*.txt'"
        ),
        "train --start=runs/tiny --workdir=runs/longer --config.train.steps=300",
    ),
    run=_run,
    options=TrainOptions,
    path=WORKDIR,
    opening=("data_dir",),
    takes_config=True,
    needs_config=True,
    base=_base,
    begins=lambda call: not call.options.start,
    several=True,
)

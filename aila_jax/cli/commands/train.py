"""`aila train`: from a configuration to checkpoints."""

from absl import flags

from aila_jax import presets
from aila_jax.cli import command
from aila_jax.cli.command import Command, CommandError
from aila_jax.cli.config_flag import build_config


def _define(values: flags.FlagValues) -> None:
    command.define_text(
        "workdir",
        None,
        "The run directory: checkpoints, metrics.jsonl, TensorBoard files. An existing run goes on.",
        values,
    )
    command.define_data_dir(values)


def _run(values: flags.FlagValues) -> None:
    config = build_config(values.config)
    if values.data_dir and config.data.corpus != "wikitext2":
        raise ValueError(
            f"--data_dir is {values.data_dir!r}, but data.corpus is {config.data.corpus!r}, which does not"
            " read it. Fix: leave --data_dir out, or add --config.data.corpus=wikitext2"
        )
    from aila_jax import runs

    try:
        run = runs.train(presets.with_data_dir(config, values.data_dir), values.workdir)
    except runs.NonFiniteError as error:
        raise CommandError(str(error)) from error
    print(f"Trained to step {run.step}. Turn the dial: aila sweep --checkpoint={values.workdir}")


COMMAND = Command(
    name="train",
    summary="train a model",
    about=(
        "Starts from a preset or a Python file, changes single settings with --config.KEY=VALUE, and trains"
        " into --workdir. The same command continues a run that was stopped. Tuples are quoted:"
        " --config.sweep.lams='(0,0.5,1)'."
    ),
    examples=(
        "train --config=tiny --workdir=runs/tiny",
        "train --config=small --data_dir=$WIKITEXT2 --workdir=runs/wide --config.model.d_model=256",
        (
            "train --config=launch/configs/small.py --workdir=runs/text --config.data.corpus=text"
            " --config.data.files='my/*.txt'"
        ),
    ),
    define=_define,
    needed=("config", "workdir"),
    run=_run,
    takes_config=True,
)

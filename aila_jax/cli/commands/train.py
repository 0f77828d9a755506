"""`aila train`: from a configuration to checkpoints."""

from aila_jax import presets
from aila_jax.cli.command import Call, Command, CommandError, PathFlag
from aila_jax.cli.paths import is_workdir
from aila_jax.config.options import Options


def _run(call: Call[Options]) -> None:
    config = call.config
    assert config is not None, "it is needed"
    config = presets.with_data_dir(config, call.data_dir)
    from aila_jax import runs

    try:
        run = runs.train(config, call.path)
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
    run=_run,
    options=Options,
    path=PathFlag(
        "workdir",
        "The run directory: checkpoints, metrics.jsonl, TensorBoard files. An existing run goes on.",
        check=is_workdir,
    ),
    opening=("data_dir",),
    takes_config=True,
    needs_config=True,
)

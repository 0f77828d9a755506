"""`aila diagnose`: which failure signatures a run shows, why, and what to change."""

from absl import flags

from aila_jax.cli import command
from aila_jax.cli.command import Command


def _define(values: flags.FlagValues) -> None:
    command.define_checkpoint(values)
    flags.DEFINE_integer(
        "batches",
        8,
        "Batches of text for each thing that is measured, at least 1.",
        lower_bound=1,
        flag_values=values,
    )
    command.define_data_dir(values)
    command.define_text("out", "", "Folder for diagnosis.json. Default: the run directory.", values)


def _run(values: flags.FlagValues) -> None:
    from aila_jax import runs

    diagnosis = runs.diagnose(
        values.checkpoint, batches=values.batches, data_dir=values.data_dir, out=values.out
    )
    print(runs.describe_diagnosis(diagnosis))


COMMAND = Command(
    name="diagnose",
    summary="say which failure signatures a run shows, why, and what to change",
    about=(
        "Looks for entropy that stays high at λ = 1, quality that collapses on the dial, training that"
        " converges early and generalises badly, a dial that is not graded, attention that is hardly used,"
        " dead or flat heads and non-finite updates. Reads the run's sweep.json and metrics.jsonl where they"
        " are, and measures the rest on a little text. What cannot be assessed is named. Writes"
        " diagnosis.json."
    ),
    examples=(
        "diagnose --checkpoint=runs/tiny",
        "diagnose --checkpoint=runs/small --data_dir=$WIKITEXT2 --batches=32",
    ),
    define=_define,
    needed=("checkpoint",),
    run=_run,
)

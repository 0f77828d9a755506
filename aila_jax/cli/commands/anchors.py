"""`aila anchors`: the anchor tokens of a checkpoint."""

from absl import flags

from aila_jax.cli import command
from aila_jax.cli.command import Command


def _define(values: flags.FlagValues) -> None:
    command.define_checkpoint(values)
    flags.DEFINE_integer(
        "top", 20, "Types to list, lowest entropy first, at least 1.", lower_bound=1, flag_values=values
    )
    flags.DEFINE_integer(
        "examples", 8, "Blocks of text to show, at least 1.", lower_bound=1, flag_values=values
    )
    command.define_text("split", "validation", "The text that is read: train, validation or test.", values)
    flags.DEFINE_integer("batches", 8, "Batches of that text, at least 1.", lower_bound=1, flag_values=values)
    command.define_data_dir(values)
    command.define_text(
        "out", "", "Folder for anchors.json and the CSV files. Default: the run directory.", values
    )


def _run(values: flags.FlagValues) -> None:
    from aila_jax import runs
    from aila_jax.reporting.anchor_files import describe_anchors

    listings = runs.anchors(
        values.checkpoint,
        top=values.top,
        examples=values.examples,
        split=values.split,
        batches=values.batches,
        data_dir=values.data_dir,
        out=values.out,
    )
    print(describe_anchors(listings))


COMMAND = Command(
    name="anchors",
    summary="list the anchor tokens of a checkpoint",
    about=(
        "Prints the token types of lowest local entropy and blocks of text with their anchors in brackets, by"
        " the checkpoint's own table and by the other estimator for comparison, and writes anchors.json and a"
        " CSV file for each. The run must have been trained with --config.anchors.estimator=corpus or"
        " attention."
    ),
    examples=(
        "anchors --checkpoint=runs/anchored",
        "anchors --checkpoint=runs/anchored --top=50 --split=test --out=listing",
    ),
    define=_define,
    needed=("checkpoint",),
    run=_run,
)

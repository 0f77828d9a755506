"""`aila threshold`: how strong a penalty must be for each feature group of a checkpoint to be zero."""

from absl import flags

from aila_jax.cli import command
from aila_jax.cli.command import Command


def _define(values: flags.FlagValues) -> None:
    command.define_checkpoint(values)
    flags.DEFINE_boolean(
        "path",
        False,
        "Also train on with a rising penalty until every group is zero; takes longest.",
        flag_values=values,
    )
    levels = (
        "Levels of the path at most, each 1.35 times the one before, from λη = 2e-4; it ends where every"
        " group is zero. Default: 20."
    )
    flags.DEFINE_integer("path_levels", None, levels, lower_bound=1, flag_values=values)
    flags.DEFINE_integer(
        "gradients",
        256,
        "Batches of 8 sequences for the gradients, at least 1.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "at_zero",
        4,
        "Those of them in which every group is set to zero in turn.",
        lower_bound=1,
        flag_values=values,
    )
    command.define_data_dir(values)
    command.define_text(
        "out",
        "",
        "Folder for threshold.csv, threshold.json and the scatter. Default: the run directory.",
        values,
    )


def _run(values: flags.FlagValues) -> None:
    from aila_jax import runs
    from aila_jax.thresholds.report import describe

    result = runs.threshold(
        values.checkpoint,
        path=values.path,
        path_levels=values.path_levels,
        gradients=values.gradients,
        at_zero=values.at_zero,
        data_dir=values.data_dir,
        out=values.out,
    )
    print(describe([result]))


COMMAND = Command(
    name="threshold",
    summary="how strong a penalty must be for each feature group to be zero",
    about=(
        "Prints, for the query and key groups of the first layer, the strength λη from which on a zero group"
        " stays zero (the length of the loss's gradient there, estimated from batches), with --path also the"
        " strength at which proximal training zeroes it, and beside them what the papers' formula predicts"
        " where it applies: localist positions with as many groups as blocks. Writes a row a group as CSV and"
        " JSON. In a checkout, `python -m launch.threshold` without --checkpoint is the experiment over"
        " window sizes."
    ),
    examples=("threshold --checkpoint=runs/tiny", "threshold --checkpoint=runs/tiny --path --out=thresholds"),
    define=_define,
    needed=("checkpoint",),
    run=_run,
)

"""`aila threshold`: how strong a penalty must be for each feature group of a checkpoint to be zero."""

from aila_jax.cli.command import Call, Command
from aila_jax.config.options import ThresholdOptions


def _run(call: Call[ThresholdOptions]) -> None:
    from aila_jax import runs
    from aila_jax.thresholds.report import describe

    run = runs.open_run(call.path, data_dir=call.data_dir, fallback=call.fallback)
    print(describe([runs.threshold(run, call.options, call.out)]))


COMMAND = Command(
    name="threshold",
    summary="how strong a penalty must be for each feature group to be zero",
    about=(
        "Prints, for the query and key groups of the first layer, the strength λη from which on a zero group"
        " stays zero (the length of the loss's gradient there, estimated from batches), with --path also the"
        " strength at which proximal training zeroes it, and beside them what the papers' formula predicts"
        " where it applies: localist positions with as many groups as blocks. Writes a row a group as CSV and"
        " JSON. In a checkout, `python -m experiments.threshold` is the experiment over"
        " window sizes."
    ),
    examples=("threshold --checkpoint=runs/tiny", "threshold --checkpoint=runs/tiny --path --out=thresholds"),
    run=_run,
    options=ThresholdOptions,
    opening=("data_dir", "fallback"),
    out="Folder for threshold.csv, threshold.json and the scatter. Default: the run directory.",
)

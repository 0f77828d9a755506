"""`aila anchors`: the anchor tokens of a checkpoint."""

from aila_jax.cli.command import Call, Command
from aila_jax.config.options import AnchorsOptions


def _run(call: Call[AnchorsOptions]) -> None:
    from aila_jax import runs
    from aila_jax.reporting.anchor_files import describe_anchors

    run = runs.open_run(call.path, data_dir=call.data_dir, fallback=call.fallback)
    print(describe_anchors(runs.anchors(run, call.options, call.out)))


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
    run=_run,
    options=AnchorsOptions,
    opening=("data_dir", "fallback"),
    out="Folder for anchors.json and the CSV files. Default: the run directory.",
)

"""`aila report`: figures and the page of a sweep."""

from absl import flags

from aila_jax.cli import command
from aila_jax.cli.command import Command


def _define(values: flags.FlagValues) -> None:
    command.define_text("sweep", None, "The folder that holds sweep.json, or that file.", values)
    command.define_text("out", "", "The page to write. Default: report.html beside the sweep.", values)
    command.define_text(
        "log",
        "",
        "A metrics.jsonl, for the training curve. Default: the one beside the sweep, if there is one.",
        values,
    )
    command.define_text(
        "checkpoint",
        "",
        "A run directory or checkpoint whose attention to show, or `none`. Default: that of the sweep's"
        " folder, if it holds one.",
        values,
    )
    command.define_text(
        "text", "", "The text whose attention to show. Default: a sentence of the program's own.", values
    )


def _run(values: flags.FlagValues) -> None:
    from aila_jax import runs

    print(runs.report(values.sweep, values.out, values.log, values.checkpoint, values.text))


COMMAND = Command(
    name="report",
    summary="turn a sweep into figures and one HTML page",
    about=(
        "Reads sweep.json and writes the figures (PNG and SVG) and a page that holds everything and fetches"
        " nothing. Where there is a checkpoint, the page also shows its attention over a text under a λ"
        " slider."
    ),
    examples=(
        "report --sweep=runs/tiny",
        "report --sweep=runs/tiny/test/sweep.json --out=test.html --log=runs/tiny/metrics.jsonl",
    ),
    define=_define,
    needed=("sweep",),
    run=_run,
)

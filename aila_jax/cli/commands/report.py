"""`aila report`: figures and the page of a sweep."""

from aila_jax.cli.command import Call, Command, PathFlag
from aila_jax.cli.paths import is_log, is_output_file, is_run_or_none, is_sweep
from aila_jax.config.options import ReportOptions


def _run(call: Call[ReportOptions]) -> None:
    from aila_jax import runs

    print(runs.report(call.path, call.options, call.out))


COMMAND = Command(
    name="report",
    summary="turn a sweep into figures and one HTML page",
    about=(
        "Reads sweep.json, and metrics.jsonl and samples.json where they lie beside it. Writes the figures (PNG"
        " and SVG) and a page that holds everything and fetches nothing. Where there is a checkpoint, the page"
        " also shows its attention over a text under a λ slider."
    ),
    examples=(
        "report --sweep=runs/tiny",
        "report --sweep=runs/tiny/test/sweep.json --out=test.html --log=runs/tiny/metrics.jsonl",
    ),
    run=_run,
    options=ReportOptions,
    path=PathFlag("sweep", "The folder that holds sweep.json, or that file.", check=is_sweep),
    out="The page to write. Default: report.html beside the sweep.",
    out_check=is_output_file,
    paths=(("log", is_log), ("checkpoint", is_run_or_none)),
)

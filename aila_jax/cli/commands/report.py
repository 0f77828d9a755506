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
        " and SVG) and a page that holds everything and fetches nothing: one dial of λ and τ turns the numbers,"
        " sample text, attention over a text, and the loss of each token. What needs the model is left out"
        " where there is no checkpoint. With two sweeps the page shows them side by side, and no figures"
        " are written."
    ),
    examples=(
        "report --sweep=runs/tiny",
        "report runs/plain runs/dial --out=both.html",
        "report --sweep=runs/tiny/test/sweep.json --out=test.html --log=runs/tiny/metrics.jsonl",
    ),
    run=_run,
    options=ReportOptions,
    path=PathFlag(
        "sweep", "The folder that holds sweep.json, or that file.", check=is_sweep, bare=True, second="beside"
    ),
    out="The page to write. Default: report.html beside the (first) sweep.",
    out_check=is_output_file,
    paths=(("beside", is_sweep), ("log", is_log), ("checkpoint", is_run_or_none)),
)

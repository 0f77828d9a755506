"""`aila demo`: the whole way on the embedded corpus."""

from aila_jax.cli.command import Call, Command, PathFlag
from aila_jax.cli.paths import is_workdir
from aila_jax.config.options import Options


def _run(call: Call[Options]) -> None:
    from aila_jax import runs

    runs.demo(call.path)


COMMAND = Command(
    name="demo",
    summary="train a tiny model on this machine's own Python documentation, dial it, write the report",
    about=(
        "Needs no data and no network. Trains the preset `tiny`, sweeps λ × τ with the one checkpoint, and"
        " writes tables, figures and report.html into the run directory."
    ),
    examples=("demo", "demo --workdir=runs/demo2"),
    run=_run,
    options=Options,
    path=PathFlag(
        "workdir",
        "The run directory. A finished demo in it is dialled again, not trained again.",
        "runs/demo",
        is_workdir,
    ),
)

"""`aila demo`: the whole way on the embedded corpus."""

from absl import flags

from aila_jax.cli import command
from aila_jax.cli.command import Command


def _define(values: flags.FlagValues) -> None:
    command.define_text(
        "workdir",
        "runs/demo",
        "The run directory. A finished demo in it is dialled again, not trained again.",
        values,
    )


def _run(values: flags.FlagValues) -> None:
    from aila_jax import runs

    runs.demo(values.workdir)


COMMAND = Command(
    name="demo",
    summary="train a tiny model on this machine's own Python documentation, dial it, write the report",
    about=(
        "Needs no data and no network. Trains the preset `tiny`, sweeps λ × τ with the one checkpoint, and"
        " writes tables, figures and report.html into the run directory."
    ),
    examples=("demo", "demo --workdir=runs/demo2"),
    define=_define,
    needed=(),
    run=_run,
)

"""`aila sweep`: a checkpoint over the dial."""

from aila_jax.cli.command import Call, Command
from aila_jax.config.options import SweepOptions


def _run(call: Call[SweepOptions]) -> None:
    from aila_jax import runs

    run = runs.open_run(call.path, call.window, call.data_dir, call.fallback, call.step, call.relation)
    print(runs.describe_sweep(runs.sweep(run, call.options, call.out)))


COMMAND = Command(
    name="sweep",
    summary="score a checkpoint over a grid of λ and τ",
    about=(
        "One checkpoint, one compilation, every cell of the grid. Writes sweep.csv, sweep_heads.csv and"
        " sweep.json. With --window the blocks are other windows than in training, and the default folder is"
        " windowSIZE in the run directory."
    ),
    examples=(
        "sweep --checkpoint=runs/tiny",
        "sweep --checkpoint=runs/tiny --lams=0,0.25,0.5,0.75,1 --taus=1 --split=test --out=runs/tiny/test",
        "sweep --checkpoint=runs/tiny --window=3",
    ),
    run=_run,
    options=SweepOptions,
    opening=("window", "relation", "data_dir", "fallback", "step"),
    out="Folder for sweep.csv, sweep_heads.csv and sweep.json. Default: the run directory.",
    several=True,
)

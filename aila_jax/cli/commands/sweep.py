"""`aila sweep`: a checkpoint over the dial."""

from absl import flags

from aila_jax.cli import command
from aila_jax.cli.command import Command
from aila_jax.config import check_lam, check_tau


def _define(values: flags.FlagValues) -> None:
    command.define_checkpoint(values)
    command.define_numbers(
        "lams",
        "Values of λ with commas between them. Default: the run's sweep.lams, or 1 with hard attention.",
        values,
    )
    command.define_numbers(
        "taus", "Values of τ with commas between them. Default: the run's sweep.taus.", values
    )
    flags.DEFINE_boolean(
        "delta", False, "Also measure score gaps between in-block and out-of-block keys.", flag_values=values
    )
    command.define_text(
        "pointers",
        "auto",
        "What pointer fidelity is measured on: anchors, answers (rule corpora), none, or auto: what"
        " there is.",
        values,
    )
    command.define_text(
        "out", "", "Folder for sweep.csv, sweep_heads.csv and sweep.json. Default: the run directory.", values
    )
    command.define_scoring(values)


def _run(values: flags.FlagValues) -> None:
    lams = values.lams and tuple(check_lam(lam, "--lams") for lam in values.lams)
    taus = values.taus and tuple(check_tau(tau, "--taus") for tau in values.taus)
    from aila_jax import runs

    result = runs.sweep(
        values.checkpoint,
        lams=lams,
        taus=taus,
        split=values.split,
        hard=values.hard,
        delta=values.delta,
        pointers=values.pointers,
        window=values.window,
        data_dir=values.data_dir,
        out=values.out,
        batch_size=values.batch_size,
        max_batches=values.max_batches,
    )
    print(runs.describe_sweep(result))


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
    define=_define,
    needed=("checkpoint",),
    run=_run,
)

"""`aila influence`: how far predictions depend on tokens outside their block."""

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
    command.define_tau(values)
    flags.DEFINE_integer(
        "positions", 256, "Queries to measure, at least 2.", lower_bound=2, flag_values=values
    )
    flags.DEFINE_integer(
        "draws", 4, "Draws of the resampled tokens, at least 2.", lower_bound=2, flag_values=values
    )
    flags.DEFINE_integer(
        "seed", 0, "Seed of the queries and draws, at least 0.", lower_bound=0, flag_values=values
    )
    flags.DEFINE_boolean(
        "without_attention",
        False,
        "Also score the split with attention removed, at the smallest and largest λ.",
        flag_values=values,
    )
    command.define_text(
        "out", "", "Folder for the CSV and JSON files and the figure. Default: the run directory.", values
    )
    command.define_reading(values)


def _run(values: flags.FlagValues) -> None:
    lams, tau = (
        values.lams and tuple(check_lam(lam, "--lams") for lam in values.lams),
        check_tau(values.tau, "--tau"),
    )
    from aila_jax import runs

    result = runs.influence(
        values.checkpoint,
        lams=lams,
        tau=tau,
        positions=values.positions,
        draws=values.draws,
        split=values.split,
        hard=values.hard,
        window=values.window,
        data_dir=values.data_dir,
        out=values.out,
        batch_size=values.batch_size,
        seed=values.seed,
        without_attention=values.without_attention,
    )
    print(runs.describe_influence(result))


COMMAND = Command(
    name="influence",
    summary="measure how far predictions depend on tokens outside their block",
    about=(
        "For queries drawn at random, replaces the tokens outside the query's block (and, for scale, those"
        " inside it) by tokens drawn from the training text, and prints how far the prediction moves: the KL"
        " divergence in nats, over λ, beside the attention mass; and bounds what each head can carry. Writes"
        " influence.csv, influence_heads.csv, influence.json and a figure."
    ),
    examples=(
        "influence --checkpoint=runs/tiny",
        "influence --checkpoint=runs/tiny --lams=0,0.5,1 --positions=1000 --split=test --without_attention",
    ),
    define=_define,
    needed=("checkpoint",),
    run=_run,
)

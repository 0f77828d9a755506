"""`aila evaluate`: a checkpoint at one setting of the dial."""

import dataclasses

from absl import flags

from aila_jax.cli import command
from aila_jax.cli.command import Command
from aila_jax.config import check_lam, check_tau


def _define(values: flags.FlagValues) -> None:
    command.define_checkpoint(values)
    command.define_dial(values)
    command.define_scoring(values)


def _run(values: flags.FlagValues) -> None:
    lam, tau = check_lam(values.lam, "--lam"), check_tau(values.tau, "--tau")
    from aila_jax import runs

    row = runs.evaluate(
        values.checkpoint,
        lam=lam,
        tau=tau,
        split=values.split,
        hard=values.hard,
        window=values.window,
        data_dir=values.data_dir,
        batch_size=values.batch_size,
        max_batches=values.max_batches,
    )
    for field in dataclasses.fields(row):
        value = getattr(row, field.name)
        print(
            f"{field.name:<20}"
            f" {'-' if value is None else f'{value:.6g}' if isinstance(value, float) else value}"
        )


COMMAND = Command(
    name="evaluate",
    summary="score a checkpoint at one λ and τ",
    about=(
        "Scores the corpus that the checkpoint was trained on and prints loss, perplexity, accuracy,"
        " attention entropy and block mass."
    ),
    examples=(
        "evaluate --checkpoint=runs/tiny --lam=0.6",
        "evaluate --checkpoint=runs/tiny --lam=1 --hard --split=test",
    ),
    define=_define,
    needed=("checkpoint",),
    run=_run,
)

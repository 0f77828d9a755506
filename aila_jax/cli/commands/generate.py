"""`aila generate`: text at one setting of the dial."""

from absl import flags

from aila_jax.cli import command
from aila_jax.cli.command import Command
from aila_jax.config import check_lam, check_tau


def _define(values: flags.FlagValues) -> None:
    command.define_checkpoint(values)
    command.define_text("prompt", None, "The text to continue.", values)
    command.define_dial(values)
    flags.DEFINE_integer("max_tokens", 64, "Tokens to add, at least 1.", lower_bound=1, flag_values=values)
    flags.DEFINE_float(
        "sample_temperature",
        0.8,
        "Spread of the sampling, not of the attention; 0 is greedy.",
        lower_bound=0.0,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "top_k", 40, "Sample among so many likeliest tokens; 0 is all.", lower_bound=0, flag_values=values
    )
    flags.DEFINE_integer("seed", 0, "Seed of the sampling.", flag_values=values)


def _run(values: flags.FlagValues) -> None:
    lam, tau = check_lam(values.lam, "--lam"), check_tau(values.tau, "--tau")
    from aila_jax import runs

    text = runs.generate(
        values.checkpoint,
        prompt=values.prompt,
        lam=lam,
        tau=tau,
        max_tokens=values.max_tokens,
        sample_temperature=values.sample_temperature,
        top_k=values.top_k,
        seed=values.seed,
    )
    print(text)


COMMAND = Command(
    name="generate",
    summary="continue a prompt at one λ and τ",
    about="Prints the continuation, without the prompt.",
    examples=('generate --checkpoint=runs/tiny --prompt="Return a new" --lam=0.6',),
    define=_define,
    needed=("checkpoint", "prompt"),
    run=_run,
)

"""`aila generate`: text at one setting of the dial."""

from aila_jax.cli.command import Call, Command
from aila_jax.config.options import GenerateOptions


def _run(call: Call[GenerateOptions]) -> None:
    from aila_jax import runs

    run = runs.open_run(call.path, fallback=call.fallback)
    print(runs.generate(run, call.options))


COMMAND = Command(
    name="generate",
    summary="continue a prompt at one λ and τ",
    about="Prints the continuation, without the prompt.",
    examples=('generate --checkpoint=runs/tiny --prompt="Return a new" --lam=0.6',),
    run=_run,
    opening=("fallback",),
    options=GenerateOptions,
)
